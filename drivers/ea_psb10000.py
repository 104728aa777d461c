"""EA Elektro-Automatik PSB 10000: bidirectional DC supply as a cycler, by SCPI.

Source: "Programming guide ModBus & SCPI for 10000 and 20000 series" (35400100) and the SCPI tables in it. Lines end
with LF. The instrument closes a TCP connection after 5 s of silence and the link opens a new one; remote control may be
gone by then, so it is checked before anything is driven.
"""

from __future__ import annotations

from drivers.ea import (
    PROTECTION_HEADROOM,
    REMOTE_LOST,
    SETTING_HEADROOM,
    check_range,
    compare,
    is_close,
    watchdog_seconds,
)
from drivers.errors import AnswerError, DeviceError, IdentityError, SettingError
from drivers.identity import check_identity, parse_idn
from drivers.links import TextLink
from drivers.numbers import parse_integer, parse_number, parse_quantity
from drivers.roles import CyclerRatings, CyclerReading, Identity, Protection, Regulation
from drivers.scpi import parse_error

ERROR_QUEUE_DEPTH = 5

# STATus:QUEStionable bits
ALARMS = {0: "OVP", 1: "OCP", 2: "OPP", 3: "OT", 4: "OVD", 5: "UVD", 6: "OCD", 7: "UCD", 8: "OPD", 13: "PF", 14: "MSP"}
REMOTE_BIT, OUTPUT_BIT = 10, 11
# STATus:OPERation bits
CTO_BIT = 7
REGULATIONS = {8: Regulation.VOLTAGE, 9: Regulation.CURRENT, 10: Regulation.POWER, 11: Regulation.RESISTANCE}

READ = ("MEAS:ARR?", "STAT:QUES:COND?", "STAT:OPER:COND?")


def format_setting(value: float) -> str:
    """A set value in plain decimals, a tenth of the finest resolution of the family."""
    return f"{value:.4f}".rstrip("0").rstrip(".")


def parse_measurement(answer: str) -> tuple[float, float, float]:
    """Read `12.5V, 33.3A, 420W`: V, A, W; negative current and power flow into the instrument."""
    fields = answer.split(",")
    if len(fields) != 3:
        raise AnswerError("expected voltage, current, power from MEAS:ARR?", answer)
    voltage, current, power = (parse_number(field, unit) for field, unit in zip(fields, "VAW", strict=True))
    return voltage, current, power


def parse_switch(answer: str) -> bool:
    """Read `ON` or `OFF`."""
    if answer not in ("ON", "OFF"):
        raise AnswerError("expected ON or OFF", answer)
    return answer == "ON"


def alarm_names(questionable: int, operation: int) -> tuple[str, ...]:
    """Names of the alarms set in the two condition registers."""
    names = [name for bit, name in ALARMS.items() if questionable >> bit & 1]
    return (*names, "CTO") if operation >> CTO_BIT & 1 else tuple(names)


def regulation(output_on: bool, operation: int) -> Regulation:
    """What the output regulates, by the operation condition register."""
    active = [mode for bit, mode in REGULATIONS.items() if operation >> bit & 1]
    if not output_on:
        return Regulation.OFF
    if len(active) != 1:
        raise AnswerError(f"expected one regulation mode from STAT:OPER:COND?, found {len(active)}", operation)
    return active[0]


