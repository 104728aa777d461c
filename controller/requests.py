"""What a step asks for beyond set points: instruments, people, analysis. Each request is answered or says its error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np

from controller.clock import Clock
from controller.instruments import Instruments
from controller.journal import Event, Journal, OutboxMessage
from controller.run import Run, run_data
from controller.sampler import Sampler
from drivers import InstrumentError
from sequences import (
    Answer,
    Ask,
    CallFunction,
    GradeRules,
    Provisional,
    ReadCodes,
    Request,
    SetChamber,
    StandStill,
    StepRecord,
    TakeReadings,
    TakeSpectrum,
    Tell,
    TestInsulation,
    Verdict,
    WorkOut,
    analyse_some,
    grade,
    is_certain,
)

POLL = 0.2  # s of line time between two looks at a measurement that runs
READ_CODE_WITHIN = 10.0  # s for a reader to find a code
PERIODS_AT_MOST = 12.0  # of a frequency, and so many seconds more, that one point of a spectrum may take
MEASURED = "measured"  # what a measure step worked out, in the journal
STEP_FUNCTIONS = "evaline.steps"  # the entry points that python steps may name


class StepFunctionError(Exception):
    """A python step's function is not installed, raised, or returned what nobody can use."""

    code = "E-PYTHON-STEP"


class Surroundings(Protocol):
    """What the engine needs of its station besides instruments."""

    async def ask(self, question: Ask) -> Any:
        """Put a question to people and wait for the answer."""
        ...

    def tell(self, event: str, values: Mapping[str, tuple[float | None, str]]) -> None:
        """An event for the MES."""
        ...

    def messages_of(self, ended: Sequence[StepRecord]) -> list[OutboxMessage]:
        """For the MES: what has ended; to be appended to the journal at once."""
        ...

    def stand_still(self, reason: str) -> None:
        """Ask for a hold, as an operator would; returns at once."""
        ...

    def hold_to(self, run: Run) -> None:
        """The steps that run now have bounds of their own: the safety judges by them."""
        ...

    async def park(self) -> None:
        """Contactors open, confirmed; raises InstrumentError."""
        ...

    async def unpark(self) -> None:
        """Contactors closed, confirmed; raises InstrumentError."""
        ...


