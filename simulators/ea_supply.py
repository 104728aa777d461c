"""What EA's bidirectional supplies of 500 V, 90 A, 30 kW have in common: settings, output, protections.

Source: EA programming guide for the 10000 and 20000 series, as collected in the project's instrument notes. Settings
are held as the devices hold them, in 1/52428 of the nominal value.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import ClassVar

from simulators.ea_events import Action, Event, default_watches, present
from simulators.ea_quantities import PROTECTION_SPAN, SETTING_SPAN, OutOfRangeError, Quantity
from simulators.faults import Faults, Texts, measured
from simulators.world import Source, World

MONITOR_RANGE_S = (1, 36000)
SOCKET_RANGE_S = (5, 65535)
# a running output is compared with its protections at every request, and at least this often in line time
PROTECTION_PERIOD_S = 1.0


class Alarm(StrEnum):
    OVERVOLTAGE = "OVP"
    OVERCURRENT = "OCP"
    OVERPOWER = "OPP"
    SINK_OVERCURRENT = "OCP sink"
    SINK_OVERPOWER = "OPP sink"


LOCATION_FREE, LOCATION_LOCAL, LOCATION_TIMED_OUT = 0x00, 0x01, 0x1C
# bits of the device state, register 505
STATE_OUTPUT, STATE_REMOTE, STATE_SINK, STATE_ALARM, STATE_CAUSE_SINK = 7, 11, 12, 15, 31
STATE_REGULATION = {"off": 0, "CV": 0 << 9, "CC": 2 << 9, "CP": 3 << 9}
STATE_ALARMS = {
    Alarm.OVERVOLTAGE: 16,
    Alarm.OVERCURRENT: 17,
    Alarm.OVERPOWER: 18,
    Alarm.SINK_OVERCURRENT: 17,
    Alarm.SINK_OVERPOWER: 18,
}
STATE_EVENTS = {"UVD": 24, "OVD": 25, "UCD": 26, "OCD": 27, "OPD": 28}


class NotRemoteError(Exception):
    """Only a device in remote control can be changed."""


class LocalError(Exception):
    """The front panel holds the device."""


class RefusedError(Exception):
    """The device cannot do that now."""


class EaSupply:
    """The device at the terminals of a simulated battery. Volts, amperes and watts; positive charges the battery."""

    # where it is controlled from, as register 505 says: Ethernet
    LOCATION_REMOTE = 0x06
    FAULTS: ClassVar[Texts] = {
        **measured("stuck", "drift", "sign_flip", "polarity_reversed", "open_lead", "range_clip", "overrange"),
        "wrong_identity": "Another serial number.",
        "output_refuses_off": "The output stays on although it is told to switch off.",
        "watchdog_trip": "The communication watchdog runs out, whatever traffic there is: remote control is left.",
    }

    def __init__(self, world: World, serial: str) -> None:
        self.world = world
        self.serial = serial
        self._faults: Faults = frozenset()
        self.remote = False
        self.local = False
        self.output_on = False
        self.levels = dict.fromkeys(Quantity, 0.0)
        self.levels |= {q: q.nominal for q in (Quantity.POWER, Quantity.SINK_POWER)}
        self.protections = {q: q.on_grid(q.nominal * PROTECTION_SPAN) for q in Quantity}
        self.limits = {q: (0.0, q.on_grid(q.nominal * SETTING_SPAN)) for q in Quantity}
        self.watches = default_watches()
        self.alarms: set[StrEnum] = set()
        self.alarm_counts = dict.fromkeys(Alarm, 0)
        self.monitor_on = False
        self.monitor_timeout_s = 5
        self.socket_timeout_s = 5
        self.timed_out = False
        self.keep_output_after_remote = False
        self.keep_alive = False
        self._last_traffic = world.now()
        self._next_protection_check = math.inf

    @property
    def faults(self) -> Faults:
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        begun, self._faults = faults - self._faults, faults
        if "watchdog_trip" in begun and self.remote:
            self._lose_contact()

    def power_off(self) -> None:
        """Nothing holds the output any more."""
        self.output_on = False
        self.world.drive(None)

    # --- control -----------------------------------------------------------------------------------------------

    def traffic(self) -> None:
        """A message arrived: the communication watchdog starts anew."""
        self._last_traffic = self.world.now()

    def take_remote(self) -> None:
        if self.local:
            raise LocalError
        self.remote = True
        self.timed_out = False
        self._observe()

    def leave_remote(self) -> None:
        """Give control back; the output goes off, unless it is set to stay."""
        self.remote = False
        if not self.keep_output_after_remote:
            self._switch(False)

    def _demand_remote(self) -> None:
        if not self.remote:
            raise NotRemoteError

    # --- settings ----------------------------------------------------------------------------------------------

    def set_level(self, quantity: Quantity, value: float) -> None:
        self._demand_remote()
        low, high = self.limits[quantity]
        self.levels[quantity] = quantity.between(low, high, value)
        self._drive()

    def set_protection(self, quantity: Quantity, value: float) -> None:
        self._demand_remote()
        self.protections[quantity] = quantity.between(0.0, quantity.nominal * PROTECTION_SPAN, value)
        self._supervise()

    def set_limit_low(self, quantity: Quantity, value: float) -> None:
        """A limit may not exclude the present setting."""
        self._demand_remote()
        self.limits[quantity] = (quantity.between(0.0, self.levels[quantity], value), self.limits[quantity][1])

    def set_limit_high(self, quantity: Quantity, value: float) -> None:
        self._demand_remote()
        most = quantity.nominal * SETTING_SPAN
        self.limits[quantity] = (self.limits[quantity][0], quantity.between(self.levels[quantity], most, value))

    def set_threshold(self, event: Event, value: float) -> None:
        self._demand_remote()
        quantity = event.quantity
        self.watches[event].threshold = quantity.between(0.0, quantity.nominal * PROTECTION_SPAN, value)
        self._supervise()

    def set_action(self, event: Event, action: Action) -> None:
        self._demand_remote()
        self.watches[event].action = action
        self._supervise()

    def set_monitor(self, on: bool) -> None:
        self._demand_remote()
        self.monitor_on = on

    def set_monitor_timeout(self, seconds: float) -> None:
        self._demand_remote()
        self.monitor_timeout_s = _whole(seconds, *MONITOR_RANGE_S)

    def set_socket_timeout(self, seconds: float) -> None:
        self._demand_remote()
        self.socket_timeout_s = 0 if seconds == 0 else _whole(seconds, *SOCKET_RANGE_S)

    # --- output ------------------------------------------------------------------------------------------------

    def switch_output(self, on: bool) -> None:
        self._demand_remote()
        if on and self.alarms:
            raise RefusedError("an alarm is not acknowledged")
        if not on and "output_refuses_off" in self.faults:
            raise RefusedError("simulated fault")
        self._switch(on)
        self._supervise()

    def _switch(self, on: bool) -> None:
        self.output_on = on
        self._next_protection_check = self.world.now() + PROTECTION_PERIOD_S if on else math.inf
        self._drive()

    def _drive(self) -> None:
        self.world.drive(self._source() if self.output_on else None)
        self._observe()

    def _source(self) -> Source:
        """What the output does while it is on."""
        levels = self.levels
        return Source(
            voltage=levels[Quantity.VOLTAGE],
            charge_current=levels[Quantity.CURRENT],
            discharge_current=levels[Quantity.SINK_CURRENT],
            charge_power=levels[Quantity.POWER],
            discharge_power=levels[Quantity.SINK_POWER],
        )

    # --- supervision -------------------------------------------------------------------------------------------

    def deadline(self) -> float:
        watchdog = self._last_traffic + self.monitor_timeout_s if self.monitor_on and self.remote else math.inf
        return min(watchdog, self._next_protection_check)

    def elapse(self) -> None:
        now = self.world.now()
        if self.monitor_on and self.remote and now >= self._last_traffic + self.monitor_timeout_s:
            self._lose_contact()
        if now >= self._next_protection_check:
            self._next_protection_check = now + PROTECTION_PERIOD_S
        self._supervise()

    def _lose_contact(self) -> None:
        self.timed_out = True
        self.leave_remote()

    def _supervise(self) -> None:
        """Trip on what exceeds its protection: the output goes off and the alarm stays until acknowledged."""
        if self.output_on:
            exceeded = self._exceeded()
            if exceeded:
                self.alarms |= exceeded
                for alarm in self.alarm_counts.keys() & exceeded:
                    self.alarm_counts[alarm] += 1
                self._switch(False)
        self._observe()

    def _exceeded(self) -> set[StrEnum]:
        """The protections and alarming events whose cause is present."""
        at = self.world.terminal()
        actual = {
            Alarm.OVERVOLTAGE: (at.voltage, Quantity.VOLTAGE),
            Alarm.OVERCURRENT: (at.current, Quantity.CURRENT),
            Alarm.OVERPOWER: (at.power, Quantity.POWER),
            Alarm.SINK_OVERCURRENT: (-at.current, Quantity.SINK_CURRENT),
            Alarm.SINK_OVERPOWER: (-at.power, Quantity.SINK_POWER),
        }
        # half a step of the setting: a limit that holds the value at its protection does not trip it
        found: set[StrEnum] = {
            alarm for alarm, (value, q) in actual.items() if value > self.protections[q] + q.step / 2
        }
        if self.output_on:
            found |= {event for event in present(self.watches, at) if self.watches[event].action is Action.ALARM}
        return found

    def acknowledge(self) -> None:
        """Clear the alarms whose cause is gone."""
        self.alarms &= self._exceeded()
        self._observe()

    # --- status ------------------------------------------------------------------------------------------------

    def state(self) -> int:
        """Register 505: where it is controlled from, what it does, and what is wrong."""
        bits = {STATE_ALARMS[cause] for cause in self.alarms if isinstance(cause, Alarm)}
        events = {cause for cause in self.alarms if isinstance(cause, Event)}
        state = self._location()
        if self.output_on:
            at = self.world.terminal()
            events |= present(self.watches, at)
            state |= STATE_REGULATION[at.regulation]
            if at.current < 0:
                bits.add(STATE_SINK)
        bits |= {STATE_EVENTS[event.value[-3:]] for event in events}
        sink_alarms = {Alarm.SINK_OVERCURRENT, Alarm.SINK_OVERPOWER}
        for bit, on in (
            (STATE_OUTPUT, self.output_on),
            (STATE_REMOTE, self.remote),
            (STATE_ALARM, self.alarms),
            (STATE_CAUSE_SINK, sink_alarms & self.alarms),
        ):
            if on:
                bits.add(bit)
        return state | sum(1 << bit for bit in bits)

    def state_2(self) -> int:
        """Register 511."""
        return 0

    def _location(self) -> int:
        if self.local:
            return LOCATION_LOCAL
        if self.remote:
            return self.LOCATION_REMOTE
        return LOCATION_TIMED_OUT if self.timed_out else LOCATION_FREE

    def _observe(self) -> None:
        """Something may have changed; for status registers that latch."""


def _whole(value: float, low: int, high: int) -> int:
    if not low <= value <= high or value != int(value):
        raise OutOfRangeError
    return int(value)
