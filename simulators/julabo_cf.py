"""Julabo CF circulators: a bath with a pump, asked and set by lines of text, alone or with an address on RS-485.

Source: the CF31 and CF40 manuals (remote control), the status messages of the maker's circulators, and PyPI's julabo
library with its simulator, as collected in the project's instrument notes. Commands end in CR, answers in CR+LF; an OUT
command has no answer, and is carried out in remote control only. On RS-485 a command and its answer begin with the
three-digit address, `A032_IN_SP_00`. The serial line is 4800 baud 7E1, which a serial server turns into TCP.

Choices where they are silent:
- the bath follows its set point as a chamber's air does, and nothing of the battery is in it;
- an OUT command that is not carried out has its reason told once, by the next STATUS; so does one that nobody knows,
  which gets no answer whatever it is;
- set points may be 0.01 apart and within the warning limits, those within -50..200 degC;
- the flow control of the line leaves an XOFF and an XON before the answer that follows an OUT command;
- control is of the internal bath, by fixed parameters: PID, programmer, pump stages and an external sensor are unknown
  commands here; commands may follow each other at any pace.
"""

from __future__ import annotations

import re
from typing import ClassVar

from simulators.air import Air
from simulators.faults import Faults, Texts, measured
from simulators.scpi import LineBuffer
from simulators.world import World

LOWEST_DEGC, HIGHEST_DEGC = -50.0, 200.0
SET_POINTS = 3
HIGH_WARNING, LOW_WARNING = 3, 4
MODELS = ("CF31", "CF30", "CF40", "CF41")
OTHER_VERSION = "JULABO HIGHTECH FL HL/SL VERSION 1.0"

LOW_LEVEL, WORKING_SENSOR = "-01 LOW LEVEL ALARM", "-05 WORKING SENSOR ALARM"
INVALID, NOT_ALLOWED = "-08 INVALID COMMAND", "-09 COMMAND NOT ALLOWED IN CURRENT OPERATING MODE"
TOO_SMALL, TOO_LARGE = "-10 VALUE TOO SMALL", "-11 VALUE TOO LARGE"
XON, XOFF = b"\x11", b"\x13"

_ADDRESSED = re.compile(r"A(\d{3})_(.*)", re.DOTALL)


class RefusalError(Exception):
    """Why a command is not carried out, as the next STATUS tells it."""