class Requests:
    """Carries requests out. `interruptible` ones are stopped by a hold and asked anew after it."""

    def __init__(
        self, instruments: Instruments, sampler: Sampler, clock: Clock, journal: Journal, run: Run,
        rules: GradeRules, surroundings: Surroundings,
    ) -> None:  # fmt: skip
        self._instruments, self._sampler, self._clock, self._journal = instruments, sampler, clock, journal
        self._run, self._rules, self._surroundings = run, rules, surroundings

    @staticmethod
    def interruptible(request: Request) -> bool:
        return isinstance(request, TakeReadings | TakeSpectrum | TestInsulation)

    async def answer(self, request: Request) -> Answer:
        """Never raises for an instrument or for a function of a python step: that is the answer."""
        try:
            return Answer(await self._carry_out(request))
        except (InstrumentError, StepFunctionError) as error:
            return Answer(error=str(error), code=error.code)

    async def _carry_out(self, request: Request) -> Any:
        match request:
            case TakeReadings():
                return await self._readings(request)
            case TakeSpectrum():
                return [await self._spectrum_point(frequency) for frequency in request.frequencies]
            case TestInsulation():
                return await self._insulation(request)
            case ReadCodes():
                return await self._codes()
            case Ask():
                return await self._surroundings.ask(request)
            case SetChamber():
                chamber = self._instruments.chamber
                return await self._instruments.call("chamber", chamber.condition, request.temperature)
            case WorkOut():
                return await self._work_out(request)
            case Provisional():
                return self._provisional()
            case Tell():
                return self._surroundings.tell(request.event, request.values)
            case CallFunction():
                return await _call_function(request)
            case StandStill():
                raise AssertionError("a hold is answered when it ends")

    async def _readings(self, request: TakeReadings) -> list[tuple[float | None, float | None]]:
        taken: list[tuple[float | None, float | None]] = []
        for _ in range(request.count):
            if request.role == "voltmeter":
                volts = await self._instruments.call("voltmeter", self._instruments.voltmeter.measure)
                taken.append((None, volts))
            else:
                meter = self._instruments.impedance_meter
                assert meter is not None  # checked before the start
                reading = await self._instruments.call(request.role, meter.measure)
                taken.append((reading.resistance, reading.voltage))
        return taken

    async def _spectrum_point(self, frequency: float) -> tuple[float, float, float]:
        meter = self._instruments.spectrum_meter
        await self._instruments.call("spectrum_meter", meter.start, frequency)
        within = PERIODS_AT_MOST / frequency + 10.0
        point = await self._finished("spectrum_meter", meter.result, within)
        return point.frequency, point.real, point.imaginary

    async def _insulation(self, request: TestInsulation) -> float | None:
        tester = self._instruments.insulation_tester
        await self._instruments.call("insulation_tester", tester.start, request.voltage, request.seconds)
        try:
            reading = await self._finished("insulation_tester", tester.result, request.seconds + 10.0)
        except BaseException:
            await asyncio.shield(self._instruments.call("insulation_tester", tester.stop))
            raise
        return reading.resistance  # type: ignore[no-any-return]

    async def _finished(self, key: str, result: Callable[[], Awaitable[Any]], within: float) -> Any:
        deadline = self._clock.now() + within
        while (found := await self._instruments.call(key, result)) is None:
            if self._clock.now() >= deadline:
                raise InstrumentError(f"no result within {within:g} s", instrument=key)
            await self._clock.sleep(POLL)
        return found

    async def _codes(self) -> tuple[str | None, str | None, str]:
        """Of label, BMS and start; None without an instrument, empty without a code."""
        label: str | None = None
        if "code_reader" in self._instruments.identities:
            label = await self._read_label()
        battery = self._sampler.battery
        return label, None if battery is None else battery.code, self._run.code

    async def _read_label(self) -> str:
        reader = self._instruments.code_reader
        await self._instruments.call("code_reader", reader.trigger)
        deadline = self._clock.now() + READ_CODE_WITHIN
        code = None
        try:
            while code is None and self._clock.now() < deadline:
                await self._clock.sleep(POLL)
                code = await self._instruments.call("code_reader", reader.code)
        finally:
            await self._instruments.call("code_reader", reader.stop)
        return code or ""

    async def _work_out(self, request: WorkOut) -> dict[str, float | None]:
        run = self._run
        with self._clock.hold():
            await self._journal.flush()
            columns, rows = await asyncio.to_thread(self._journal.samples, run.id)
            data = run_data(
                columns, rows if len(rows) else np.empty((0, len(columns))), run.records, self._instruments.config
            )
            arguments = (run.recipe, run.program.context, data, request.scope, request.measurements)
            results = await asyncio.to_thread(analyse_some, *arguments)
        measured = run.measured(results)
        found = {result.measurement.name: measured.get(result.measurement.name) for result in results}
        run.interim |= found
        body = {name: value and asdict(value) for name, value in found.items()}
        self._journal.append(Event(self._clock.now(), run.station, run.id, MEASURED, {"measurements": body}))
        return {result.measurement.name: result.value for result in results}

    def _provisional(self) -> tuple[str | None, bool]:
        measured = {name: value for name, value in self._run.interim.items() if value is not None}
        return grade(self._rules, measured, Verdict.PASS).grade, is_certain(self._rules, measured, Verdict.PASS)


async def _call_function(request: CallFunction) -> Mapping[str, Any]:
    found = [entry for entry in entry_points(group=STEP_FUNCTIONS) if entry.name == request.function]
    if not found:
        raise StepFunctionError(f"no function {request.function!r} is installed as {STEP_FUNCTIONS}")
    try:
        function = found[0].load()
        result = await asyncio.to_thread(function, **request.arguments)
    except Exception as error:
        raise StepFunctionError(f"{request.function}: {type(error).__name__}: {error}") from error
    if not isinstance(result, Mapping):
        raise StepFunctionError(f"{request.function} returned no mapping")
    return result
