"""EA Elektro-Automatik BT 20500-90: a battery tester of 500 V, 90 A, 30 kW. The device, without its protocol.

Source: EA programming guide for the 10000 and 20000 series and the register list of BT 20000 KE2.1.1+, as collected in
the project's instrument notes.

Choices where they are silent:
- it starts as a power supply, and the mode cannot be changed while the output is on;
- as a battery tester it holds the charge voltage while its set current is positive or zero and the discharge voltage
  while it is negative, and current never flows the other way; the power set values hold in both modes, the current
  set values only as a power supply;
- the Ah counter counts while it is switched on; an Ah setpoint of zero watches nothing; "automatic" starts the counters
  from zero whenever the output is switched on; in the mode "delta" both setpoints look at the difference;
- the communication watchdog leaves remote control, so what the output then does is the setting of the state after it.
"""

from __future__ import annotations

from enum import StrEnum

from simulators.ea_quantities import OutOfRangeError, Quantity
from simulators.ea_supply import EaSupply, RefusedError
from simulators.world import Source, World

MODEL = "BT 20500-90"

STATE_2_NEGATIVE_VOLTAGE, STATE_2_POLARITY = 7, 12


class AhLimit(StrEnum):
    """A setpoint of the Ah counter."""

    CHARGE = "Ah charge"
    DISCHARGE = "Ah discharge"

    @property
    def bit(self) -> int:
        """Of the second device state, register 511."""
        return 17 if self is AhLimit.CHARGE else 18


AH_RESET_AUTOMATIC = 2
AH_ACTION_NONE, AH_ACTION_ALARM = 0, 3


class AhCounter:
    """Ah into and out of the battery, while it is switched on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._on = False
        self._charged = self._discharged = 0.0
        self._seen = (world.charged_ah, world.discharged_ah)

    @property
    def on(self) -> bool:
        return self._on

    def switch(self, on: bool) -> None:
        self._count()
        self._on = on

    def reset(self) -> None:
        self._count()
        self._charged = self._discharged = 0.0

    @property
    def charged(self) -> float:
        self._count()
        return self._charged

    @property
    def discharged(self) -> float:
        self._count()
        return self._discharged

    @property
    def delta(self) -> float:
        """Charged minus discharged."""
        return self.charged - self.discharged

    def _count(self) -> None:
        now = (self._world.charged_ah, self._world.discharged_ah)
        if self._on:
            self._charged += now[0] - self._seen[0]
            self._discharged += now[1] - self._seen[1]
        self._seen = now


class Bt20000(EaSupply):
    """The supply with its battery tester mode, in which one signed current charges or discharges up to a voltage."""

    LOCATION_REMOTE = 0x14

    def __init__(self, world: World, serial: str) -> None:
        super().__init__(world, serial)
        self.battery_mode = False
        self.battery_current = 0.0
        self.charge_voltage = 0.0
        self.discharge_voltage = 0.0
        self.battery_current_limits = (-Quantity.CURRENT.nominal, Quantity.CURRENT.nominal)
        self.counter = AhCounter(world)
        self.ah_setpoints = dict.fromkeys(AhLimit, 0.0)
        self.ah_reset = 0
        self.ah_action = AH_ACTION_NONE
        self.ah_separate = 0

    # --- battery tester ----------------------------------------------------------------------------------------

    def set_battery_mode(self, battery: bool) -> None:
        self._demand_remote()
        if self.output_on and battery != self.battery_mode:
            raise RefusedError("the output is on")
        self.battery_mode = battery

    def set_battery_current(self, amperes: float) -> None:
        """Positive charges."""
        self._demand_remote()
        self.battery_current = _between(*self.battery_current_limits, amperes)
        self._drive()

    def set_charge_voltage(self, volts: float) -> None:
        self._demand_remote()
        self.charge_voltage = _between(0.0, Quantity.VOLTAGE.nominal, volts)
        self._drive()

    def set_discharge_voltage(self, volts: float) -> None:
        self._demand_remote()
        self.discharge_voltage = _between(0.0, Quantity.VOLTAGE.nominal, volts)
        self._drive()

    def set_battery_current_low(self, amperes: float) -> None:
        """A limit may not exclude the present setting."""
        self._demand_remote()
        low = _between(-Quantity.CURRENT.nominal, self.battery_current, amperes)
        self.battery_current_limits = (low, self.battery_current_limits[1])

    def set_battery_current_high(self, amperes: float) -> None:
        self._demand_remote()
        high = _between(self.battery_current, Quantity.CURRENT.nominal, amperes)
        self.battery_current_limits = (self.battery_current_limits[0], high)

    def switch_output(self, on: bool) -> None:
        was_on = self.output_on
        super().switch_output(on)
        if self.output_on and not was_on and self.ah_reset == AH_RESET_AUTOMATIC:
            self.counter.reset()

    def _source(self) -> Source:
        if not self.battery_mode:
            return super()._source()
        current = self.battery_current
        return Source(
            voltage=self.discharge_voltage if current < 0 else self.charge_voltage,
            charge_current=max(current, 0.0),
            discharge_current=max(-current, 0.0),
            charge_power=self.levels[Quantity.POWER],
            discharge_power=self.levels[Quantity.SINK_POWER],
        )

    # --- Ah counter --------------------------------------------------------------------------------------------

    def set_ah_setpoint(self, limit: AhLimit, ampere_hours: float) -> None:
        self._demand_remote()
        self.ah_setpoints[limit] = _between(0.0, 3.4e38, ampere_hours)
        self._supervise()

    def ah_limits_reached(self) -> set[AhLimit]:
        counter = self.counter
        counted = {AhLimit.CHARGE: counter.charged, AhLimit.DISCHARGE: counter.discharged}
        if not self.ah_separate:
            counted = {AhLimit.CHARGE: counter.delta, AhLimit.DISCHARGE: -counter.delta}
        return {limit for limit, setpoint in self.ah_setpoints.items() if 0 < setpoint <= counted[limit]}

    def _exceeded(self) -> set[StrEnum]:
        found = super()._exceeded()
        return found | self.ah_limits_reached() if self.ah_action == AH_ACTION_ALARM else found

    # --- status ------------------------------------------------------------------------------------------------

    def state_2(self) -> int:
        """Register 511: the Ah setpoints that are reached, and a voltage of the wrong sign."""
        latched = {cause for cause in self.alarms if isinstance(cause, AhLimit)}
        bits = {limit.bit for limit in latched | self.ah_limits_reached()}
        if self.world.terminal().voltage < 0:
            bits |= {STATE_2_NEGATIVE_VOLTAGE, STATE_2_POLARITY}
        return sum(1 << bit for bit in bits)


def _between(low: float, high: float, value: float) -> float:
    """The value; raises OutOfRangeError, for what is not a number too."""
    if not low <= value <= high:
        raise OutOfRangeError
    return value