class EaPsb10000:
    """Role Cycler."""

    def __init__(self, link: TextLink, model: str = "", serial: str = "") -> None:
        """model and serial are what *IDN? must answer; empty means not checked."""
        self._link = link
        self._model, self._serial = model, serial
        self._ratings: CyclerRatings | None = None
        self._is_armed = False
        self._unread_alarms: tuple[str, ...] = ()

    @property
    def ratings(self) -> CyclerRatings:
        if self._ratings is None:
            raise DeviceError("ratings are unknown before connect()")
        return self._ratings

    async def connect(self) -> Identity:
        await self._link.open()
        identity = check_identity(await self.identify(), self._model, self._serial)
        answers = await self._link.query_many(["SYST:NOM:VOLT?", "SYST:NOM:CURR?", "SYST:NOM:POW?"])
        voltage, current, power = (parse_number(answer, unit) for answer, unit in zip(answers, "VAW", strict=True))
        if min(voltage, current, power) <= 0:
            raise AnswerError("expected nominal values above zero", answers)
        self._ratings = CyclerRatings(voltage, current, power)
        return identity

    async def identify(self) -> Identity:
        identity = parse_idn(await self._link.query("*IDN?"))
        if not identity.manufacturer.startswith("EA Elektro-Automatik") or not identity.model.startswith("PSB "):
            raise IdentityError("model", "EA Elektro-Automatik PSB", f"{identity.manufacturer} {identity.model}")
        return identity

    async def close(self) -> None:
        await self._link.close()

    async def arm(self, protection: Protection, watchdog: float) -> None:
        seconds = watchdog_seconds(watchdog)
        nominal = self.ratings
        await self._link.write("SYST:LOCK ON")
        await self._check_owner("REMOTE")
        await self._errors()  # what happened in earlier sessions is not ours to raise; read() shows what persists
        self._unread_alarms = ()
        self._is_armed = True
        power = protection.power
        await self._set("VOLT:PROT", protection.voltage, "V", nominal.voltage, PROTECTION_HEADROOM)
        await self._set("CURR:PROT", protection.charge_current, "A", nominal.current, PROTECTION_HEADROOM)
        await self._set("SINK:CURR:PROT", protection.discharge_current, "A", nominal.current, PROTECTION_HEADROOM)
        await self._set("POW:PROT", power, "W", nominal.power, PROTECTION_HEADROOM)
        await self._set("SINK:POW:PROT", power, "W", nominal.power, PROTECTION_HEADROOM)
        # Power is bounded by the protections; a lower power goal would only distort CC and CV.
        await self._set("POW", nominal.power, "W", nominal.power)
        await self._set("SINK:POW", nominal.power, "W", nominal.power)
        await self._link.write(f"SYST:COMM:MON:TIM {seconds}")
        compare("SYST:COMM:MON:TIM", seconds, parse_integer(await self._link.query("SYST:COMM:MON:TIM?")))
        await self._switch_watchdog(True)
        await self._check_errors()

    async def read(self) -> CyclerReading:
        measured, questionable_text, operation_text = await self._link.query_many(READ)
        questionable, operation = parse_integer(questionable_text), parse_integer(operation_text)
        voltage, current, power = parse_measurement(measured)
        output_on = bool(questionable >> OUTPUT_BIT & 1)
        alarms = alarm_names(questionable, operation)
        if self._is_armed and not questionable >> REMOTE_BIT & 1:
            alarms = (*alarms, REMOTE_LOST)
        unread, self._unread_alarms = self._unread_alarms, ()
        alarms = (*alarms, *(name for name in unread if name not in alarms))
        return CyclerReading(voltage, current, power, output_on, regulation(output_on, operation), alarms)

    async def drive(self, current: float, voltage: float) -> None:
        nominal = self.ratings
        check_range("current", abs(current), "A", nominal.current, SETTING_HEADROOM)
        check_range("VOLT", voltage, "V", nominal.voltage, SETTING_HEADROOM)
        await self._check_remote()
        active = "CURR" if current > 0 else "SINK:CURR"
        # the idle direction first: at no moment may both directions be open
        for command in ("CURR", "SINK:CURR"):
            if current == 0 or command != active:
                await self._set(command, 0.0, "A", nominal.current)
        await self._set("VOLT", voltage, "V", nominal.voltage)
        if current:
            await self._set(active, abs(current), "A", nominal.current)
        await self._check_errors()

    async def output(self, on: bool) -> None:
        if on:
            await self._check_remote()
        else:
            # after a lost remote control the instrument would refuse to be switched off by us
            await self._link.write("SYST:LOCK ON")
        await self._link.write(f"OUTP {_word(on)}")
        if on:
            await self._check_errors()
        if parse_switch(await self._link.query("OUTP?")) != on:
            await self._check_errors()
            raise SettingError(f"the output did not switch {_word(on)}; check the instrument's alarms")

    async def release(self) -> None:
        if parse_switch(await self._link.query("OUTP?")):
            raise SettingError("the output is still on; switch it off before giving up remote control")
        await self._switch_watchdog(False)
        self._is_armed = False
        await self._link.write("SYST:LOCK OFF")
        await self._check_owner("NONE")

    async def _set(
        self, command: str, value: float, unit: str, nominal: float, headroom: float = SETTING_HEADROOM
    ) -> None:
        """Write a setting and compare what reads back, to a digit of the answer or a step of the instrument."""
        check_range(command, value, unit, nominal, headroom)
        await self._link.write(f"{command} {format_setting(value)}")
        answer = parse_quantity(await self._link.query(f"{command}?"), unit)
        if not is_close(answer.value, value, nominal, answer.resolution):
            await self._check_errors()  # the instrument's own reason says more
            compare(command, f"{value:g} {unit}", f"{answer.value:g} {unit}")

    async def _switch_watchdog(self, on: bool) -> None:
        await self._link.write(f"SYST:COMM:MON:ACT {_word(on)}")
        compare("SYST:COMM:MON:ACT", on, parse_switch(await self._link.query("SYST:COMM:MON:ACT?")))

    async def _check_owner(self, expected: str) -> None:
        owner = await self._link.query("SYST:LOCK:OWN?")
        if owner != expected:
            raise DeviceError(f"remote control is with {owner!r} instead of {expected!r}; check the front panel")

    async def _check_remote(self) -> None:
        """Between two requests the connection may have gone, the watchdog tripped, and the link opened a new one."""
        if self._is_armed and (owner := await self._link.query("SYST:LOCK:OWN?")) != "REMOTE":
            raise DeviceError(f"remote control was lost (owner {owner!r}); find out why, then arm again")

    async def _check_errors(self) -> None:
        """Raise what the error queue holds."""
        if errors := await self._errors():
            raise DeviceError("; ".join(f"{code} {text}" for code, text in errors))

    async def _errors(self) -> list[tuple[int, str]]:
        """Empty the error queue. Reading it acknowledges alarms, so they are kept for the next read() first."""
        errors: list[tuple[int, str]] = []
        while len(errors) < ERROR_QUEUE_DEPTH:
            questionable, operation, answer = await self._link.query_many(
                ["STAT:QUES:COND?", "STAT:OPER:COND?", "SYST:ERR?"]
            )
            alarms = alarm_names(parse_integer(questionable), parse_integer(operation))
            self._unread_alarms += tuple(name for name in alarms if name not in self._unread_alarms)
            code, text = parse_error(answer)
            if code == 0:
                break
            errors.append((code, text))
        return errors


def _word(on: bool) -> str:
    return "ON" if on else "OFF"
