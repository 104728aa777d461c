"""EA Elektro-Automatik BT 20000: battery tester as a cycler, by Modbus TCP.

Source: "Programming guide ModBus & SCPI for 10000 and 20000 series" (35400100) and the register list
"ModBus_Register_BT20000_KE2.1.1+" (16.10.2025), whose register numbers these are. Settings and actual values are shares
of nominal in 16 bits, the goals of the battery mode are floats in A and V, high word first. Three readings of ours:

- Actual values carry no sign: bit 12 of the device state gives it (the list; the guide's bit 31 is an alarm's cause).
- Remote control is ours when the control location, bits 0 to 4 of the state, is Ethernet. Bit 11 should say so too, but
  the guide's own example of a device in remote control does not set it.
- A positive current of the battery mode charges. The list says no more than that its sign is the direction.

The instrument closes a TCP connection after 5 s of silence and the link opens a new one; remote control may be gone by
then, so it is checked before anything is driven.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from drivers import words
from drivers.ea import (
    PROTECTION_HEADROOM,
    REMOTE_LOST,
    SETTING_HEADROOM,
    check_range,
    compare,
    from_percent,
    is_close,
    to_percent,
    watchdog_seconds,
)
from drivers.errors import AnswerError, ConfigError, DeviceError, IdentityError, RefusedError, SettingError
from drivers.identity import check_identity
from drivers.links import RegisterLink
from drivers.roles import CyclerRatings, CyclerReading, Identity, Protection, Regulation

# registers that are read: texts of 20 registers, floats and device states of 2
TYPE, MANUFACTURER, SERIAL, FIRMWARE, TEXT = 1, 21, 151, 191, 20
NOMINAL_VOLTAGE, NOMINAL_CURRENT, NOMINAL_POWER = 121, 123, 125
STATE, ACTUAL, STATE_2 = 505, 507, 511
# coils
REMOTE, OUTPUT, ACKNOWLEDGE, BATTERY_TESTER = 402, 405, 411, 431
# settings: shares of nominal, then floats, then plain numbers
SINK_POWER, SOURCE_POWER = 498, 502
OVP, SOURCE_OCP, SOURCE_OPP, SINK_OCP, SINK_OPP = 550, 553, 556, 569, 570
CURRENT, CHARGE_VOLTAGE, DISCHARGE_VOLTAGE = 490, 492, 494
WATCHDOG_TIMEOUT, WATCHDOG_ON = 10800, 10801

LOCATION_BITS, OUTPUT_BIT, REGULATION_BIT, SINK_BIT, ANY_ALARM_BIT = 0x1F, 7, 9, 12, 15
REGULATIONS = (Regulation.VOLTAGE, Regulation.RESISTANCE, Regulation.CURRENT, Regulation.POWER)
AFTER_TIMEOUT = 0x1C
ETHERNET = (0x06, 0x14)
LOCATIONS = {
    0x00: "nobody",
    0x01: "the front panel",
    0x03: "USB",
    0x06: "Ethernet",
    0x08: "the master unit",
    0x14: "Ethernet",
    0x19: "CAN",
    0x1A: "EtherCAT",
    AFTER_TIMEOUT: "nobody, after a communication timeout",
}
ALARMS = {
    16: "OVP",
    17: "OCP",
    18: "OPP",
    19: "OT",
    21: "PF",
    24: "UVD",
    25: "OVD",
    26: "UCD",
    27: "OCD",
    28: "OPD",
    29: "MSP",
}
# States that only tell how the instrument works (derating, ride-through, precharge, lines detected) are no alarms.
ALARMS_2 = {
    1: "SF",
    7: "NEGATIVE VOLTAGE",
    8: "NEGATIVE SENSE",
    9: "NEGATIVE SENSE2",
    10: "ETP",
    11: "COP",
    12: "POLARITY",
    15: "FAST STOP",
    17: "AH CHARGE",
    18: "AH DISCHARGE",
}
# Modbus exceptions as EA means them
EXCEPTIONS = {
    0x04: "execution failed",
    0x05: "CRC wrong",
    0x07: "access denied: not in remote control, or another interface has it",
    0x17: "the device is in Local: somebody holds it at the front panel",
}
SWITCHING_READS = 10  # of the state until the output must have followed; each takes the instrument up to 5 ms


def alarm_names(state: int, state_2: int) -> tuple[str, ...]:
    """Names of the alarms set in the two device states."""
    names = [name for bit, name in ALARMS.items() if state >> bit & 1]
    names += [name for bit, name in ALARMS_2.items() if state_2 >> bit & 1]
    if state & LOCATION_BITS == AFTER_TIMEOUT:
        names.append("CTO")
    if not names and state >> ANY_ALARM_BIT & 1:
        names.append("ALARM")
    return tuple(names)


def is_remote(state: int) -> bool:
    """Whether this connection's interface has remote control."""
    return state & LOCATION_BITS in ETHERNET


