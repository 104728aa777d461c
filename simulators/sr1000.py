"""Keyence SR-1000: reads the code on the battery's label, when told to or when somebody pulls its trigger.

Source: the manual of the SR-750, whose commands it shares, as collected in the project's instrument notes. A command
ends in CR, or stands between STX and ETX; its answer has the same frame. ESC clears what was received so far, and so do
10 s without a character. LON begins to look for a code (`OK,LON`), which is sent when it is found; LOFF ends that
(`OK,LOFF`) and, when nothing was found, sends `ERROR` or what it was set to send. Codes go to everybody who is
connected, whoever asked for them.

Choices where the descriptions are silent:
- finding a code takes 0.3 s; LON does not end before LOFF, a pulled trigger is held for 1 s;
- what is read is sent with CR;
- LON while it is looking already is refused with code 20, not executable now; LOFF without LON is not;
- KEYENCE is answered by the model and version, all other commands are unknown here (code 00).
"""

from __future__ import annotations

import math
from typing import ClassVar

from simulators.faults import Faults, Texts
from simulators.unasked import Unasked
from simulators.world import World

SEARCH_S, PULL_S = 0.3, 1.0
CHARACTER_TIMEOUT_S = 10.0
UNKNOWN, NOT_NOW = "00", "20"
NOT_READ = "ERROR"

STX, ETX, CR, LF, ESC = 0x02, 0x03, 0x0D, 0x0A, 0x1B


class Sr1000:
    """The reader in front of the battery's label."""

    FAULTS: ClassVar[Texts] = {
        "nan": "The label cannot be read.",
        "hand_trigger": "Somebody pulls the trigger, once.",
        "wrong_identity": "Another model.",
    }

    terminator = b"\r"
    idle_timeout_s = 0.0

    def __init__(self, world: World, read_error: str = NOT_READ) -> None:
        """`read_error` is sent when nothing was found."""
        self.world = world
        self.read_error = read_error
        self.unasked = Unasked()
        self._faults: Faults = frozenset()
        self._begun: float | None = None
        self._give_up = math.inf

    @property
    def faults(self) -> Faults:
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        pulled = "hand_trigger" in faults - self._faults
        self._faults = faults
        if pulled and not self.looking:
            self._begun = self.world.now()
            self._give_up = self._begun + PULL_S

    def status_byte(self) -> int:
        """It has no serial poll."""
        return 0

    def face(self) -> Sr1000Face:
        return Sr1000Face(self)

    # --- looking for a code ------------------------------------------------------------------------------------

    @property
    def looking(self) -> bool:
        """Whether its light is on."""
        return self._begun is not None

    def deadline(self) -> float:
        """When the code is found, or the trigger released."""
        if self._begun is None:
            return math.inf
        now = self.world.now()
        return min((moment for moment in (self._begun + SEARCH_S, self._give_up) if moment > now), default=math.inf)

    def elapse(self) -> None:
        if self._begun is None:
            return
        now = self.world.now()
        label = None if "nan" in self._faults else self.world.code_label
        if label is not None and now >= self._begun + SEARCH_S:
            self._end(label)
        elif now >= self._give_up:
            self._end(self.read_error)

    def _end(self, result: str) -> None:
        self._begun = None
        self.unasked.say(result.encode("ascii", "replace") + self.terminator)

    # --- commands ----------------------------------------------------------------------------------------------

    def command(self, text: str) -> str:
        """Carry out one command; its answer."""
        match text:
            case "LON":
                if self.looking:
                    return f"ER,LON,{NOT_NOW}"
                self._begun, self._give_up = self.world.now(), math.inf
            case "LOFF":
                if self.looking and self._give_up == math.inf:
                    self._end(self.read_error)
            case "KEYENCE":
                return f"OK,KEYENCE,{'SR-750' if 'wrong_identity' in self._faults else 'SR-1000'},1.00"
            case _:
                return f"ER,{text},{UNKNOWN}"
        return f"OK,{text}"


class Sr1000Face:
    """One connection: frames, and what the reader says by itself."""

    def __init__(self, reader: Sr1000) -> None:
        self._reader = reader
        self._said = reader.unasked.listener()
        self._received = bytearray()
        self._last = -math.inf

    def receive(self, data: bytes) -> bytes:
        now = self._reader.world.now()
        if data and now - self._last >= CHARACTER_TIMEOUT_S:
            self._received.clear()
        self._last = now if data else self._last
        answers = self._said()
        for byte in data:
            if byte in (CR, ETX):
                answers += self._answer(bytes(self._received), framed=byte == ETX)
                self._received.clear()
            elif byte in (ESC, STX):
                self._received.clear()
            elif byte != LF:
                self._received.append(byte)
        # what a command brings about follows its answer: OK,LOFF, then ERROR
        return answers + self._said()

    def _answer(self, command: bytes, framed: bool) -> bytes:
        if not command:
            return b""
        answer = self._reader.command(command.decode("ascii", "replace")).encode("ascii", "replace")
        return bytes([STX]) + answer + bytes([ETX]) if framed else answer + bytes([CR])
