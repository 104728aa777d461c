"""The Modbus face of the EA BT 20000: what it has in common with other supplies, and its battery tester, on TCP.

Source: EA programming guide, ModBus chapter, and the register list of BT 20000 KE2.1.1+, as collected in the project's
instrument notes. Only unit 0 answers; the guide's frame to unit 2 is for one channel of a BT 20000 Triple.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from simulators.bt20000 import MODEL, AhLimit, Bt20000
from simulators.ea_modbus import KEPT, EaRegisters, choice
from simulators.ea_registers import Coil, Value
from simulators.ea_supply import EaSupply
from simulators.faults import Faults, Texts
from simulators.world import World

SOCKET_TIMEOUT = 10889
FILTER = {436: (0, 1)}
IDENTITY = {
    1: MODEL,
    21: "EA Elektro-Automatik GmbH & Co. KG",
    131: "simulated",
    191: "V2.01 16.10.2025",
    211: "V2.01 16.10.2025",
    231: "V1.0.1",
}


class BtInstrument(EaRegisters):
    """The battery tester behind its register list."""

    FAULTS: ClassVar[Texts] = {
        **EaSupply.FAULTS,
        "polarity_reversed": "Voltages have no sign here: bits 7 (negative voltage) and 12 (polarity) of register 511.",
        "sign_flip": "Currents have no sign here: bit 12 (sink) of register 505 is wrong.",
        "nan": "Actual values read the end of the scale, floats are not numbers.",
    }

    def __init__(self, world: World, serial: str) -> None:
        self.device = Bt20000(world, serial)
        super().__init__(self.device, IDENTITY, SOCKET_TIMEOUT, {**KEPT, **FILTER})

    @property
    def faults(self) -> Faults:
        return self.device.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self.device.faults = faults

    @property
    def idle_timeout_s(self) -> float:
        return 0.0 if self.device.keep_alive else self.device.socket_timeout_s

    def deadline(self) -> float:
        return self.device.deadline()

    def elapse(self) -> None:
        self.device.elapse()

    def power_off(self) -> None:
        self.device.power_off()

    def respond(self, unit: int, pdu: bytes) -> bytes | None:
        return self.answer(pdu) if unit == 0 else None

    def _coil_map(self) -> dict[int, Coil]:
        device = self.device
        return super()._coil_map() | {
            431: Coil(lambda: device.battery_mode, device.set_battery_mode),
            435: Coil(lambda: device.counter.on, device.counter.switch),
            541: Coil(None, lambda on: device.counter.reset() if on else None),
        }

    def _register_map(self) -> dict[int, Value]:
        return super()._register_map() | self._battery_map()

    def _battery_map(self) -> dict[int, Value]:
        """What only the BT 20000 has; floats are volts, amperes and ampere hours."""
        device, counter = self.device, self.device.counter
        return {
            490: self.float_of(lambda: device.battery_current, device.set_battery_current),
            492: self.float_of(lambda: device.charge_voltage, device.set_charge_voltage),
            494: self.float_of(lambda: device.discharge_voltage, device.set_discharge_voltage),
            530: self._ah_setpoint(AhLimit.CHARGE),
            532: self._ah_setpoint(AhLimit.DISCHARGE),
            534: self.float_of(lambda: counter.charged),
            536: self.float_of(lambda: counter.discharged),
            538: choice(lambda: device.ah_reset, partial(setattr, device, "ah_reset"), 0, 1, 2),
            539: choice(lambda: device.ah_action, partial(setattr, device, "ah_action"), 0, 3),
            542: choice(lambda: device.ah_separate, partial(setattr, device, "ah_separate"), 0, 1),
            543: self.float_of(lambda: counter.delta),
            9010: self.float_of(lambda: device.battery_current_limits[1], device.set_battery_current_high),
            9012: self.float_of(lambda: device.battery_current_limits[0], device.set_battery_current_low),
        }

    def _ah_setpoint(self, limit: AhLimit) -> Value:
        device = self.device
        return self.float_of(lambda: device.ah_setpoints[limit], lambda value: device.set_ah_setpoint(limit, value))
