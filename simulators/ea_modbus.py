"""The registers that EA's PSB 10000 and BT 20000 have in common: functions 1, 3, 5, 6 and 16.

Source: EA programming guide, ModBus chapter, and the register lists of PSB 10000 KE3.10+ and BT 20000 KE2.1.1+, as
collected in the project's instrument notes. A set value of 0xCCCC is 100 % of the nominal value, and so is an actual
value, which ends at 125 %. Registers of several words have the high one first.

Choices where the guide is silent: a coil is read alone; a register can be written only by the function that the list
gives it and in its whole length (a text may be shorter), anything else has no such address (2) or a wrong length (3);
addresses in the gaps of the list are refused; refusals come in this order: address, length, access, value, execution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from simulators.ea_events import Action, Event
from simulators.ea_quantities import OutOfRangeError, Quantity
from simulators.ea_registers import TEXT_WORDS, Coil, Value, Words, long, percent, single, text, word
from simulators.ea_supply import Alarm, EaSupply, RefusedError
from simulators.modbus import READ_COILS, IllegalAddressError, IllegalValueError, ModbusError, Registers, answer

USER_TEXT = 171
REMOTE_COIL = 402
ACTIONS = (Action.NONE, Action.SIGNAL, Action.WARNING, Action.ALARM)

SET_VALUES = {
    498: Quantity.SINK_POWER,
    499: Quantity.SINK_CURRENT,
    500: Quantity.VOLTAGE,
    501: Quantity.CURRENT,
    502: Quantity.POWER,
}
PROTECTIONS = {
    550: Quantity.VOLTAGE,
    553: Quantity.CURRENT,
    556: Quantity.POWER,
    569: Quantity.SINK_CURRENT,
    570: Quantity.SINK_POWER,
}
EVENTS = {
    559: Event.UVD,
    561: Event.OVD,
    563: Event.UCD,
    565: Event.OCD,
    567: Event.OPD,
    571: Event.SINK_UCD,
    573: Event.SINK_OCD,
    575: Event.SINK_OPD,
}
LIMITS_HIGH = {
    9000: Quantity.VOLTAGE,
    9002: Quantity.CURRENT,
    9004: Quantity.POWER,
    9005: Quantity.SINK_POWER,
    9008: Quantity.SINK_CURRENT,
}
LIMITS_LOW = {9001: Quantity.VOLTAGE, 9003: Quantity.CURRENT, 9009: Quantity.SINK_CURRENT}
# overtemperature, power failure and share bus alarms never happen here
COUNTERS = (
    Alarm.OVERVOLTAGE,
    Alarm.OVERCURRENT,
    Alarm.OVERPOWER,
    None,
    None,
    Alarm.SINK_OVERCURRENT,
    Alarm.SINK_OVERPOWER,
    None,
)
# settings that are kept and answered, and change nothing that is simulated; the first choice is the factory's
KEPT: Mapping[int, Sequence[int]] = {408: (0xFFFF, 0xFFFE), 427: (0, 1, 2), 577: (0, 1)}


class ExecutionError(ModbusError):
    """The device cannot do that now."""

    code = 0x04


class AccessDeniedError(ModbusError):
    """Not in remote control, or nothing that can be written."""

    code = 0x07


class InLocalError(ModbusError):
    """The front panel holds the device."""

    code = 0x17


class EaRegisters(Registers):
    """A supply behind its register list; `identity` are texts by their register, `kept` are settings that are kept and
    answered, and change nothing that is simulated."""

    def __init__(
        self,
        device: EaSupply,
        identity: Mapping[int, str],
        socket_timeout: int,
        kept: Mapping[int, Sequence[int]] = KEPT,
    ) -> None:
        self._supply = device
        self._identity, self._socket_timeout = identity, socket_timeout
        self.full_compliance = False
        self._user_text = ""
        self._kept = {address: choices[0] for address, choices in kept.items()}
        self._choices = kept
        self._output_after_power_failure = False
        self._coils = self._coil_map()
        self._words = {
            address + offset: (address, value)
            for address, value in self._register_map().items()
            for offset in range(value.size)
        }

    def answer(self, pdu: bytes) -> bytes:
        """In its Limited compliance with Modbus a coil is answered as the two bytes that would write it."""
        self._supply.traffic()
        reply = answer(self, pdu)
        if reply[0] == READ_COILS and not self.full_compliance:
            return bytes([READ_COILS, 2, 0xFF if reply[2] else 0x00, 0x00])
        return reply

    # --- functions ---------------------------------------------------------------------------------------------

    def coils(self, address: int, count: int) -> list[bool]:
        coil = self._coils.get(address)
        if coil is None or coil.read is None:
            raise IllegalAddressError
        if count != 1:
            raise IllegalValueError
        return [coil.read()]

    def holding(self, address: int, count: int) -> list[int]:
        return list(self._read(address, address + count))

    def _read(self, address: int, end: int) -> Iterator[int]:
        while address < end:
            if address not in self._words:
                raise IllegalAddressError
            start, value = self._words[address]
            words = value.read()[address - start : end - start]
            yield from words
            address += len(words)

    def write_coil(self, address: int, value: bool) -> None:
        coil = self._coils.get(address)
        if coil is None:
            raise IllegalAddressError
        self._carry_out(lambda: coil.write(value), anyone=address == REMOTE_COIL)

    def write_register(self, address: int, value: int) -> None:
        self._write(address, [value], alone=True)

    def write_registers(self, address: int, values: Sequence[int]) -> None:
        self._write(address, values, alone=False)

    def _write(self, address: int, words: Words, alone: bool) -> None:
        if address not in self._words:
            raise IllegalAddressError
        start, value = self._words[address]
        write = value.write
        if write is None:
            raise AccessDeniedError
        if address != start or value.alone != alone:
            raise IllegalAddressError
        if len(words) > value.size or (len(words) < value.size != TEXT_WORDS):
            raise IllegalValueError
        self._carry_out(lambda: write(words))

    def _carry_out(self, write: Callable[[], None], anyone: bool = False) -> None:
        """Change something; all but remote control itself needs remote control."""
        if self._supply.local:
            raise InLocalError
        if not (self._supply.remote or anyone):
            raise AccessDeniedError
        try:
            write()
        except OutOfRangeError:
            raise IllegalValueError from None
        except RefusedError:
            raise ExecutionError from None

    # --- the list ----------------------------------------------------------------------------------------------

    def _coil_map(self) -> dict[int, Coil]:
        device = self._supply
        return {
            REMOTE_COIL: Coil(lambda: device.remote, self._set_remote),
            405: Coil(lambda: device.output_on, device.switch_output),
            407: Coil(lambda: self._output_after_power_failure, partial(setattr, self, "_output_after_power_failure")),
            409: Coil(lambda: False, _no_resistance_mode),
            411: Coil(None, lambda on: device.acknowledge() if on else None),
            425: Coil(lambda: device.keep_output_after_remote, partial(setattr, device, "keep_output_after_remote")),
            10007: Coil(lambda: device.keep_alive, partial(setattr, device, "keep_alive")),
            10013: Coil(lambda: self.full_compliance, partial(setattr, self, "full_compliance")),
        }

    def _register_map(self) -> dict[int, Value]:
        """By the address of the first word."""
        device = self._supply
        values = {
            0: Value(1, lambda: [0]),
            151: text(lambda: "9999999999" if "wrong_identity" in device.faults else device.serial),
            USER_TEXT: text(lambda: self._user_text, self._set_user_text),
            121: single(lambda: Quantity.VOLTAGE.nominal),
            123: single(lambda: Quantity.CURRENT.nominal),
            125: single(lambda: Quantity.POWER.nominal),
            505: Value(2, lambda: long(device.state())),
            507: Value(3, self._actual),
            511: Value(2, lambda: long(device.state_2())),
            514: Value(3, lambda: [0, 0, self._actual()[0]]),
            520: Value(8, self._alarm_counts),
            10800: word(lambda: device.monitor_timeout_s, device.set_monitor_timeout),
            10801: choice(lambda: device.monitor_on, lambda on: device.set_monitor(on == 1), 0, 1),
            self._socket_timeout: word(lambda: device.socket_timeout_s, device.set_socket_timeout),
            **{address: text(partial(str, words)) for address, words in self._identity.items()},
            **{address: self._kept_word(address, *choices) for address, choices in self._choices.items()},
        }
        return values | self._setting_map()

    def _setting_map(self) -> dict[int, Value]:
        """Set values, protections, limits and events, in percent of nominal."""
        device = self._supply
        values: dict[int, Value] = {}
        for address, q in SET_VALUES.items():
            values[address] = percent(q, lambda q: device.levels[q], device.set_level)
        for address, q in PROTECTIONS.items():
            values[address] = percent(q, lambda q: device.protections[q], device.set_protection)
        for address, q in LIMITS_HIGH.items():
            values[address] = percent(q, lambda q: device.limits[q][1], device.set_limit_high)
        for address, q in LIMITS_LOW.items():
            values[address] = percent(q, lambda q: device.limits[q][0], device.set_limit_low)
        for address, event in EVENTS.items():
            values |= self._event(address, event)
        return values

    def _event(self, address: int, event: Event) -> dict[int, Value]:
        """The threshold of a watched quantity, and in the next register what happens when it is passed."""
        device, watch = self._supply, self._supply.watches[event]
        return {
            address: percent(event.quantity, lambda _: watch.threshold, lambda _, v: device.set_threshold(event, v)),
            address + 1: choice(
                lambda: ACTIONS.index(watch.action), lambda index: device.set_action(event, ACTIONS[index]), 0, 1, 2, 3
            ),
        }

    def _kept_word(self, address: int, *choices: int) -> Value:
        return choice(lambda: self._kept[address], partial(self._keep, address), *choices)

    # --- values ------------------------------------------------------------------------------------------------

    def float_of(self, read: Callable[[], float], write: Callable[[float], None] | None = None) -> Value:
        return single(lambda: math.nan if "nan" in self._supply.faults else read(), write)

    def _actual(self) -> list[int]:
        """Voltage, current and power at the terminals, without their sign."""
        if "nan" in self._supply.faults:
            return [0xFFFF] * 3
        at = self._supply.world.terminal()
        values = ((at.voltage, Quantity.VOLTAGE), (at.current, Quantity.CURRENT), (at.power, Quantity.POWER))
        return [min(0xFFFF, round(abs(value) / q.step)) for value, q in values]

    def _alarm_counts(self) -> list[int]:
        counts = self._supply.alarm_counts
        return [min(0xFFFF, counts[alarm]) if alarm else 0 for alarm in COUNTERS]

    def _set_remote(self, on: bool) -> None:
        if on:
            self._supply.take_remote()
        elif self._supply.remote:
            self._supply.leave_remote()

    def _set_user_text(self, text: str) -> None:
        self._user_text = text

    def _keep(self, address: int, word: int) -> None:
        self._kept[address] = word


def choice(read: Callable[[], int], write: Callable[[int], None], *choices: int) -> Value:
    """A register that takes some numbers only."""

    def change(number: int) -> None:
        if number not in choices:
            raise OutOfRangeError
        write(number)

    return word(read, change)


def _no_resistance_mode(on: bool) -> None:
    """Resistance control is not simulated: the device stays in UIP."""
    if on:
        raise RefusedError("no resistance mode")