def is_output_on(state: int) -> bool:
    return bool(state >> OUTPUT_BIT & 1)


def owner(state: int) -> str:
    """Who has remote control, in words."""
    location = state & LOCATION_BITS
    return LOCATIONS.get(location, f"interface {location:#04x}")


def regulation(state: int) -> Regulation:
    """What the output regulates."""
    return REGULATIONS[state >> REGULATION_BIT & 0b11] if is_output_on(state) else Regulation.OFF


@contextmanager
def _vendor_words(register: int) -> Iterator[None]:
    """An exception answer in the words of this instrument's maker, where they differ from the standard's."""
    try:
        yield
    except RefusedError as error:
        if (reason := EXCEPTIONS.get(error.exception_code)) is None:
            raise
        code = f"{error.exception_code:#04x}"
        raise DeviceError(f"register {register} refused with Modbus exception {code}: {reason}") from error


class EaBt20000:
    """Role Cycler."""

    def __init__(self, link: RegisterLink, model: str = "", serial: str = "", *, unit: int = 0) -> None:
        """model and serial are what it must answer; unit is the Modbus unit id: 0, or 1 to 3 for one of a Triple."""
        if not 0 <= unit <= 255:
            raise ConfigError(f"unit must be 0..255, not {unit}")
        self._link = link
        self._model, self._serial = model, serial
        self._unit = unit
        self._ratings: CyclerRatings | None = None
        self._is_armed = False

    @property
    def ratings(self) -> CyclerRatings:
        if self._ratings is None:
            raise DeviceError("ratings are unknown before connect()")
        return self._ratings

    async def connect(self) -> Identity:
        await self._link.open()
        identity = check_identity(await self.identify(), self._model, self._serial)
        nominal = [await self._number(register) for register in (NOMINAL_VOLTAGE, NOMINAL_CURRENT, NOMINAL_POWER)]
        if min(nominal) <= 0:
            raise AnswerError("expected nominal values above zero", nominal)
        self._ratings = CyclerRatings(*nominal)
        return identity

    async def identify(self) -> Identity:
        device_type = await self._text(TYPE, "device type")
        if not device_type.startswith("BT "):
            raise IdentityError("model", "EA Elektro-Automatik BT", device_type)
        manufacturer, serial = await self._text(MANUFACTURER, "manufacturer"), await self._text(SERIAL, "serial number")
        return Identity(manufacturer, device_type, serial, await self._text(FIRMWARE, "firmware version"))

    async def close(self) -> None:
        await self._link.close()

    async def arm(self, protection: Protection, watchdog: float) -> None:
        seconds = watchdog_seconds(watchdog)
        nominal = self.ratings
        await self._write_coil(REMOTE, True)
        state = await self._state()
        if not is_remote(state):
            raise DeviceError(f"remote control is with {owner(state)} instead of us; check the front panel")
        # what happened in earlier sessions is not ours to raise; read() shows what persists
        await self._write_coil(ACKNOWLEDGE, True)
        self._is_armed = True
        await self._switch("main mode battery tester", BATTERY_TESTER, True)
        await self._set_share("OVP", OVP, protection.voltage, "V", nominal.voltage, PROTECTION_HEADROOM)
        current = nominal.current
        await self._set_share("source OCP", SOURCE_OCP, protection.charge_current, "A", current, PROTECTION_HEADROOM)
        await self._set_share("sink OCP", SINK_OCP, protection.discharge_current, "A", current, PROTECTION_HEADROOM)
        await self._set_share("source OPP", SOURCE_OPP, protection.power, "W", nominal.power, PROTECTION_HEADROOM)
        await self._set_share("sink OPP", SINK_OPP, protection.power, "W", nominal.power, PROTECTION_HEADROOM)
        # Power is bounded by the protections; a lower power goal would only distort CC and CV.
        await self._set_share("source power", SOURCE_POWER, nominal.power, "W", nominal.power, SETTING_HEADROOM)
        await self._set_share("sink power", SINK_POWER, nominal.power, "W", nominal.power, SETTING_HEADROOM)
        await self._set_word("watchdog timeout", WATCHDOG_TIMEOUT, seconds)
        await self._set_word("watchdog", WATCHDOG_ON, 1)

    async def read(self) -> CyclerReading:
        state, actual = await self._state(), await self._registers(ACTUAL, 3)
        before, state = state, await self._state()
        if (before ^ state) >> SINK_BIT & 1:  # the current turned round meanwhile: which of the two had it?
            actual, state = await self._registers(ACTUAL, 3), await self._state()
        alarms = alarm_names(state, words.integer(await self._registers(STATE_2, 2)))
        if self._is_armed and not is_remote(state):
            alarms = (*alarms, REMOTE_LOST)
        nominal = self.ratings
        sign = -1 if state >> SINK_BIT & 1 else 1
        return CyclerReading(
            voltage=from_percent(actual[0], nominal.voltage),
            current=sign * from_percent(actual[1], nominal.current),
            power=sign * from_percent(actual[2], nominal.power),
            output_on=is_output_on(state),
            regulation=regulation(state),
            alarms=alarms,
        )

    async def drive(self, current: float, voltage: float) -> None:
        nominal = self.ratings
        check_range("current", abs(current), "A", nominal.current, 1.0)
        check_range("voltage", voltage, "V", nominal.voltage, 1.0)
        await self._check_remote()
        # The bound first: it means nothing until the current flows its way. Without a current there is none to set.
        if current > 0:
            await self._set_number("charge voltage", CHARGE_VOLTAGE, voltage, "V", nominal.voltage)
        elif current < 0:
            await self._set_number("discharge voltage", DISCHARGE_VOLTAGE, voltage, "V", nominal.voltage)
        await self._set_number("current", CURRENT, current, "A", nominal.current)

    async def output(self, on: bool) -> None:
        if on:
            await self._check_remote()
            await self._write_coil(OUTPUT, True)
        else:
            try:
                # after a lost remote control the instrument would refuse to be switched off by us
                await self._write_coil(REMOTE, True)
                await self._write_coil(OUTPUT, False)
            except DeviceError:
                if is_output_on(await self._state()):
                    raise
        for _ in range(SWITCHING_READS):
            state = await self._state()
            if is_output_on(state) == on:
                return
        alarms = alarm_names(state, words.integer(await self._registers(STATE_2, 2)))
        raise SettingError(f"the output did not switch {'ON' if on else 'OFF'}; alarms: {', '.join(alarms) or 'none'}")

    async def release(self) -> None:
        if is_output_on(await self._state()):
            raise SettingError("the output is still on; switch it off before giving up remote control")
        await self._set_word("watchdog", WATCHDOG_ON, 0)
        self._is_armed = False
        await self._write_coil(REMOTE, False)
        state = await self._state()
        if is_remote(state):
            raise DeviceError(f"remote control is still with {owner(state)}; check the front panel")

    async def _check_remote(self) -> None:
        """Between two requests the connection may have gone, the watchdog tripped, and the link opened a new one."""
        if self._is_armed and not is_remote(state := await self._state()):
            raise DeviceError(f"remote control was lost, it is with {owner(state)}; find out why, then arm again")

    async def _set_share(
        self, name: str, register: int, value: float, unit: str, nominal: float, headroom: float
    ) -> None:
        """Write a setting as a share of nominal and compare what reads back, to a step of the scale."""
        check_range(name, value, unit, nominal, headroom)
        with _vendor_words(register):
            await self._link.write_register(self._unit, register, to_percent(value, nominal))
        (answer,) = await self._registers(register, 1)
        if abs(answer - to_percent(value, nominal)) > 1:
            compare(name, f"{value:g} {unit}", f"{from_percent(answer, nominal):g} {unit}")

    async def _set_number(self, name: str, register: int, value: float, unit: str, nominal: float) -> None:
        """Write a float and compare what reads back, to a step of the percent scale."""
        with _vendor_words(register):
            await self._link.write_registers(self._unit, register, words.from_number(value))
        answer = await self._number(register)
        if not is_close(answer, value, nominal):
            compare(name, f"{value:g} {unit}", f"{answer:g} {unit}")

    async def _set_word(self, name: str, register: int, value: int) -> None:
        with _vendor_words(register):
            await self._link.write_register(self._unit, register, value)
        compare(name, value, (await self._registers(register, 1))[0])

    async def _switch(self, name: str, coil: int, on: bool) -> None:
        await self._write_coil(coil, on)
        with _vendor_words(coil):
            (answer,) = await self._link.read_coils(self._unit, coil, 1)
        compare(name, on, answer)

    async def _write_coil(self, coil: int, on: bool) -> None:
        with _vendor_words(coil):
            await self._link.write_coil(self._unit, coil, on)

    async def _state(self) -> int:
        return words.integer(await self._registers(STATE, 2))

    async def _number(self, register: int) -> float:
        return words.number(await self._registers(register, 2))

    async def _text(self, register: int, what: str) -> str:
        return words.text(await self._registers(register, TEXT), what)

    async def _registers(self, register: int, count: int) -> list[int]:
        with _vendor_words(register):
            return await self._link.read_holding_registers(self._unit, register, count)
