"""GW Instek GPT-9800 and GPT-9900 safety testers as insulation testers: the models that have the IR test.

Sources: GPT-9000 series user manual (`MEAS?` p. 116-118, `MANU:` commands p. 134 ff., interlock p. 106-108, `*IDN?`
p. 153) and public programs that run on real units, which record answers such as `IR ,PASS ,0.497kV,0015M ohm,T=001.0S`
and `GPT-9804 ,EM110867    ,v2.08,`, and that settings sent while a test runs are dropped. RS-232 8N1 or USB, lines end
with CR+LF. Real units differ in spaces and in a leading `>` or `<`, so these are not looked at.

A measurement says PASS or FAIL when it is over, TEST while it runs, VIEW when there is none; `T=` is the time of a
test, `R=` that of a ramp in which it broke off. The tester reads 1 Mohm to 9999 Mohm.

Assumed: 9999M is the end of the range and anything may lie above it; `FUNC:TEST OFF` returns to VIEW; an open interlock
shows in a test that does not begin.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass

from drivers.errors import AnswerError, ConfigError, DeviceError, IdentityError, InstrumentError, SettingError
from drivers.identity import check_identity
from drivers.links import TextLink
from drivers.numbers import parse_number
from drivers.roles import Identity, InsulationReading

LOWEST_VOLTAGE, HIGHEST_VOLTAGE, VOLTAGE_STEP = 50.0, 1000.0, 50.0
SHORTEST, LONGEST = 1.0, 999.9  # s
RAMP = 0.1  # s
MEGOHM = 1e6
END_OF_RANGE = 9999 * MEGOHM
STARTING = 0.3  # s until a test that was switched on shows
OVERSHOOT = 1.1  # of the voltage asked for, what a measurement may show

RUNNING, IDLE, OVER = "TEST", "VIEW", ("PASS", "FAIL")

_MODEL = re.compile(r"GPT-9[89]0[34]A?")
_RESISTANCE = re.compile(r"(>?) ?([0-9]{1,6}(?:\.[0-9]{1,4})?) ?([kMG]?) ?ohm")
_NO_RESISTANCE = re.compile(r"[-. ]*-[-. ]*[kMG]? ?ohm")
_READ_BACK = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?) ?(kV|[Ss]|M(?: ?ohm)?)")
_SCALES = {"": 1.0, "k": 1e3, "M": MEGOHM, "G": 1e9}


@dataclass(frozen=True, slots=True)
class Measurement:
    """An answer to MEAS?: V, ohm, or None where it shows none; in_ramp says that the test broke off in its ramp."""

    judgement: str
    voltage: float
    resistance: float | None
    at_least: bool
    in_ramp: bool


def parse_idn(answer: str) -> Identity:
    """Read `GPT-9804 ,EM110867    ,v2.08,`: no maker in it."""
    fields = [field.strip() for field in answer.split(",")]
    if len(fields) not in (3, 4) or any(fields[3:]) or not all(fields[:3]):
        raise AnswerError("expected model, serial, firmware from *IDN?", answer)
    return Identity("GW Instek", *fields[:3])


def parse_fields(answer: str) -> list[str]:
    """The five fields of an answer to MEAS?, of which the first must be IR."""
    fields = [field.strip() for field in answer.strip(" <>").split(",")]
    if len(fields) != 5 or fields[0] != "IR":
        raise AnswerError("expected five fields of an IR test from MEAS?", answer)
    return fields


def parse_measurement(answer: str) -> Measurement:
    """Read `>IR, PASS, 0.500kV, 999M ohm, T=005.0S`."""
    _, judgement, voltage, resistance, time = parse_fields(answer)
    ohm: float | None = None
    at_least = False
    if (match := _RESISTANCE.fullmatch(resistance)) is not None:
        ohm = parse_number(match[2]) * _SCALES[match[3]]
        at_least = bool(match[1]) or ohm >= END_OF_RANGE
    elif _NO_RESISTANCE.fullmatch(resistance) is None:
        raise AnswerError("expected a resistance from MEAS?", answer)
    if time[:2] not in ("T=", "R=") and judgement in OVER:
        raise AnswerError("expected the time of the test from MEAS?", answer)
    return Measurement(judgement, parse_number(voltage, "V"), ohm, at_least, time.startswith("R="))


def parse_test_state(answer: str) -> bool:
    """Read `TEST ON` or `TEST OFF`."""
    state = answer.strip().removeprefix("TEST").strip()
    if state not in ("ON", "OFF"):
        raise AnswerError("expected TEST ON or TEST OFF from FUNC:TEST?", answer)
    return state == "ON"


def parse_setting(answer: str) -> float:
    """Read `0.500kV`, `005.0 S` or `9999M`, in the unit it is written in."""
    match = _READ_BACK.fullmatch(answer.strip())
    if match is None:
        raise AnswerError("expected a setting with its unit", answer)
    return parse_number(match[1])


class GwInstekGpt9800:
    """Role InsulationTester."""

    def __init__(self, link: TextLink, model: str = "", serial: str = "", *, max_voltage: float) -> None:
        """max_voltage is the highest test voltage that the station's batteries stand, V."""
        if not LOWEST_VOLTAGE <= max_voltage <= HIGHEST_VOLTAGE:
            raise ConfigError(
                f"max_voltage_v must lie in {LOWEST_VOLTAGE:g} to {HIGHEST_VOLTAGE:g} V, not at {max_voltage:g} V"
            )
        self._link = link
        self._model, self._serial = model, serial
        self._max_voltage = max_voltage
        self._voltage: float | None = None  # of the test that was started

    @property
    def voltages(self) -> tuple[float, float]:
        return LOWEST_VOLTAGE, self._max_voltage

    async def connect(self) -> Identity:
        await self._link.open()
        identity = check_identity(await self.identify(), self._model, self._serial)
        await self._link.write("TEST:RET OFF")  # else it speaks by itself when a test ends
        await self._link.write("*CLS")
        return identity

    async def identify(self) -> Identity:
        identity = parse_idn(await self._link.query("*IDN?"))
        if _MODEL.fullmatch(identity.model) is None:
            raise IdentityError("model", "a GPT-9800 or GPT-9900 with IR test", identity.model)
        return identity

    async def close(self) -> None:
        await self._link.close()

    async def start(self, voltage: float, seconds: float) -> None:
        self._check(voltage, seconds)
        self._voltage = None
        await self.stop()  # it drops settings while a test runs
        await self._configure(voltage, seconds)
        before = parse_fields(await self._link.query("MEAS?"))[1]
        try:
            await self._link.write("FUNC:TEST ON")
            await self._link.pause(STARTING)
            judgement = parse_fields(await self._link.query("MEAS?"))[1]
            # a verdict that stood there before may be the one of an earlier test
            if judgement != RUNNING and not (before == IDLE and judgement in OVER):
                raise DeviceError(f"the test did not begin (it shows {judgement}); is the tester's interlock closed?")
        except InstrumentError:
            with contextlib.suppress(InstrumentError):  # the first error says more; the test ends by itself
                await self.stop()
            raise
        self._voltage = voltage

    async def result(self) -> InsulationReading | None:
        if self._voltage is None:
            raise DeviceError("no insulation test was started; start one first")
        if parse_test_state(await self._link.query("FUNC:TEST?")):
            return None
        asked, self._voltage = self._voltage, None
        measured = parse_measurement(await self._link.query("MEAS?"))
        if measured.judgement not in OVER:
            raise DeviceError(f"the test ended without a verdict ({measured.judgement}): stopped, or interlock open?")
        if measured.voltage > asked * OVERSHOOT:
            raise DeviceError(
                f"{measured.voltage:g} V were on, {asked:g} V were asked for; check the tester's settings"
            )
        if measured.in_ramp or measured.resistance is None:
            return InsulationReading(None, measured.voltage)
        if measured.at_least:
            return InsulationReading(min(measured.resistance, END_OF_RANGE), measured.voltage, at_least=True)
        return InsulationReading(measured.resistance, measured.voltage)

    async def stop(self) -> None:
        await self._link.write("FUNC:TEST OFF")
        if parse_test_state(await self._link.query("FUNC:TEST?")):
            raise DeviceError("the test voltage did not switch off; press STOP on the tester")
        self._voltage = None

    def _check(self, voltage: float, seconds: float) -> None:
        if not LOWEST_VOLTAGE <= voltage <= self._max_voltage or voltage % VOLTAGE_STEP:
            raise SettingError(
                f"a test voltage of {voltage:g} V is refused: {LOWEST_VOLTAGE:g} to {self._max_voltage:g} V "
                f"in steps of {VOLTAGE_STEP:g} V; correct the recipe"
            )
        if not SHORTEST <= seconds <= LONGEST:
            raise SettingError(f"a test of {seconds:g} s is refused: {SHORTEST:g} to {LONGEST:g} s; correct the recipe")

    async def _configure(self, voltage: float, seconds: float) -> None:
        await self._set_word("MAIN:FUNC", "MANU")
        await self._set_word("MANU:EDIT:MODE", "IR")
        await self._set("MANU:IR:VOLT", f"{voltage / 1000:.3f}")
        # its own verdict is not used: the widest limits, so that it never ends a test early
        await self._set("MANU:IR:RHIS", "9999")
        await self._set("MANU:IR:RLOS", "1")
        await self._set("MANU:IR:REF", "0")
        await self._set("MANU:IR:TTIM", f"{seconds:.1f}")
        await self._set("MANU:RTIM", f"{RAMP:.1f}")
        error = await self._link.query("SYST:ERR?")
        if error.partition(",")[0].strip() != "0":
            raise DeviceError(f"the tester refuses its settings: {error}")

    async def _set_word(self, command: str, word: str) -> None:
        await self._link.write(f"{command} {word}")
        answer = await self._link.query(f"{command}?")
        if answer.strip().partition(" ")[0] != word:
            raise SettingError(f"{command}: wrote {word}, reads back {answer!r}; check the tester")

    async def _set(self, command: str, value: str) -> None:
        await self._link.write(f"{command} {value}")
        answer = await self._link.query(f"{command}?")
        if abs(parse_setting(answer) - float(value)) > 1e-6:
            raise SettingError(f"{command}: wrote {value}, reads back {answer!r}; check the tester")
