"""Chambers with a Watlow F4T controller, over Modbus TCP.

Sources: the F4T user's guide (hardware id, serial number, part number, device status, enumerations, "the low order
word" first) and the register tables of ChamberConnectLibrary, which a chamber maker runs on its F4T chambers (loops,
profile, events, alarms). Addresses are zero-based, 32-bit values have their low word first, a character takes a
register. The word order and the unit can be set on the controller, as low-high and Fahrenheit by default: both are
checked before every reading and setting, since a chamber that takes 25 for degF is no chamber.

A loop has to be in automatic mode to condition. Makers of chambers switch compressors by one of the events 1..8:
`event` says by which. A profile that runs owns the set point, so conditioning is refused while one does. Cascades
(control by the temperature of the product) are not supported.

Assumed: alarm states 7 high, 8 low, 28 error, as in the maker's other controllers; the unit of register 6730 is that of
the Ethernet map, as the library has it; a broken sensor is an alarm and reads as no possible temperature.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers import words
from drivers.errors import AnswerError, ConfigError, DeviceError, IdentityError, SettingError
from drivers.identity import check_identity
from drivers.links import RegisterLink
from drivers.roles import ChamberReading, Identity

HARDWARE_ID, RELEASE, SERIAL_NUMBER, PART_NUMBER, DEVICE_STATUS = 0, 4, 12, 16, 90
UNIT = 6730
CONTROL_MODE, LOWEST, HIGHEST, SET_POINT, ACTIVE_MODE, AIR = 2730, 2774, 2776, 2782, 2814, 2820
PROFILE_STATE = 16568
EVENTS = (16594, 16596, 16598, 16600, 16822, 16824, 16826, 16828)
ALARM_STATE = 1356
LOOP_STRIDE, ALARM_STRIDE = 160, 100

F4T = 124
PART_NUMBER_LENGTH = 15
CELSIUS = 15
AUTOMATIC, MANUAL, OFF, ON = 10, 54, 62, 63
MODES = {AUTOMATIC: "automatic", MANUAL: "manual", OFF: "off"}
PROFILE_RUNS = {149: "runs", 146: "is paused"}
DEVICE_FAILS = 32
QUIET_ALARMS = (61, 88, 12)  # none, startup, blocked
ALARM_NAMES = {7: "high", 8: "low", 28: "error"}
ALARM_COUNTS = {"A": 6, "B": 8, "C": 14, "D": 6, "E": 8, "F": 14}  # by the seventh letter of the part number
RESOLUTION = 1e-3  # degC, below any display

POSSIBLE = (-200.0, 500.0)  # degC, of any chamber
SMALLEST_RANGE = 1.0  # degC; two words exchanged make nearly zero of any such number


def parse_integer(registers: Sequence[int]) -> int:
    """An unsigned integer, low word first."""
    return words.integer(registers[::-1])


def parse_temperature(registers: Sequence[int]) -> float:
    """A float, low word first, that can be a temperature."""
    value = words.number(registers[::-1])
    if not POSSIBLE[0] <= value <= POSSIBLE[1]:
        raise AnswerError("no temperature of a chamber", value)
    return value


def parse_air(registers: Sequence[int]) -> float | None:
    """The air's temperature, None for what a broken sensor reads: no number, or none that air can have."""
    try:
        return parse_temperature(registers)
    except AnswerError:
        return None


def format_temperature(value: float) -> list[int]:
    """The registers of a float, low word first."""
    return words.from_number(value)[::-1]


def parse_part_number(registers: Sequence[int]) -> str:
    """Text of a character a register, padded with zeros."""
    raw = bytes(min(register, 0xFF) for register in registers).rstrip(b"\0 ")
    text = raw.decode("ascii", "replace")
    if not text.isascii() or not text.isprintable():
        raise AnswerError("the part number is not printable ASCII", raw)
    return text


def check_hardware(registers: Sequence[int]) -> None:
    """Raise unless an F4T with low words first answered."""
    if parse_integer(registers) == F4T:
        return
    if words.integer(registers) == F4T:
        raise SettingError("its words come high first; set Modbus word order to low-high on the controller")
    raise IdentityError("hardware id", str(F4T), str(parse_integer(registers)))


def parse_limits(lowest: Sequence[int], highest: Sequence[int]) -> tuple[float, float]:
    """The range of set points; raises SettingError for one that only other words could make."""
    low, high = words.number(lowest[::-1]), words.number(highest[::-1])
    if not (POSSIBLE[0] <= low and low + SMALLEST_RANGE <= high <= POSSIBLE[1]):
        raise SettingError(
            f"its set points may lie from {low:g} to {high:g} degC; set the range, or Modbus word order to low-high, "
            "on the controller"
        )
    return low, high


def alarm_count(part_number: str) -> int:
    """How many alarms a controller has; raises AnswerError for a part number that does not tell."""
    count = ALARM_COUNTS.get(part_number[6:7])
    if count is None:
        raise AnswerError("expected the number of alarms, A to F, at the seventh place of the part number", part_number)
    return count


