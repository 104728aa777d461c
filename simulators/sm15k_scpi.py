"""The text face of the Delta SM15K: LF-terminated lines on TCP 8462.

Source: chapters 4 and 5 of "Ethernet & Sequencer Programming SM15K", rev. Aug. 2019. A header may be spelt with any
number of letters from its short to its long form; a query ends with a question mark, also behind its parameters.

Choices where the manual is silent: the numbers and texts of errors; *IDN? answers maker, model, serial number and
firmware; one command in a line; measured and set values have four decimals, limits answer with their state; a control
answers Ethernet or Front.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import ClassVar

from simulators.faults import Faults, Texts
from simulators.scpi import MessageFace
from simulators.sm15k import DEFAULT_MODEL, WATCHDOG_MS, RefusedError, Setting, Sm15k
from simulators.world import World

MAX_ERRORS = 10
NOTHING = "0,None"
UNKNOWN_COMMAND, INVALID_VALUE, ILLEGAL_SETTING = (
    "-113,Unknown command",
    "-224,Invalid value",
    "-221,Illegal setting",
)
FIRMWARE = "P0110"

# parameters in, an answer out; None for a command
Handler = Callable[[list[str], bool], "str | None"]


class _Error(Exception):
    """What goes into the error queue."""


class Sm15kInstrument:
    """The SM15K with what its interface remembers; every connection gets its own face on it."""

    FAULTS: ClassVar[Texts] = {
        **Sm15k.FAULTS,
        "nan": "Measured values are `NaN`.",
        "error_overflow": "Somebody else filled the error queue, which keeps the oldest ten.",
    }

    terminator = b"\n"
    idle_timeout_s = 0.0

    def __init__(self, world: World, serial: str, model: str = DEFAULT_MODEL, units: int = 1) -> None:
        """Raises ValueError for a model that is none of the family."""
        self.device = Sm15k(world, serial, model, units)
        self.errors: deque[str] = deque()
        self._handlers = self._table()

    @property
    def faults(self) -> Faults:
        return self.device.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        if "error_overflow" in faults - self.faults:
            self.errors.extend([UNKNOWN_COMMAND] * (MAX_ERRORS - len(self.errors)))
        self.device.faults = faults

    def deadline(self) -> float:
        return self.device.deadline()

    def elapse(self) -> None:
        self.device.elapse()

    def power_off(self) -> None:
        self.device.power_off()

    def status_byte(self) -> int:
        """It has none."""
        return 0

    def face(self) -> MessageFace:
        return MessageFace(self.message)

    def message(self, line: bytes) -> bytes:
        """Carry out one line; b"" without an answer. Of more than ten errors the further ones are lost."""
        text = line.decode("ascii", "replace").strip()
        if not text:
            return b""
        try:
            answer = self._carry_out(text)
        except (_Error, RefusedError) as error:
            if len(self.errors) < MAX_ERRORS:
                self.errors.append(str(error) if isinstance(error, _Error) else f"{ILLEGAL_SETTING}: {error}")
            return b""
        self.device.traffic()
        return b"" if answer is None else answer.encode("ascii") + self.terminator

    def _carry_out(self, text: str) -> str | None:
        asks = text.endswith("?")
        header, _, parameters = text.partition(" ")
        handler = self._find(header.removesuffix("?"))
        words = [word.strip() for word in parameters.strip().removesuffix("?").split(",")]
        return handler([word for word in words if word], asks)

    def _find(self, header: str) -> Handler:
        nodes = header.upper().removeprefix(":").split(":")
        for pattern, handler in self._handlers.items():
            words = pattern.split(":")
            if len(words) == len(nodes) and all(map(_is_spelling, nodes, words)):
                return handler
        raise _Error(UNKNOWN_COMMAND)

    # --- commands ----------------------------------------------------------------------------------------------

    def _table(self) -> dict[str, Handler]:
        device = self.device
        table: dict[str, Handler] = {
            "*IDN": _query(self._identity),
            "*CLS": _action(self.errors.clear),
            "*RST": _action(self._reset),
            "MEASure:VOLtage": _query(lambda: self._measured(device.world.terminal().voltage)),
            "MEASure:CURrent": _query(lambda: self._measured(device.world.terminal().current)),
            "MEASure:POWer": _query(lambda: self._measured(device.world.terminal().power)),
            "MEASure:INStrument": self._instrument,
            "OUTPut": _switch(device.switch_output, lambda: device.output_on),
            "SYSTem:RSD": _switch(device.set_shut_down, lambda: device.shut_down),
            "SYSTem:RSD:STAtus": _switch(device.set_shut_down, lambda: device.shut_down),
            "SYSTem:ERRor": _query(lambda: self.errors.popleft() if self.errors else NOTHING),
            "SYSTem:WARning": _query(lambda: NOTHING),
            "SYSTem:COMmunicate:WATchdog": self._watchdog,
            "SYSTem:INTerface:MASterslave:STAtus": self._master,
        }
        for control in device.controls:
            table[f"SYSTem:REMote:{control}"] = table[f"SYSTem:REMote:{control}:STAtus"] = partial(
                self._control, control
            )
        for setting in Setting:
            table[f"SOURce:{setting.value}"] = partial(self._level, setting)
            table[f"SOURce:{setting.value}:MAXimum"] = _query(partial(self._maximum, setting))
            table[f"SYSTem:LIMits:{setting.value}"] = partial(self._limit, setting)
        return table

    def _identity(self) -> str:
        serial = "999999999999" if "wrong_identity" in self.faults else self.device.serial
        return f"DELTA ELEKTRONIKA BV,{self.device.model},{serial},{FIRMWARE}"

    def _reset(self) -> None:
        """The safe state: output off, nothing set."""
        self.device.stop_watchdog()
        self.device.levels = dict.fromkeys(Setting, 0.0)
        self.device.switch_output(False)

    def _measured(self, value: float) -> str:
        # adding zero turns the -0.0 of a rounded small sink current into 0.0
        return "NaN" if "nan" in self.faults else f"{round(value, 4) + 0.0:.4f}"

    def _maximum(self, setting: Setting) -> str:
        return f"{self.device.ratings[setting]:.0f}"

    def _level(self, setting: Setting, words: list[str], asks: bool) -> str | None:
        if asks:
            return f"{self.device.levels[setting]:.4f}"
        self.device.set_level(setting, _number(*_exactly(1, words)))
        return None

    def _limit(self, setting: Setting, words: list[str], asks: bool) -> str | None:
        if asks:
            value, on = self.device.limits[setting]
            return f"{value:.4f},{int(on)}"
        value_text, state = _exactly(2, words)
        self.device.set_limit(setting, _number(value_text), _boolean(state))
        return None

    def _control(self, control: str, words: list[str], asks: bool) -> str | None:
        if asks:
            return self.device.controls[control]
        (source,) = _exactly(1, words)
        for names, known in ((("REMOTE", "REM", "ETHERNET", "ETH"), "Ethernet"), (("FRONT", "LOCAL", "LOC"), "Front")):
            if source.upper() in names:
                self.device.controls[control] = known
                return None
        raise _Error(INVALID_VALUE)

    def _watchdog(self, words: list[str], asks: bool) -> str | None:
        device = self.device
        match [word.upper() for word in words]:
            case [] if asks:
                return str(device.take_watchdog_state())
            case ["SET"] if asks:
                return str(device.watchdog_ms)
            case ["SET", time] if not asks and WATCHDOG_MS[0] <= _number(time) <= WATCHDOG_MS[1]:
                device.set_watchdog(_number(time))
            case ["STOP"] if not asks:
                device.stop_watchdog()
            case ["TEST"] if not asks:
                device.set_watchdog(2.5)
            case _:
                raise _Error(INVALID_VALUE)
        return None

    def _instrument(self, words: list[str], asks: bool) -> str | None:
        """`AH,POS,TOTAL?`: what the Ah or Wh instrument counted."""
        device = self.device
        match [word.upper() for word in words]:
            case [("AH" | "WH") as name, "STATE"] if asks:
                return "OFF" if device.counters[name].since is None else "ON"
            case [("AH" | "WH") as name, "STATE", state] if not asks:
                device.counters[name].switch(_boolean(state), device.world.now(), device.totals(name))
                return None
            case [("AH" | "WH") as name, ("POS" | "NEG") as sign, "TOTAL"] if asks:
                return f"{device.counters[name].read(device.totals(name))[sign == 'NEG'] + 0.0:.6E}"
            case [("AH" | "WH") as name, "TIMESEC"] if asks:
                since = device.counters[name].since
                return f"{0.0 if since is None else device.world.now() - since:.1f}"
        raise _Error(INVALID_VALUE)

    def _master(self, words: list[str], asks: bool) -> str:
        if not asks or [word.upper() for word in words] != ["UNITS"]:
            raise _Error(INVALID_VALUE)
        return str(self.device.units)


def _is_spelling(word: str, pattern: str) -> bool:
    """`VOLT` of `VOLtage`: no shorter than its capitals, no longer than the whole."""
    short = "".join(letter for letter in pattern if not letter.islower())
    return word.startswith(short) and pattern.upper().startswith(word)


def _exactly(count: int, words: list[str]) -> list[str]:
    if len(words) != count:
        raise _Error(INVALID_VALUE)
    return words


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise _Error(INVALID_VALUE) from None
    if value != value:
        raise _Error(INVALID_VALUE)
    return value


def _boolean(text: str) -> bool:
    if text.upper() not in ("0", "1", "OFF", "ON"):
        raise _Error(INVALID_VALUE)
    return text.upper() in ("1", "ON")


def _query(answer: Callable[[], str]) -> Handler:
    def handle(words: list[str], asks: bool) -> str:
        if not asks or words:
            raise _Error(INVALID_VALUE)
        return answer()

    return handle


def _action(act: Callable[[], None]) -> Handler:
    def handle(words: list[str], asks: bool) -> None:
        if asks or words:
            raise _Error(INVALID_VALUE)
        act()

    return handle


def _switch(act: Callable[[bool], None], state: Callable[[], bool]) -> Handler:
    def handle(words: list[str], asks: bool) -> str | None:
        if asks:
            return str(int(state()))
        act(_boolean(*_exactly(1, words)))
        return None

    return handle
