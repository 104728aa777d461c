"""From a battery on the station to closed contactors: what is armed and verified before energy may flow."""

from __future__ import annotations

from controller.clock import Clock
from controller.instruments import Instruments
from controller.outputs import await_contactor
from controller.run import Run
from drivers import InstrumentError
from drivers.roles import Protection

# the cycler's own protections stand this far outside the run's trip levels: they are the second layer, not the first
PROTECTION_MARGIN = 1.05


def protection_of(run: Run, voltage: float, current: float, power: float) -> Protection:
    """The cycler's protections for a run, within its nominal voltage (V), current (A) and power (W)."""
    trips = {bound.name: bound.trip for bound in run.bounds}
    return Protection(
        voltage=min(PROTECTION_MARGIN * trips["voltage_max"], voltage),
        charge_current=min(PROTECTION_MARGIN * trips["charge_current"], current),
        discharge_current=min(PROTECTION_MARGIN * trips["discharge_current"], current),
        power=min(PROTECTION_MARGIN * run.limits.max_power, power),
    )


async def arm_cycler(instruments: Instruments, run: Run, watchdog: float, battery_voltage: float) -> None:
    """Remote control, protections and communication watchdog (s), each read back; goal: no current at this voltage."""
    cycler = instruments.cycler
    nominal = cycler.ratings
    protection = protection_of(run, nominal.voltage, nominal.current, nominal.power)
    await instruments.call("cycler", cycler.arm, protection, watchdog)
    await instruments.call("cycler", cycler.drive, 0.0, battery_voltage)


async def close_contactors(instruments: Instruments, clock: Clock) -> None:
    """Ask for the contactors and see them closed; raises InstrumentError."""
    await instruments.call("interlock", instruments.interlock.request_contactor, True)
    problem = await await_contactor(instruments, clock, closed=True)
    if problem:
        raise InstrumentError(problem, instrument="interlock")
