"""Misbehaviour, kept out of the devices: what the line file, the command line or a test makes an instrument do wrong.

A fault is of one of three sorts, and each sort has one place:

- of the wire: applied here, to the bytes of an answer, for all protocol faces alike
- of what is measured: applied to what a device sees of the world, in `simulators.leads`
- of the instrument: named to the device (`faults`), which knows what they mean to it and says so in its `FAULTS`
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, get_args, runtime_checkable

from config.simulation import Fault, FaultEvent, FaultKind

Faults = frozenset[FaultKind]
Texts = Mapping[FaultKind, str]

KINDS: tuple[FaultKind, ...] = get_args(FaultKind)

# what each kind of a sort that is the same for all instruments means
WIRE: Texts = MappingProxyType(
    {
        "silent": "As with a cut cable, requests neither arrive nor are answered.",
        "lost": "The request is carried out, its answer is lost.",
        "late": "The request is carried out, its answer comes with the answer to the next request.",
        "delay": "Answers come `value` seconds late (0.5); of wall time on a wire, of line time in memory.",
        "slow": "The same with 30 s.",
        "duplicate": "Every answer comes twice.",
        "truncated": "Of every answer the first half comes, without its end.",
        "garbage": "The request is carried out, the answer is random bytes of the same length.",
        "drop": "The connection is closed at every request; a serial port is unplugged and comes back.",
        "refuse": "Connections are closed as soon as they are made; a serial port is gone.",
        "moved": "It disconnects and comes back elsewhere: at another TCP port, at a serial port whose path ends in "
        "`.moved`; `evaline simulated list` tells where. In memory it is unreachable.",
        "reboot": "It loses what it was set to, its output goes off, and it is silent until it has started again.",
    }
)
WIRE_OF_REGISTERS: Texts = MappingProxyType(
    {
        "wrong_unit": "Answers carry the number of the next unit; in memory, which has no unit numbers, none comes.",
        "busy": "Requests are not carried out but answered by exception 6, server device busy.",
    }
)
WIRE_OF_RTU: Texts = MappingProxyType({"crc": "The check sum of every answer is wrong."})
MEASURED: Texts = MappingProxyType(
    {
        "stuck": "Readings stay as they are.",
        "drift": "Readings grow by `value` of themselves each second (0.001).",
        "sign_flip": "Currents, powers and temperatures have the other sign.",
        "polarity_reversed": "The sense leads are exchanged: voltages have the other sign.",
        "open_lead": "A sense lead is open: a voltage reads nothing; of a BMS that of cell `value` from 0 (the middle "
        "one), and the next cell's reads both.",
        "range_clip": "Readings end at `value`, in SI units; without one, at half of what the first one is.",
        "overrange": "Readings are beyond everything that can be shown.",
    }
)


def measured(*kinds: FaultKind) -> dict[FaultKind, str]:
    """Of a device that shows these faults of what it measures as they are."""
    return {kind: MEASURED[kind] for kind in kinds}


# the size of a kind, where none is given
VALUES: Mapping[FaultKind, float] = MappingProxyType({"delay": 0.5, "slow": 30.0, "drift": 1e-3})
SIZED: Faults = frozenset({*VALUES, "open_lead", "range_clip"})
# how long a kind lasts, where that is not given; the others last for good
DURATIONS: Mapping[FaultKind, float] = MappingProxyType({"reboot": 10.0})

# what neither hears nor answers
SILENCE: Faults = frozenset({"silent", "reboot"})
BUSY = 6


class HangupError(ConnectionResetError):
    """The instrument closes the connection instead of answering."""


class Faulty(Protocol):
    """A device that is told which faults it has at this moment."""

    faults: Faults


@runtime_checkable
class Powered(Protocol):
    """A device that acts on the world as long as it has power."""

    def power_off(self) -> None:
        """Let go of the world."""
        ...


@dataclass(frozen=True)
class Window:
    """One fault from a moment of line time to another, in s."""

    kind: FaultKind
    start: float
    end: float
    value: float | None = None


@dataclass(frozen=True)
class Draw:
    """How faults are drawn: their kinds, and the mean time in s between two and of one."""

    kinds: Sequence[FaultKind]
    mean_interval_s: float
    mean_duration_s: float

    def after(self, moment: float, source: random.Random) -> Window:
        """The first one after a moment."""
        start = moment + source.expovariate(1 / self.mean_interval_s)
        kind = source.choice(self.kinds)
        return Window(kind, start, start + source.expovariate(1 / self.mean_duration_s))


class FaultBoard:
    """The faults of one instrument over line time: from its configuration, drawn, and what somebody sets by hand."""

    def __init__(
        self,
        device: Faulty,
        faults: Iterable[Fault],
        now: Callable[[], float],
        seed: int,
        draw: Draw | None = None,
        restart: Callable[[], Faulty] | None = None,
    ) -> None:
        """`restart` makes the device as it is after a reboot; without it the device stays as it is."""
        self._device = device
        self._restart = restart
        self._now = now
        self._random = random.Random(seed)
        start = now()
        faults = list(faults)
        self._windows = [_window(fault, start) for fault in faults if fault.on is None]
        self._waiting = [_Waiting(fault) for fault in faults if fault.on is not None]
        self._by_hand: dict[FaultKind, Window] = {}
        self._draw = draw
        self._drawn_from = random.Random(f"{seed}/drawn")
        self._drawn = draw.after(start, self._drawn_from) if draw is not None and draw.kinds else None
        self._next = math.inf
        self.starts = 0
        self.history: list[Window] = []
        self._values: dict[FaultKind, Window] = {}
        self.active: Faults = frozenset()
        self.elapse()

    # --- what is wrong, and since when --------------------------------------------------------------------------

    @property
    def device(self) -> Faulty:
        return self._device

    @property
    def unreachable(self) -> bool:
        return not self.active.isdisjoint(("drop", "refuse"))

    @property
    def delay_s(self) -> float:
        """How late answers come."""
        return max((self.value(kind) or 0.0 for kind in ("delay", "slow") if kind in self.active), default=0.0)

    def value(self, kind: FaultKind) -> float | None:
        """The size of an active fault."""
        given = self._values[kind].value
        return VALUES.get(kind) if given is None else given

    def since(self, kind: FaultKind) -> float:
        """Line time at which an active fault began."""
        return self._values[kind].start

    def events(self) -> set[FaultEvent]:
        """What faults still wait for."""
        return {waiting.event for waiting in self._waiting}

    # --- how faults come and go ---------------------------------------------------------------------------------

    def set(
        self, kind: FaultKind, active: bool = True, value: float | None = None, duration_s: float | None = None
    ) -> None:
        """Switch one fault on or off from now on, whatever the windows say."""
        self._by_hand.pop(kind, None)
        if active:
            now = self._now()
            self._by_hand[kind] = Window(kind, now, now + _duration(kind, duration_s), value)
        self.elapse()

    def add(self, fault: Fault) -> None:
        """One more, counted from now on."""
        if fault.on is None:
            self._windows.append(_window(fault, self._now()))
        else:
            self._waiting.append(_Waiting(fault))
        self.elapse()

    def clear(self) -> None:
        """End every fault, and forget those to come, the drawn ones too."""
        self._windows, self._waiting, self._by_hand, self._draw, self._drawn = [], [], {}, None, None
        self.elapse()

    def happened(self, event: FaultEvent) -> None:
        """Something that faults may wait for."""
        for waiting in self._waiting:
            if waiting.event == event:
                waiting.left -= 1
        begun = [waiting.fault for waiting in self._waiting if waiting.left == 0]
        if begun:
            self._waiting = [waiting for waiting in self._waiting if waiting.left > 0]
            self._windows += [_window(fault, self._now()) for fault in begun]
            self.elapse()

    def queried(self) -> None:
        if self._waiting:
            self.happened("query")

    def deadline(self) -> float:
        """The next edge of a window."""
        return self._next

    def elapse(self) -> None:
        now = self._now()
        while self._drawn is not None and self._drawn.end <= now:
            assert self._draw is not None
            self._drawn = self._draw.after(self._drawn.end, self._drawn_from)
        windows = [*self._windows, *self._by_hand.values(), *([self._drawn] if self._drawn else ())]
        self._next = min((edge for w in windows for edge in (w.start, w.end) if edge > now), default=math.inf)
        present = {window.kind: window for window in reversed(windows) if window.start <= now < window.end}
        begun = [window for kind, window in present.items() if kind not in self.active]
        self._values = present
        if frozenset(present) == self.active:
            return
        self.active = frozenset(present)
        self.history += begun
        if self._restart is not None and any(window.kind == "reboot" for window in begun):
            self._device = self._restart()
            self.starts += 1
        self._device.faults = self.active

    def noise(self, length: int) -> bytes:
        return self._random.randbytes(length)


class _Waiting:
    """A fault that begins when something has happened often enough."""

    def __init__(self, fault: Fault) -> None:
        assert fault.on is not None
        self.fault, self.event, self.left = fault, fault.on, fault.nth


def _window(fault: Fault, moment: float) -> Window:
    start = moment + fault.at_s
    return Window(fault.kind, start, start + _duration(fault.kind, fault.duration_s), fault.value)


def _duration(kind: FaultKind, seconds: float | None) -> float:
    return DURATIONS.get(kind, math.inf) if seconds is None else seconds


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
        if not active.isdisjoint(SILENCE):
            return b""
        # what has a terminator is spoilt as text, whatever frame it is in; what has none, with its frame
        answer = framed(self._spoilt(carry_out(), terminator) if terminator else carry_out())
        if not terminator:
            answer = self._spoilt(answer, b"")
        if "lost" in active:
            answer = b""
        if "duplicate" in active:
            answer += answer
        if "late" in active:
            self._withheld, answer = answer, self._withheld
            return answer
        withheld, self._withheld = self._withheld, b""
        return withheld + answer

    def _spoilt(self, answer: bytes, terminator: bytes) -> bytes:
        if not answer:
            return answer
        text = answer.removesuffix(terminator)
        if "garbage" in self._board.active:
            answer = self._board.noise(max(1, len(text))) + terminator
        return answer[: max(1, len(text) // 2)] if "truncated" in self._board.active else answer


class Pending:
    """Answers on their way through a memory link whose wire is slow, in line time."""

    def __init__(self, board: FaultBoard, now: Callable[[], float]) -> None:
        self._board, self._now = board, now
        self._queue: list[tuple[float, bytes]] = []

    def passed(self, answer: bytes) -> bytes:
        """What arrives at this moment, when this answer is sent."""
        if not self._board.active and not self._queue:
            return answer
        delay, now = self._board.delay_s, self._now()
        if answer:
            self._queue.append((max([now + delay, *(at for at, _ in self._queue[-1:])]), answer))
        arrived = [data for at, data in self._queue if at <= now]
        self._queue = self._queue[len(arrived) :]
        return b"".join(arrived)


def readdressed(unit: int) -> int:
    """The unit that answers in place of another."""
    return unit % 247 + 1
