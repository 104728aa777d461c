"""Misbehaviour, kept out of the devices: what the line file, the command line or a test makes an instrument do wrong.

Faults of the wire are applied here, to the bytes of an answer; faults of the instrument are named to the device
(`faults`), which knows what they mean to it:

- silent: as with a cut cable, requests neither arrive nor are answered
- garbage: the request is carried out, the answer is random bytes of the same length
- late: the request is carried out, its answer comes with the answer to the next request
- drop: the connection is closed at every request; a serial port is unplugged and comes back
- refuse: connections are closed as soon as they are made; a serial port is gone
- all others, from wrong_identity to fahrenheit: see the devices
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Protocol, get_args

import numpy as np

from config.simulation import Fault, FaultKind

Faults = frozenset[FaultKind]

_WIRE: Faults = frozenset({"silent", "garbage", "refuse", "drop", "late"})
_BY_DRIVER: dict[str, Faults] = {
    "ea_psb10000": frozenset({"wrong_identity", "nan", "output_refuses_off"}),
    "ea_bt20000": frozenset({"wrong_identity", "nan", "output_refuses_off"}),
    "hioki_bt3562": frozenset({"wrong_identity", "nan"}),
    "hioki_bt4560": frozenset({"wrong_identity", "nan"}),
    "icpdas_tm_th8": frozenset({"wrong_identity", "nan"}),
    "keithley_daq6510": frozenset({"wrong_identity", "nan"}),
    "gwinstek_gpt9800": frozenset({"wrong_identity", "nan", "output_refuses_off", "breakdown"}),
    "keysight_34461a": frozenset({"wrong_identity", "nan"}),
    "espec_p300": frozenset({"wrong_identity", "alarm", "protected"}),
    "watlow_f4t": frozenset({"wrong_identity", "nan", "alarm", "word_order", "fahrenheit"}),
    "julabo_cf": frozenset({"wrong_identity", "nan", "alarm", "protected", "fahrenheit"}),
    "neware_bts": frozenset({"wrong_identity", "nan", "alarm", "output_refuses_off"}),
    "keyence_sr1000": frozenset({"wrong_identity", "nan", "hand_trigger"}),
    "plc_interlock": frozenset({"wrong_identity", "estop", "door"}),
    "bms_gateway": frozenset({"wrong_identity", "nan"}),
}
KINDS: tuple[str, ...] = get_args(FaultKind)


def kinds_of(driver: str) -> Faults:
    """The faults that an instrument of this driver can have."""
    return _WIRE | _BY_DRIVER[driver]


class HangupError(ConnectionResetError):
    """The instrument closes the connection instead of answering."""


class Faulty(Protocol):
    """A device that is told which faults it has at this moment."""

    faults: Faults


class FaultBoard:
    """The faults of one instrument over line time: windows from its configuration, and what a test sets by hand."""

    def __init__(self, device: Faulty, faults: Iterable[Fault], now: Callable[[], float], seed: int) -> None:
        start = now()
        self._windows = [(start + f.at_s, start + f.at_s + (f.duration_s or math.inf), f.kind) for f in faults]
        self._by_hand: set[FaultKind] = set()
        self._device = device
        self._now = now
        self._random = np.random.default_rng(seed)
        self.elapse()

    def set(self, kind: FaultKind, active: bool = True) -> None:
        """Switch one fault on or off from now on, whatever the windows say."""
        (self._by_hand.add if active else self._by_hand.discard)(kind)
        self.elapse()

    def deadline(self) -> float:
        """The next edge of a window."""
        now = self._now()
        edges = (edge for start, end, _ in self._windows for edge in (start, end) if edge > now)
        return min(edges, default=math.inf)

    def elapse(self) -> None:
        now = self._now()
        scheduled = {kind for start, end, kind in self._windows if start <= now < end}
        self._device.faults = self.active = frozenset(scheduled | self._by_hand)

    @property
    def unreachable(self) -> bool:
        return not self.active.isdisjoint(("drop", "refuse"))

    def noise(self, length: int) -> bytes:
        return self._random.bytes(length)


class Wire:
    """One conversation with an instrument, with the faults of its wire."""

    def __init__(self, board: FaultBoard) -> None:
        self._board = board
        self._withheld = b""

    def exchange(
        self,
        carry_out: Callable[[], bytes],
        terminator: bytes = b"",
        framed: Callable[[bytes], bytes] = bytes,
    ) -> bytes:
        """Carry out a request and answer it in its frame, as well as the wire can; raises HangupError."""
        active = self._board.active
        if not active and not self._withheld:
            return framed(carry_out())
        if self._board.unreachable:
            raise HangupError("closed by a simulated fault")
        if "silent" in active:
            return b""
        answer = carry_out()
        if answer and "garbage" in active:
            answer = self._board.noise(max(1, len(answer) - len(terminator))) + terminator
        answer = framed(answer)
        if "late" in active:
            self._withheld, answer = answer, self._withheld
            return answer
        withheld, self._withheld = self._withheld, b""
        return withheld + answer
