"""ESPEC chambers with the P-300 controller: ASCII lines, one chamber on RS-232 or several on one RS-485 bus.

Source: the commands and refusals in the maker's own ChamberConnectLibrary, as collected in the project's instrument
notes. Lines end in CR+LF both ways; on RS-485 a command starts with the chamber's address, `1,TEMP?`, its answer does
not. A setting is answered by `OK:` and its echo, a refusal by `NA:` and its reason. Temperatures are in degC.

Choices where the library is silent:
- a temperature chamber: no humidity; no programs are stored, and time signals, refrigeration settings, service
  requests, clock and network are not simulated: their commands are unknown here;
- it stands by after power-on; POWER,ON leads from OFF to STANDBY, and MODE leads from any mode to any other;
- a set point must lie within the high and low limits, those within -70..170 degC;
- an alarm stops the chamber, which stands by and refuses to run until the alarm is gone;
- nobody answers for an address that is not there, or when it is missing on a bus;
- commands may follow each other at any pace.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from simulators.faults import Faults, Texts, measured
from simulators.scpi import LineBuffer
from simulators.world import World

LOWEST_DEGC, HIGHEST_DEGC = -70.0, 170.0
# where its display ends
SHOWN_DEGC = 999.9
REFRIGERATION_ALARM = 8

OFF, STANDBY, CONSTANT = "OFF", "STANDBY", "CONSTANT"

# how settings and queries are refused that another controller, or a chamber with programs, would carry out
REFUSED_QUERIES = {
    "HUMI": "CONT NOT READY-1",
    "PRGM MON": "CONT NOT READY-2",
    "PRGM SET": "CONT NOT READY-2",
}
REFUSED_SETTINGS = {
    "HUMI": "CONT NOT READY-1",
    "PRGM": "CONT NOT READY-2",
}

_TEMPERATURE = re.compile(r"([SHL])(\S+)")
_PROGRAM_RUN = re.compile(r"RUN\s*\d*(,.*)?")


class RefusalError(Exception):
    """Why a command is not carried out; the message is what follows `NA:`."""


class P300:
    """One chamber around the battery of `world`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._faults: Faults = frozenset()
        self.mode = STANDBY
        self.set_point = 23.0
        self.high_limit, self.low_limit = 100.0, -40.0

    @property
    def faults(self) -> Faults:
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        if "alarm" in faults - self._faults and self.mode == CONSTANT:
            self._switch(STANDBY)
        self._faults = faults

    @property
    def alarms(self) -> list[int]:
        return [REFRIGERATION_ALARM] if "alarm" in self._faults else []

    def command(self, text: str) -> str:
        """Carry out one command without address and line end; its answer."""
        head, query, option = text.partition("?")
        try:
            if query:
                return self._answer(head.strip().upper(), option.strip(" ,").upper())
            name, _, argument = text.partition(",")
            self._set(name.strip().upper(), argument.strip().upper())
        except RefusalError as refusal:
            return f"NA:{refusal}"
        return f"OK:{text}"

    # --- queries -----------------------------------------------------------------------------------------------

    def _answer(self, name: str, option: str) -> str:
        if name in REFUSED_QUERIES:
            raise RefusalError(REFUSED_QUERIES[name])
        if option not in ("", "DETAIL"):
            raise RefusalError("PARA ERR")
        air = min(max(self.world.chamber_degc, -SHOWN_DEGC), SHOWN_DEGC)
        match name:
            case "ROM":
                return "P300 1.00"
            case "TYPE":
                return f"T,{'SCP220' if 'wrong_identity' in self._faults else 'P300'},{HIGHEST_DEGC}"
            case "MODE":
                return self.mode
            case "MON":
                return f"{air:.1f},,{self.mode},{len(self.alarms)}"
            case "TEMP":
                return f"{air:.1f},{self.set_point:.1f},{self.high_limit:.1f},{self.low_limit:.1f}"
            case "ALARM":
                return ",".join(map(str, [len(self.alarms), *self.alarms]))
        raise RefusalError("CMD ERR")

    # --- settings ----------------------------------------------------------------------------------------------

    def _set(self, name: str, argument: str) -> None:
        settings = {"TEMP": self._set_temperature, "MODE": self._set_mode, "POWER": self._set_power}
        if name not in settings and name not in REFUSED_SETTINGS:
            raise RefusalError("CMD ERR")
        if "protected" in self._faults:
            raise RefusalError("PROTECT ON")
        if name == "PRGM" and _PROGRAM_RUN.fullmatch(argument):
            raise RefusalError("DATA NOT READY")
        if name in REFUSED_SETTINGS:
            raise RefusalError(REFUSED_SETTINGS[name])
        settings[name](argument)

    def _set_temperature(self, argument: str) -> None:
        """`S25.0 H100.0 L-40.0`, any of them, all or nothing."""
        levels = {"S": self.set_point, "H": self.high_limit, "L": self.low_limit}
        for word in argument.split() or [""]:
            match = _TEMPERATURE.fullmatch(word)
            if match is None:
                raise RefusalError("PARA ERR")
            try:
                levels[match[1]] = round(float(match[2]), 1)
            except ValueError:
                raise RefusalError("PARA ERR") from None
        if not LOWEST_DEGC <= levels["L"] <= levels["S"] <= levels["H"] <= HIGHEST_DEGC:
            raise RefusalError("DATA OUT OF RANGE")
        self.set_point, self.high_limit, self.low_limit = levels["S"], levels["H"], levels["L"]
        if self.mode == CONSTANT:
            self.world.set_chamber(self.set_point)

    def _set_mode(self, argument: str) -> None:
        if _PROGRAM_RUN.fullmatch(argument):
            raise RefusalError("DATA NOT READY")
        if argument not in (OFF, STANDBY, CONSTANT):
            raise RefusalError("PARA ERR")
        if argument == CONSTANT and self.alarms:
            raise RefusalError("CHB NOT READY")
        self._switch(argument)

    def _set_power(self, argument: str) -> None:
        if argument not in ("ON", "OFF"):
            raise RefusalError("PARA ERR")
        if argument == "OFF":
            self._switch(OFF)
        elif self.mode == OFF:
            self._switch(STANDBY)

    def _switch(self, mode: str) -> None:
        self.mode = mode
        self.world.set_chamber(self.set_point if mode == CONSTANT else None)