class WatlowF4t:
    """Role Chamber: one control loop."""

    def __init__(
        self,
        link: RegisterLink,
        model: str = "",
        serial: str = "",
        *,
        unit: int = 1,
        loop: int = 1,
        event: int | None = None,
    ) -> None:
        """unit is the Modbus address; event is the one that switches the chamber on, if its maker uses one."""
        if not 1 <= loop <= 4:
            raise ConfigError(f"a controller has loops 1 to 4, not {loop}")
        if event is not None and not 1 <= event <= len(EVENTS):
            raise ConfigError(f"a controller has events 1 to {len(EVENTS)}, not {event}")
        self._link = link
        self._model, self._serial = model, serial
        self._unit = unit
        self._offset = LOOP_STRIDE * (loop - 1)
        self._event = None if event is None else EVENTS[event - 1]
        self._alarms = 0
        self._temperatures: tuple[float, float] | None = None

    @property
    def temperatures(self) -> tuple[float, float]:
        if self._temperatures is None:
            raise DeviceError("the limits are unknown before connect()")
        return self._temperatures

    async def connect(self) -> Identity:
        await self._link.open()
        identity = check_identity(await self.identify(), self._model, self._serial)
        self._alarms = alarm_count(identity.model)
        self._temperatures = parse_limits(await self._read_loop(LOWEST, 2), await self._read_loop(HIGHEST, 2))
        return identity

    async def identify(self) -> Identity:
        check_hardware(await self._read(HARDWARE_ID, 2))
        release = parse_integer(await self._read(RELEASE, 2))
        serial = parse_integer(await self._read(SERIAL_NUMBER, 2))
        part_number = parse_part_number(await self._read(PART_NUMBER, PART_NUMBER_LENGTH))
        await self._check_unit()
        return Identity("Watlow", part_number, str(serial), str(release))

    async def close(self) -> None:
        await self._link.close()

    async def read(self) -> ChamberReading:
        await self._check_format()
        air = parse_air(await self._read_loop(AIR, 2))
        set_point = parse_temperature(await self._read_loop(SET_POINT, 2))
        return ChamberReading(air, set_point, await self._is_running(), await self._active_alarms())

    async def condition(self, temperature: float) -> None:
        lowest, highest = self.temperatures
        if not lowest <= temperature <= highest:
            raise SettingError(
                f"a set point of {temperature:g} degC is outside the chamber's {lowest:g} to {highest:g} degC"
            )
        await self._check_format()
        if profile := PROFILE_RUNS.get(await self._read_word(PROFILE_STATE)):
            raise SettingError(f"a profile {profile} and owns the set point; terminate it on the controller")
        await self._link.write_registers(self._unit, SET_POINT + self._offset, format_temperature(temperature))
        set_point = parse_temperature(await self._read_loop(SET_POINT, 2))
        if abs(set_point - temperature) > RESOLUTION:
            raise SettingError(f"set point: wrote {temperature:g} degC, reads back {set_point:g}; check the chamber")
        await self._set_word(CONTROL_MODE + self._offset, AUTOMATIC, "control mode")
        if self._event is not None:
            await self._set_word(self._event, ON, "event")

    async def stop(self) -> None:
        if self._event is not None:
            await self._set_word(self._event, OFF, "event")
        await self._set_word(CONTROL_MODE + self._offset, OFF, "control mode")

    async def _check_format(self) -> None:
        """Words and unit as at connect(): both can be changed at the controller's panel at any time."""
        check_hardware(await self._read(HARDWARE_ID, 2))
        await self._check_unit()

    async def _check_unit(self) -> None:
        if await self._read_word(UNIT) != CELSIUS:
            raise SettingError("it talks in degF; set the display units of Modbus to C on the controller")

    async def _is_running(self) -> bool:
        mode = (await self._read_loop(ACTIVE_MODE, 1))[0]
        if mode not in MODES:
            raise AnswerError(f"expected a control mode, one of {', '.join(map(str, MODES))}", mode)
        is_switched_on = self._event is None or await self._read_word(self._event) == ON
        return mode != OFF and is_switched_on

    async def _active_alarms(self) -> tuple[str, ...]:
        states = [await self._read_word(ALARM_STATE + ALARM_STRIDE * index) for index in range(self._alarms)]
        alarms = [
            f"alarm {number} {ALARM_NAMES.get(state, f'state {state}')}"
            for number, state in enumerate(states, 1)
            if state not in QUIET_ALARMS
        ]
        if await self._read_word(DEVICE_STATUS) == DEVICE_FAILS:
            alarms.append("device failure")
        return tuple(alarms)

    async def _read(self, address: int, count: int) -> list[int]:
        return await self._link.read_holding_registers(self._unit, address, count)

    async def _read_loop(self, address: int, count: int) -> list[int]:
        return await self._read(address + self._offset, count)

    async def _read_word(self, address: int) -> int:
        return (await self._read(address, 1))[0]

    async def _set_word(self, address: int, value: int, what: str) -> None:
        await self._link.write_register(self._unit, address, value)
        if (answer := await self._read_word(address)) != value:
            raise SettingError(f"{what}: wrote {value}, reads back {answer}; check the chamber")
