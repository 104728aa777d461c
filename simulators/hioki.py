"""The text interface that Hioki's battery meters share: lines, headers, settings and event registers.

Source: instruction manual BT3562A981 and communication manual BT4560A987, as collected in the project's instrument
notes. Lines end in CR or CR+LF, answers in CR+LF. There is no error queue: what is not understood gets no answer and
sets a bit of *ESR?, and discards the rest of its line.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from simulators.faults import Faults, Faulty, Texts, measured
from simulators.scpi import CommandTable, Handler, LineBuffer

ESR_POWER_ON, ESR_COMMAND, ESR_EXECUTION = 128, 32, 16
ESR0_END_OF_MEASUREMENT = 1


# what lifts a probe
LIFTED: Faults = frozenset({"nan", "open_lead"})
METER_FAULTS: Texts = {
    **measured("stuck", "drift", "polarity_reversed", "range_clip", "overrange"),
    "open_lead": "A probe is lifted: 1E+10, a measurement fault, for everything.",
    "nan": "The same.",
    "wrong_identity": "Another model.",
}


class CommandError(Exception):
    """Not a command of this instrument."""


class ExecutionError(Exception):
    """A command that cannot be carried out now, or with this value."""


Meter = TypeVar("Meter", bound=Faulty)


class HiokiInterface(ABC, Generic[Meter]):
    """A meter with what its interface remembers between lines."""

    terminator = b"\r\n"
    idle_timeout_s = 0.0

    def __init__(self, device: Meter) -> None:
        self.device = device
        self.headers = False
        self._event_status = ESR_POWER_ON
        self._device_events = 0
        self._table = CommandTable(self._common_commands() | self.commands())

    @abstractmethod
    def commands(self) -> dict[str, Handler]:
        """What this meter understands besides the common commands."""

    @abstractmethod
    def identity(self) -> str: ...

    @abstractmethod
    def reset(self) -> None:
        """The meter's own part of *RST."""

    def setting_written(self) -> None:
        """Called before a setting changes."""

    @property
    def faults(self) -> Faults:
        return self.device.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self.device.faults = faults

    def face(self) -> HiokiFace:
        return HiokiFace(self.line)

    def line(self, line: bytes) -> bytes:
        """Carry out one line; the answers of its queries up to the first error."""
        answers: list[str] = []
        for command in line.decode("ascii", "replace").split(";"):
            if not command.strip():
                continue
            try:
                handler, argument = self._table.find(command)
                if handler is None:
                    raise CommandError
                answer = handler(argument)
            except CommandError:
                self._event_status |= ESR_COMMAND
                break
            except ExecutionError:
                self._event_status |= ESR_EXECUTION
                break
            if answer is not None:
                answers.append(answer)
        return ";".join(answers).encode("ascii") + self.terminator if answers else b""

    def measured(self) -> None:
        """A measurement has ended."""
        self._device_events |= ESR0_END_OF_MEASUREMENT

    def status_byte(self) -> int:
        """Bit 0 device events wait, 5 standard events."""
        return bool(self._device_events) | bool(self._event_status) << 5

    # --- common commands ---------------------------------------------------------------------------------------

    def _common_commands(self) -> dict[str, Handler]:
        return {
            "*IDN?": query(self.identity),
            "*RST": action(self._reset),
            "*CLS": action(self._clear),
            "*TST?": query(lambda: "0"),
            "*ESR?": query(self._take_event_status),
            "*STB?": query(lambda: str(self.status_byte())),
            ":ESR0?": query(self._take_device_events),
            **self.on_off(":SYSTem:HEADer", self, "headers"),
        }

    def _reset(self) -> None:
        self.reset()
        self.headers = False

    def _clear(self) -> None:
        self._event_status = self._device_events = 0

    def _take_event_status(self) -> str:
        status, self._event_status = self._event_status, 0
        return str(status)

    def _take_device_events(self) -> str:
        events, self._device_events = self._device_events, 0
        return str(events)

    # --- settings ----------------------------------------------------------------------------------------------

    def setting(self, header: str, get: Callable[[], str], change: Callable[[str], None]) -> dict[str, Handler]:
        """A command that changes, given its argument in capitals, and a query that answers."""

        def handle(argument: str) -> None:
            if not argument:
                raise CommandError
            self.setting_written()
            change(argument.upper())

        def answer() -> str:
            return f"{header.upper()} {get()}" if self.headers else get()

        return {header: handle, f"{header}?": query(answer)}

    def words(self, header: str, attribute: str, *words: str) -> dict[str, Handler]:
        """A setting that takes one of some words, in their long or short form, and answers the long one."""

        def change(argument: str) -> None:
            setattr(self.device, attribute, one_of(argument, *words))

        return self.setting(header, lambda: str(getattr(self.device, attribute)), change)

    def on_off(self, header: str, owner: object, attribute: str) -> dict[str, Handler]:
        def change(argument: str) -> None:
            if argument not in ("ON", "OFF", "1", "0"):
                raise CommandError
            setattr(owner, attribute, argument in ("ON", "1"))

        return self.setting(header, lambda: "ON" if getattr(owner, attribute) else "OFF", change)


class HiokiFace:
    """One connection. CR ends a line; the LF that may follow it is skipped."""

    def __init__(self, line: Callable[[bytes], bytes]) -> None:
        self._line = line
        self._lines = LineBuffer(b"\r")

    def receive(self, data: bytes) -> bytes:
        return b"".join(self._line(line.removeprefix(b"\n")) for line in self._lines.feed(data))


def one_of(argument: str, *words: str) -> str:
    """The long form, in capitals, of a word in its long or short form. Raises CommandError."""
    for word in words:
        if argument in (word.upper(), "".join(letter for letter in word if not letter.islower())):
            return word.upper()
    raise CommandError


def number(argument: str) -> float:
    """Raises CommandError."""
    try:
        return float(argument)
    except ValueError:
        raise CommandError from None


def query(answer: Callable[[], str]) -> Handler:
    def handle(argument: str) -> str:
        if argument:
            raise CommandError
        return answer()

    return handle


def action(act: Callable[[], None]) -> Handler:
    def handle(argument: str) -> None:
        if argument:
            raise CommandError
        act()

    return handle