class JulaboCf:
    """The circulator, with its address on RS-485 or alone on its line."""

    FAULTS: ClassVar[Texts] = {
        **measured("stuck", "drift", "sign_flip", "range_clip"),
        "overrange": "999.99, as of a broken sensor, without its alarm.",
        "alarm": "Too little liquid: it stops.",
        "nan": "A broken sensor: it stops, and reads 999.99.",
        "protected": "A hand took it out of remote control.",
        "fahrenheit": "Somebody set its display to Fahrenheit.",
        "wrong_identity": "Another circulator.",
    }

    terminator = b"\r\n"
    idle_timeout_s = 0.0

    def __init__(self, world: World, address: int | None = None, model: str = MODELS[0]) -> None:
        self.world = world
        self.address = address
        self._model = model
        self._faults: Faults = frozenset()
        self._bath = Air(world.chamber_degc)
        self._as_of = world.now()
        self.running = False
        self.selected = 0
        # set points 1 to 3, then the high and the low warning limit
        self.levels = [25.0, 25.0, 25.0, 100.0, -20.0]
        self._refusal = ""
        self._held_up = False

    @property
    def faults(self) -> Faults:
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        if self._alarm and self.running:
            self._switch(False)

    @property
    def bath_degc(self) -> float:
        now = self.world.now()
        if now > self._as_of:
            self._bath.pass_time(now - self._as_of)
            self._as_of = now
        return self._bath.degc

    def status_byte(self) -> int:
        """A serial line has no serial poll."""
        return 0

    def face(self) -> JulaboFace:
        return JulaboFace(self)

    def line(self, line: bytes) -> bytes:
        """The answer to one line; b"" for a setting, what is not understood, and what is meant for others."""
        text = line.decode("ascii", "replace").strip().upper()
        addressed = _ADDRESSED.fullmatch(text)
        prefix = ""
        if self.address is not None:
            if addressed is None or int(addressed[1]) != self.address:
                return b""
            prefix, text = f"A{self.address:03d}_", addressed[2]
        try:
            answer = self._command(text)
        except RefusalError as refusal:
            self._refusal = str(refusal)
            return b""
        if answer is None:
            self._held_up = True
            return b""
        held_up, self._held_up = self._held_up, False
        return (XOFF + XON if held_up else b"") + f"{prefix}{answer}".encode("ascii") + self.terminator

    # --- commands ----------------------------------------------------------------------------------------------

    def _command(self, text: str) -> str | None:
        """Carry out one command; its answer, None for a setting. Raises RefusalError."""
        name, _, value = text.partition(" ")
        if name.startswith("OUT_"):
            self._set(name.removeprefix("OUT_"), value.strip())
            return None
        match name:
            case "VERSION":
                cryocompact = f"JULABO CRYOCOMPACT {self._model} VERSION 5.0"
                return OTHER_VERSION if "wrong_identity" in self._faults else cryocompact
            case "STATUS":
                return self._status()
            case "IN_PV_00":
                # a sensor that is broken reads the end of its range
                return self._shown(999.99 if "nan" in self._faults else self._sensed())
            case "IN_MODE_01":
                return str(self.selected)
            case "IN_MODE_05":
                return str(int(self.running))
            case "IN_SP_00" | "IN_SP_01" | "IN_SP_02" | "IN_SP_03" | "IN_SP_04":
                return self._shown(self.levels[int(name[-1])])
        raise RefusalError(INVALID)

    def _status(self) -> str:
        refusal, self._refusal = self._refusal, ""
        number = 2 * ("protected" not in self._faults) + self.running
        words = f"0{number} {'MANUAL' if number < 2 else 'REMOTE'} {'START' if self.running else 'STOP'}"
        return self._alarm or refusal or words

    def _set(self, name: str, text: str) -> None:
        names = ("MODE_01", "MODE_05", *(f"SP_0{number}" for number in range(len(self.levels))))
        if name not in names:
            raise RefusalError(INVALID)
        if "protected" in self._faults or (name == "MODE_05" and self._alarm):
            raise RefusalError(NOT_ALLOWED)
        try:
            value = float(text)
        except ValueError:
            raise RefusalError(INVALID) from None
        match name:
            case "MODE_01":
                self.selected = round(_within(value, 0, SET_POINTS - 1))
            case "MODE_05":
                self._switch(_within(value, 0, 1) == 1)
            case _:
                self._set_level(int(name[-1]), self._meant(round(value, 2)))
        self._follow()

    def _set_level(self, number: int, degc: float) -> None:
        low, high = self.levels[LOW_WARNING], self.levels[HIGH_WARNING]
        match number:
            case 3:
                low, high = max(self.levels[:SET_POINTS]), HIGHEST_DEGC
            case 4:
                low, high = LOWEST_DEGC, min(self.levels[:SET_POINTS])
        self.levels[number] = _within(degc, low, high)

    def _switch(self, on: bool) -> None:
        self.running = on
        self._follow()

    def _follow(self) -> None:
        """Let the bath have got where it is before it is sent elsewhere."""
        self._bath.degc = self.bath_degc
        self._bath.set_point = self.levels[self.selected] if self.running else None

    # --- values ------------------------------------------------------------------------------------------------

    @property
    def _alarm(self) -> str:
        return LOW_LEVEL if "alarm" in self._faults else WORKING_SENSOR if "nan" in self._faults else ""

    def _sensed(self) -> float:
        return min(max(self.world.measured_degc(self.bath_degc), -999.99), 999.99)

    def _shown(self, degc: float) -> str:
        return f"{1.8 * degc + 32 if 'fahrenheit' in self._faults else degc:.2f}"

    def _meant(self, shown: float) -> float:
        return (shown - 32) / 1.8 if "fahrenheit" in self._faults else shown


def _within(value: float, low: float, high: float) -> float:
    """Raises RefusalError for a value out of range; what is not a number is too large."""
    if value < low:
        raise RefusalError(TOO_SMALL)
    if not value <= high:
        raise RefusalError(TOO_LARGE)
    return value


class JulaboFace:
    """One connection to the line."""

    def __init__(self, circulator: JulaboCf) -> None:
        self._circulator = circulator
        self._lines = LineBuffer(b"\r")

    def receive(self, data: bytes) -> bytes:
        return b"".join(self._circulator.line(line) for line in self._lines.feed(data))
