"""Watlow F4T: the controller of a climatic chamber, Modbus TCP, functions 3, 6 and 16.

Source: the F4T user's guide, Modbus tables of the appendix, and the maker's own ChamberConnectLibrary, as collected in
the project's instrument notes. Addresses are relative (zero-based); a value of 32 bits is at two registers, of which
the LOW word comes first as long as nobody changes that. Numbers stand for words: 10 auto, 54 manual, 62 off, 63 on.

Choices where they are silent:
- all four control loops read the air; the outputs of one of them heat and cool it, while its mode is auto and the event
  that enables the machine, where there is one, is on. Manual power is not simulated: the machine rests;
- the guide's factory setting of the unit is Fahrenheit; chambers are set to Celsius;
- alarm 1 watches that loop, the others are unused; it cuts the outputs for as long as it is there, loops keep their
  mode. A broken sensor is alarm 1 in error, and a process value that is not a number;
- there is one profile: it holds 23 degC in every loop until it is terminated. It does not start without its number;
- a set point must lie in the loop's range, which is fixed; registers that are not listed here do not exist (exception
  2), and neither does one half of a value; a value that cannot be is exception 3.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import ClassVar

from simulators.ea_registers import Value, Words
from simulators.faults import Faults, Texts, measured
from simulators.modbus import IllegalAddressError, IllegalValueError, Registers, answer
from simulators.world import World

AUTO, MANUAL, OFF, ON = 10, 54, 62, 63
NONE, HIGH, ERROR = 61, 7, 28
CELSIUS, FAHRENHEIT = 15, 30
STATUS_OK = 138
START, STOP, PAUSE, RESUME = 1782, 148, 146, 147
RUNNING, PAUSED, NOT_STARTED = 149, 146, 251

LOWEST_DEGC, HIGHEST_DEGC = -70.0, 180.0
PROFILE, PROFILE_DEGC = 1, 23.0
HARDWARE_ID, OTHER_HARDWARE_ID = 124, 120
# the seventh character says how many alarms there are: six for an A
PART_NUMBER, OTHER_PART_NUMBER = "F4T1L1AAA1B1AAA", "PM6C1CA-AAAABAA"
SERIAL = 30_417
LOOPS, ALARMS = 4, 6
LOOP_STEP, ALARM_STEP = 160, 100
EVENTS = (16594, 16596, 16598, 16600, 16822, 16824, 16826, 16828)


class Loop:
    """One control loop; temperatures in degC."""

    def __init__(self) -> None:
        self.mode = OFF
        self.set_point = 23.0


class F4t(Registers):
    """The controller around the battery of `world`; `loop` (1..4) conditions it, `event` (1..8) enables the machine."""

    FAULTS: ClassVar[Texts] = {
        **measured("stuck", "drift", "sign_flip", "range_clip", "overrange"),
        "alarm": "Alarm 1: too hot.",
        "nan": "A broken sensor: alarm 1 is an error, the process value not a number.",
        "word_order": "Somebody set it to send the high word first.",
        "fahrenheit": "Somebody set it to Fahrenheit.",
        "wrong_identity": "Another controller of the maker.",
    }

    idle_timeout_s = 0.0

    def __init__(
        self, world: World, serial: int = SERIAL, unit: int = 1, loop: int = 1, event: int | None = None
    ) -> None:
        self.world = world
        self.serial = serial
        self.unit = unit
        self.loops = [Loop() for _ in range(LOOPS)]
        self.events = [OFF] * len(EVENTS)
        self._wired = self.loops[loop - 1]
        self._enabling = event
        self._faults: Faults = frozenset()
        self.profile = NOT_STARTED
        self._profile_number = 0
        self._words = {
            address + offset: (address, value)
            for address, value in self._register_map().items()
            for offset in range(value.size)
        }

    @property
    def faults(self) -> Faults:
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        changed = faults != self._faults
        self._faults = faults
        if changed:
            self._condition()

    @property
    def alarm(self) -> int:
        if "nan" in self._faults:
            return ERROR
        return HIGH if "alarm" in self._faults else NONE

    def power_off(self) -> None:
        self.world.set_chamber(None)

    def respond(self, unit: int, pdu: bytes) -> bytes | None:
        return answer(self, pdu) if unit == self.unit else None

    # --- functions ---------------------------------------------------------------------------------------------

    def holding(self, address: int, count: int) -> list[int]:
        return list(self._read(address, address + count))

    def _read(self, address: int, end: int) -> Iterator[int]:
        while address < end:
            start, value = self._at(address)
            words = value.read()[address - start : end - start]
            yield from words
            address += len(words)

    def write_register(self, address: int, value: int) -> None:
        self.write_registers(address, [value])

    def write_registers(self, address: int, values: Sequence[int]) -> None:
        """Whole values, each at its own address; those before one that is refused are written."""
        while values:
            start, value = self._at(address)
            if start != address or value.write is None or len(values) < value.size:
                raise IllegalAddressError
            value.write(values[: value.size])
            address, values = address + value.size, values[value.size :]

    def _at(self, address: int) -> tuple[int, Value]:
        if address not in self._words:
            raise IllegalAddressError
        return self._words[address]

    # --- the list ----------------------------------------------------------------------------------------------

    def _register_map(self) -> dict[int, Value]:
        """By the address of the first word."""
        values = {
            0: self._long(lambda: OTHER_HARDWARE_ID if "wrong_identity" in self._faults else HARDWARE_ID),
            4: self._long(lambda: 4),
            12: self._long(lambda: self.serial),
            16: Value(len(PART_NUMBER), self._part_number),
            90: _word(lambda: STATUS_OK),
            6730: _word(lambda: FAHRENHEIT if "fahrenheit" in self._faults else CELSIUS),
            16558: _word(lambda: self._profile_number, self._choose_profile),
            16562: _word(lambda: NONE, partial(self._act_on_profile, {START: RUNNING})),
            16564: _word(lambda: NONE, partial(self._act_on_profile, {RESUME: RUNNING})),
            16566: _word(lambda: NONE, partial(self._act_on_profile, {PAUSE: PAUSED, STOP: NOT_STARTED})),
            16568: _word(lambda: self.profile),
        }
        for number in range(ALARMS):
            values[1356 + ALARM_STEP * number] = _word(partial(self._alarm_state, number))
        for number, address in enumerate(EVENTS):
            values[address] = _word(partial(self.events.__getitem__, number), partial(self._set_event, number))
        for number, loop in enumerate(self.loops):
            values |= {address + LOOP_STEP * number: value for address, value in self._loop_map(loop).items()}
        return values

    def _loop_map(self, loop: Loop) -> dict[int, Value]:
        return {
            2730: _word(lambda: loop.mode, partial(self._set_mode, loop)),
            2774: self._degrees(lambda: LOWEST_DEGC),
            2776: self._degrees(lambda: HIGHEST_DEGC),
            2782: self._degrees(lambda: loop.set_point, partial(self._set_set_point, loop)),
            2810: self._degrees(lambda: self._active_set_point(loop)),
            2814: _word(lambda: loop.mode),
            2820: self._degrees(lambda: math.nan if "nan" in self._faults else self.world.chamber_degc),
        }

    def _part_number(self) -> Words:
        """One character a register."""
        return list((OTHER_PART_NUMBER if "wrong_identity" in self._faults else PART_NUMBER).encode("ascii"))

    def _alarm_state(self, number: int) -> int:
        return NONE if number else self.alarm

    # --- settings ----------------------------------------------------------------------------------------------

    def _set_mode(self, loop: Loop, mode: int) -> None:
        if mode not in (AUTO, MANUAL, OFF):
            raise IllegalValueError
        loop.mode = mode
        self._condition()

    def _set_set_point(self, loop: Loop, degc: float) -> None:
        if not LOWEST_DEGC <= degc <= HIGHEST_DEGC:
            raise IllegalValueError
        loop.set_point = degc
        self._condition()

    def _set_event(self, number: int, state: int) -> None:
        if state not in (ON, OFF):
            raise IllegalValueError
        self.events[number] = state
        self._condition()

    def _choose_profile(self, number: int) -> None:
        if number != PROFILE:
            raise IllegalValueError
        self._profile_number = number

    def _act_on_profile(self, actions: dict[int, int], action: int) -> None:
        """Start from rest, resume a pause, pause a run, terminate either."""
        begun = self.profile in (RUNNING, PAUSED)
        if action not in actions or not self._profile_number or begun == (action == START):
            raise IllegalValueError
        self.profile = actions[action]
        self._condition()

    def _active_set_point(self, loop: Loop) -> float:
        return loop.set_point if self.profile == NOT_STARTED else PROFILE_DEGC

    def _condition(self) -> None:
        """Let the machine do what the controller's outputs say."""
        enabled = self._enabling is None or self.events[self._enabling - 1] == ON
        on = enabled and self._wired.mode == AUTO and self.alarm == NONE
        self.world.set_chamber(self._active_set_point(self._wired) if on else None)

    # --- values ------------------------------------------------------------------------------------------------

    def _long(self, read: Callable[[], int]) -> Value:
        return Value(2, lambda: self._ordered(struct.unpack(">HH", struct.pack(">i", read()))))

    def _degrees(self, read: Callable[[], float], write: Callable[[float], None] | None = None) -> Value:
        """A temperature as a single-precision float in the unit that is set."""

        def words() -> Words:
            return self._ordered(struct.unpack(">HH", struct.pack(">f", self._shown(read()))))

        def change(words: Words) -> None:
            assert write is not None
            (shown,) = struct.unpack(">f", struct.pack(">HH", *self._ordered(words)))
            write(self._meant(shown))

        return Value(2, words, None if write is None else change)

    def _ordered(self, words: Words) -> Words:
        """High word first into the wire's order, or back."""
        return words if "word_order" in self._faults else words[::-1]

    def _shown(self, degc: float) -> float:
        return 1.8 * degc + 32 if "fahrenheit" in self._faults else degc

    def _meant(self, shown: float) -> float:
        return (shown - 32) / 1.8 if "fahrenheit" in self._faults else shown


def _word(read: Callable[[], int], write: Callable[[int], None] | None = None) -> Value:
    return Value(1, lambda: [read()], None if write is None else lambda words: write(words[0]))