class P300Bus:
    """The chambers on one line by their addresses; one at address None is alone on it, without addresses."""

    FAULTS: ClassVar[Texts] = {
        **measured("stuck", "drift", "sign_flip", "range_clip", "overrange"),
        "alarm": "A refrigeration failure: the chamber stands by.",
        "protected": "The panel forbids settings: `NA:PROTECT ON`.",
        "wrong_identity": "Another controller.",
    }

    terminator = b"\r\n"
    idle_timeout_s = 0.0

    def __init__(self, chambers: Mapping[int | None, P300]) -> None:
        self.chambers = chambers
        self._faults: Faults = frozenset()

    @property
    def faults(self) -> Faults:
        """Of every chamber on the line."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        for chamber in self.chambers.values():
            chamber.faults = faults

    def power_off(self) -> None:
        for chamber in self.chambers.values():
            chamber.world.set_chamber(None)

    def status_byte(self) -> int:
        """A serial line has no serial poll."""
        return 0

    def face(self) -> P300Face:
        return P300Face(self)

    def line(self, line: bytes) -> bytes:
        """The answer to one line; b"" when nobody is addressed."""
        text = line.decode("ascii", "replace").strip()
        head, comma, rest = text.partition(",")
        addressed = bool(comma) and head.isascii() and head.isdigit()
        alone = self.chambers.get(None)
        if alone is not None:
            answer = "NA:ADDR ERR" if addressed else alone.command(text)
        elif addressed and len(head) < 4 and int(head) in self.chambers:
            answer = self.chambers[int(head)].command(rest.strip())
        else:
            return b""
        return answer.encode("ascii", "replace") + self.terminator


class P300Face:
    """One connection to the line."""

    def __init__(self, bus: P300Bus) -> None:
        self._bus = bus
        self._lines = LineBuffer(b"\r\n")

    def receive(self, data: bytes) -> bytes:
        return b"".join(self._bus.line(line) for line in self._lines.feed(data))
