"""GW Instek GPT-9800: insulation resistance between the battery and its chassis, at a test voltage.

Source: GPT-9000 series user manual (remote control chapter), as collected in the project's instrument notes. Lines end
in LF or CR+LF, answers in CR+LF. A setting has no answer; what is not understood or not possible has none either and is
remembered for SYSTem:ERRor?. There is no status model: MEASure? and FUNCtion:TEST? are polled.

The tester is a voltage behind `SOURCE_OHM`, connected to both poles; with the battery's Y capacitors the reading
starts low and rises to the insulation resistance, V/I at the tester's terminals:

    ramp    V = (E/T) g (t - tau (1 - exp(-t/tau)))        g = R/(R + Rs), tau = C Rs g
    hold    V = g E + (V(T) - g E) exp(-(t - T)/tau)       I = (E(t) - V)/Rs

Choices where the manual's pages at hand are silent:
- only IR tests in MANU mode are carried out; after power-on the mode is ACW, as nobody chose IR yet;
- the source has 100 kohm; a load of less, which it cannot hold at half the voltage, is a breakdown: FAIL at once when
  the ramp is over. HI SET and LO SET are judged at the end of the test, on the value shown;
- values are shown in whole Mohm, 9999M ohm for all that is more, as RLOS and RHIS are set;
- a test that is stopped leaves no result: VIEW; settings during a test and IR settings in other modes are mode errors;
- of several errors the last one is remembered; its numbers are those of the manual's appendix, from memory;
- with TEST:RETurn ON the tester says `OK` by itself when a test has ended; OFF after power-on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from simulators.faults import Faults, Texts, measured
from simulators.scpi import CommandTable, Handler, LineBuffer
from simulators.unasked import Unasked
from simulators.world import World

MODELS = ("GPT-9803", "GPT-9804", "GPT-9903", "GPT-9904")
SOURCE_OHM = 100e3
ARC_OHM = 5e3
MOST_MOHM = 9999

NO_ERROR = "0,No Error"
COMMAND_ERROR, VALUE_ERROR, MODE_ERROR = "0x14,Command Error", "0x15,Value Error", "0x18,Mode Error"


class GptError(Exception):
    """A refused command; the message is what SYSTem:ERRor? answers."""


@dataclass(frozen=True)
class Number:
    """A setting of the tester: where it is kept, its range, and how it is answered."""

    attribute: str
    low: float
    high: float
    shown: str
    digits: int


IR_NUMBERS = {
    "MANU:IR:VOLTage": Number("kilovolts", 0.05, 1.0, "{:.3f}kV", 3),
    "MANU:IR:RHISet": Number("high_mohm", 1, MOST_MOHM, "{:04.0f}M ohm", 0),
    "MANU:IR:RLOSet": Number("low_mohm", 1, MOST_MOHM, "{:04.0f}M ohm", 0),
    "MANU:IR:TTIMe": Number("test_s", 1.0, 999.9, "{:05.1f} S", 1),
    "MANU:IR:REF": Number("reference_mohm", 0, MOST_MOHM, "{:04.0f}M ohm", 0),
}
RAMP = Number("ramp_s", 0.1, 999.9, "{:05.1f} S", 1)
STEP = Number("step", 0, 100, "{:03.0f}", 0)


@dataclass(frozen=True)
class Reading:
    """What the display shows: kV, whole Mohm, and the time of the test (T) or of the ramp (R) in s."""

    status: str
    kilovolts: float = 0.0
    mohm: int = 0
    time: str = "R=---.-S"


class Gpt9800:
    """The tester between both poles and the chassis."""

    def __init__(self, world: World, ended: Callable[[], None]) -> None:
        """`ended` is called when a test has come to its end."""
        self.world = world
        self.faults: Faults = frozenset()
        self._ended = ended
        self.auto = False
        self.mode = "ACW"
        self.step = 0.0
        self.kilovolts = 0.05
        self.high_mohm, self.low_mohm, self.reference_mohm = float(MOST_MOHM), 1.0, 0.0
        self.test_s, self.ramp_s = 1.0, 0.1
        self._started: float | None = None
        self._shown = Reading("VIEW")

    @property
    def testing(self) -> bool:
        """Whether test voltage is on."""
        return self._started is not None

    def start(self) -> None:
        """Raises GptError when there is nothing to start, or a test runs."""
        if self.testing or self.auto or self.mode != "IR":
            raise GptError(MODE_ERROR)
        self._started = self.world.now()

    def stop(self) -> None:
        if "output_refuses_off" not in self.faults:
            self._started = None
            self._shown = Reading("VIEW")

    def reading(self) -> Reading:
        """Of the running test, or of the last one."""
        return self._shown if self._started is None else self._present("TEST", self._started)

    def deadline(self) -> float:
        """The end of the ramp, then the end of the test."""
        if self._started is None:
            return math.inf
        now, ramp_end = self.world.now(), self._started + self.ramp_s
        return next((moment for moment in (ramp_end, ramp_end + self.test_s) if moment > now), math.inf)

    def elapse(self) -> None:
        if self._started is None or "output_refuses_off" in self.faults:
            return
        now, ramp_end = self.world.now(), self._started + self.ramp_s
        broken = now >= ramp_end and self._insulation() < SOURCE_OHM
        if not broken and now < ramp_end + self.test_s:
            return
        shown = self._present("FAIL", self._started)
        if not broken and self.low_mohm <= shown.mohm <= self.high_mohm:
            shown = self._present("PASS", self._started)
        self._shown, self._started = shown, None
        self._ended()

    def _insulation(self) -> float:
        if "breakdown" in self.faults:
            return ARC_OHM
        return math.inf if "nan" in self.faults or not self.world.plugged else self.world.insulation_ohm

    def _present(self, status: str, started: float) -> Reading:
        seconds = self.world.now() - started
        volts, ohms = self._terminals(seconds)
        mohm = round(min(max(ohms / 1e6 - self.reference_mohm, 0), MOST_MOHM))
        held = seconds - self.ramp_s
        time = f"T={held:05.1f}S" if held > 0 else f"R={seconds:05.1f}S"
        return Reading(status, volts / 1e3, mohm, time)

    def _terminals(self, seconds: float) -> tuple[float, float]:
        """Voltage in V at the terminals and resistance in ohm that the tester finds there."""
        full = self.kilovolts * 1e3
        insulation = self._insulation()
        gain = 1.0 if math.isinf(insulation) else insulation / (insulation + SOURCE_OHM)
        open_leads = "nan" in self.faults or not self.world.plugged
        capacitance = 0.0 if open_leads else 2 * self.world.y_capacitance
        lag = max(capacitance * SOURCE_OHM * gain, 1e-9)
        ramped = min(seconds, self.ramp_s)
        volts = gain * full / self.ramp_s * (ramped + lag * math.expm1(-ramped / lag))
        settled = gain * full
        if seconds > self.ramp_s:
            volts = settled + (volts - settled) * math.exp(-(seconds - self.ramp_s) / lag)
        current = (full * ramped / self.ramp_s - volts) / SOURCE_OHM
        # what an open end lets through is less than the arithmetic resolves
        return volts, volts / current if current > 1e-12 else math.inf


class GptInstrument:
    """The tester with what its serial interface remembers."""

    FAULTS: ClassVar[Texts] = {
        **measured("stuck", "drift", "range_clip"),
        "overrange": "No end of insulation: 9999 Mohm.",
        "nan": "Its leads are off: 9999 Mohm, and no capacitance to charge.",
        "breakdown": "A flashover at the end of the ramp: FAIL.",
        "output_refuses_off": "The test voltage stays on.",
        "wrong_identity": "A model without this test.",
    }

    terminator = b"\r\n"
    idle_timeout_s = 0.0

    def __init__(self, world: World, serial: str, model: str = MODELS[0]) -> None:
        self.unasked = Unasked()
        self.device = Gpt9800(world, self._test_ended)
        self._serial, self._model = serial, model
        self._error = NO_ERROR
        self._says_end = False
        self._table = CommandTable(self._commands())

    @property
    def faults(self) -> Faults:
        return self.device.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self.device.faults = faults

    def deadline(self) -> float:
        return self.device.deadline()

    def elapse(self) -> None:
        self.device.elapse()

    def status_byte(self) -> int:
        """It has no status model."""
        return 0

    def face(self) -> GptFace:
        return GptFace(self)

    def line(self, line: bytes) -> bytes:
        """Carry out one line; its answer, b"" when there is none."""
        command = line.decode("ascii", "replace").strip()
        if not command:
            return b""
        handler, argument = self._table.find(command)
        try:
            if handler is None:
                raise GptError(COMMAND_ERROR)
            answer = handler(argument)
        except GptError as error:
            self._error = str(error)
            return b""
        return answer.encode("ascii") + self.terminator if answer is not None else b""

    # --- commands ----------------------------------------------------------------------------------------------

    def _commands(self) -> dict[str, Handler]:
        commands: dict[str, Handler] = {
            "*IDN?": _query(self._identity),
            "*CLS": _action(self._clear),
            "*RMTOFF": _action(lambda: None),
            "SYSTem:ERRor?": _query(self._take_error),
            "MAIN:FUNCtion": self._set_function,
            "MAIN:FUNCtion?": _query(lambda: "AUTO MODE" if self.device.auto else "MANU MODE"),
            "MANU:EDIT:MODE": self._set_mode,
            "MANU:EDIT:MODE?": _query(lambda: self.device.mode),
            "FUNCtion:TEST": self._test,
            "FUNCtion:TEST?": _query(lambda: f"TEST {'ON' if self.device.testing else 'OFF'}"),
            "TEST:RETurn": self._set_return,
            "TEST:RETurn?": _query(lambda: "ON" if self._says_end else "OFF"),
            "MEASure?": _query(self._measure),
        }
        for header, number in {**IR_NUMBERS, "MANU:RTIMe": RAMP, "MANU:STEP": STEP}.items():
            commands |= self._setting(header, number)
        return commands

    def _setting(self, header: str, number: Number) -> dict[str, Handler]:
        def change(argument: str) -> None:
            if self.device.testing or (header in IR_NUMBERS and self.device.mode != "IR"):
                raise GptError(MODE_ERROR)
            try:
                value = float(argument)
            except ValueError:
                raise GptError(COMMAND_ERROR) from None
            if not number.low <= value <= number.high:
                raise GptError(VALUE_ERROR)
            setattr(self.device, number.attribute, round(value, number.digits))

        def answer() -> str:
            return number.shown.format(getattr(self.device, number.attribute))

        return {header: change, f"{header}?": _query(answer)}

    def _set_function(self, argument: str) -> None:
        chosen = _word(argument, "MANU", "AUTO")
        if self.device.testing:
            raise GptError(MODE_ERROR)
        self.device.auto = chosen == "AUTO"

    def _set_mode(self, argument: str) -> None:
        chosen = _word(argument, "ACW", "DCW", "IR", "GB")
        if self.device.testing or self.device.auto:
            raise GptError(MODE_ERROR)
        self.device.mode = chosen

    def _test(self, argument: str) -> None:
        if _word(argument, "ON", "OFF") == "ON":
            self.device.start()
        else:
            self.device.stop()

    def _set_return(self, argument: str) -> None:
        self._says_end = _word(argument, "ON", "OFF") == "ON"

    def _measure(self) -> str:
        """`>IR ,PASS ,0.497kV,0015M ohm,T=001.0S`."""
        shown = self.device.reading()
        return f">{self.device.mode:3},{shown.status:5},{shown.kilovolts:.3f}kV,{shown.mohm:04d}M ohm,{shown.time}"

    # --- identity and errors -----------------------------------------------------------------------------------

    def _identity(self) -> str:
        model = "GPT-9801" if "wrong_identity" in self.faults else self._model
        return f"{model},{self._serial},V1.00"

    def _take_error(self) -> str:
        error, self._error = self._error, NO_ERROR
        return error

    def _clear(self) -> None:
        self._error = NO_ERROR

    def _test_ended(self) -> None:
        if self._says_end:
            self.unasked.say(b"OK" + self.terminator)


class GptFace:
    """The serial line."""

    def __init__(self, instrument: GptInstrument) -> None:
        self._instrument = instrument
        self._said = instrument.unasked.listener()
        self._lines = LineBuffer(b"\n")

    def receive(self, data: bytes) -> bytes:
        return self._said() + b"".join(self._instrument.line(line) for line in self._lines.feed(data))


def _word(argument: str, *words: str) -> str:
    if argument.upper() not in words:
        raise GptError(COMMAND_ERROR)
    return argument.upper()


def _query(answer: Callable[[], str]) -> Handler:
    def handle(argument: str) -> str:
        if argument:
            raise GptError(COMMAND_ERROR)
        return answer()

    return handle


def _action(act: Callable[[], None]) -> Handler:
    def handle(argument: str) -> None:
        if argument:
            raise GptError(COMMAND_ERROR)
        act()

    return handle
