"""How the steps behave that ask instruments or people, think, or tell: one request, its answer, an end. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sequences.actions import (
    Answer,
    Ask,
    CallFunction,
    Ended,
    NoCurrent,
    Provisional,
    ReadCodes,
    Request,
    SetChamber,
    TakeReadings,
    TakeSpectrum,
    Tell,
    TestInsulation,
    WorkOut,
)
from sequences.expression import Evaluation, coherent
from sequences.measurement import SHOWN
from sequences.quantity import parse_quantity
from sequences.runs import Reaction
from sequences.step import (
    Acir,
    Check,
    Compute,
    Eis,
    GradeNow,
    Identify,
    Inspect,
    Insulate,
    Measure,
    Ocv,
    Prompt,
    Publish,
    Python,
    SetPoint,
    SetTemperature,
)
from sequences.verdict import Verdict
from sequences.view import View, named


class _Inquiry:
    """Output off, then one request; `answered` makes an end of what comes back, errors apart."""

    phase = "measure"
    sample_period: float | None = None
    ends_apply = True
    needs_rest = True  # whether the output must be off for it

    def __init__(self) -> None:
        self._asked = False

    def request(self, view: View) -> Request:
        raise NotImplementedError

    def answered(self, value: Any, view: View) -> Ended:
        raise NotImplementedError

    def start(self, view: View) -> Reaction:
        if self.needs_rest:
            return NoCurrent()
        self._asked = True
        return self.request(view)

    def update(self, view: View) -> Reaction:
        if not self._asked:
            self._asked = True
            return self.request(view)
        if view.answer is None:
            return None
        if view.answer.error:
            return failed(view.answer)
        return self.answered(view.answer.value, view)


def failed(answer: Answer) -> Ended:
    """What comes of a request that met an error."""
    return Ended(f"{answer.error} [{answer.code}]", complete=False, verdict=Verdict.ERROR)


def _into(name: str | None, value: float | None) -> dict[str, float | None]:
    return {name: value} if name else {}


def _mean(values: tuple[float | None, ...]) -> float | None:
    good = [value for value in values if value is not None]
    return sum(good) / len(good) if good else None


class AcirRun(_Inquiry):
    def __init__(self, step: Acir) -> None:
        super().__init__()
        self._step = step

    def request(self, view: View) -> Request:
        return TakeReadings("impedance_meter", self._step.readings)

    def answered(self, value: Any, view: View) -> Ended:
        ohms, volts = tuple(r[0] for r in value), tuple(r[1] for r in value)
        readings = {"resistance": ohms, "voltage": volts}
        return Ended("readings taken", values=_into(self._step.into, _mean(ohms)), readings=readings)


class OcvRun(_Inquiry):
    """Waits for the cells to settle; then the voltmeter's readings, or the cycler's where there is none."""

    phase = "settle"

    def __init__(self, step: Ocv) -> None:
        super().__init__()
        self._step = step
        self._volts: list[float] = []

    def request(self, view: View) -> Request:
        return TakeReadings("voltmeter", self._step.readings)

    def update(self, view: View) -> Reaction:
        if self._asked and "voltmeter" in view.context.roles:
            return super().update(view)
        rate = view.signal("cell_rate")
        if not self._asked and (rate is None or abs(rate) > self._step.settle):
            return None
        self._asked = True
        if "voltmeter" in view.context.roles:
            return self.request(view)
        if (volts := view.sample.good("voltage")) is not None:
            self._volts.append(volts)
        if len(self._volts) < self._step.readings:
            return None
        return self._ended(tuple(self._volts))

    def answered(self, value: Any, view: View) -> Ended:
        return self._ended(tuple(reading[1] for reading in value))

    def _ended(self, volts: tuple[float | None, ...]) -> Ended:
        return Ended("settled", values=_into(self._step.into, _mean(volts)), readings={"voltage": volts})


class EisRun(_Inquiry):
    def __init__(self, step: Eis) -> None:
        super().__init__()
        self._step = step

    def request(self, view: View) -> Request:
        return TakeSpectrum(tuple(self._step.frequencies))

    def answered(self, value: Any, view: View) -> Ended:
        columns = ("frequency", "real", "imaginary")
        readings = {name: tuple(point[k] for point in value) for k, name in enumerate(columns)}
        return Ended("spectrum taken", readings=readings)


class InsulateRun(_Inquiry):
    def __init__(self, step: Insulate) -> None:
        super().__init__()
        self._step = step

    def request(self, view: View) -> Request:
        return TestInsulation(self._step.voltage, self._step.duration)

    def answered(self, value: Any, view: View) -> Ended:
        per_volt = None if value is None else value / view.dut.nominal_voltage
        return Ended("tested", values=_into(self._step.into, per_volt), readings={"resistance": (value,)})


class IdentifyRun(_Inquiry):
    phase = "identify"
    needs_rest = False

    def __init__(self, step: Identify) -> None:
        super().__init__()
        self._step = step

    def request(self, view: View) -> Request:
        return ReadCodes()

    def answered(self, value: Any, view: View) -> Ended:
        """`value`: the codes of label, BMS and start; a source that the station lacks is None."""
        label, battery, expected = value
        for source, code in (("label", label), ("BMS", battery)):
            if code and code != expected:
                reason = f"the {source} says {code}, the run was started for {expected}"
                return Ended(reason, verdict=Verdict.FAIL, values=_into(self._step.into, 0.0))
        unread = label is battery is None
        silent = [name for name, code in (("label", label), ("BMS", battery)) if code == "" or unread]
        traceable = 0.0 if silent else 1.0
        reason = f"no code from {' and '.join(silent)}" if silent else "codes agree"
        return Ended(reason, values=_into(self._step.into, traceable), readings={"traceable": (traceable,)})


class PromptRun(_Inquiry):
    phase = "wait for an answer"

    def __init__(self, step: Prompt) -> None:
        super().__init__()
        self._step = step

    def request(self, view: View) -> Request:
        choices = tuple((str(number), text) for number, text in enumerate(self._step.choices, 1))
        return Ask(self._step.answer, self._step.text, choices)

    def answered(self, value: Any, view: View) -> Ended:
        number = float(value)
        refused = self._step.answer == "confirm" and not value
        reason = "refused" if refused else "confirmed" if self._step.answer == "confirm" else f"answered {number:g}"
        verdict = Verdict.FAIL if refused else Verdict.PASS
        return Ended(reason, verdict=verdict, values=_into(self._step.into, number), readings={"answer": (number,)})


class InspectRun(_Inquiry):
    phase = "wait for the inspection"

    def __init__(self, step: Inspect) -> None:
        super().__init__()
        self._step = step

    def request(self, view: View) -> Request:
        items = self._step.items
        return Ask("inspect", items[0].text, tuple((item.name, item.text) for item in items))

    def answered(self, value: Any, view: View) -> Ended:
        bad = [item.name for item in self._step.items if not value.get(item.name)]
        reason = f"bad: {', '.join(bad)}" if bad else "all good"
        readings = {item.name: (float(bool(value.get(item.name))),) for item in self._step.items}
        verdict = Verdict.FAIL if bad else Verdict.PASS
        return Ended(reason, verdict=verdict, values=_into(self._step.into, float(len(bad))), readings=readings)


class SetTemperatureRun(_Inquiry):
    phase = "soak"

    def __init__(self, step: SetTemperature) -> None:
        super().__init__()
        self._step = step
        self._since: float | None = None
        self._set = False

    def request(self, view: View) -> Request:
        return SetChamber(self._step.temperature)

    def answered(self, value: Any, view: View) -> Ended:
        raise AssertionError("its end is judged by temperatures")

    def update(self, view: View) -> Reaction:
        if not self._set:
            if self._asked and view.answer is not None and not view.answer.error:
                self._set = True
            else:
                return super().update(view)
        if not all(self._near(view, name) for name in self._watched()):
            self._since = None
            return None
        if self._since is None:
            self._since = view.step_time
        return Ended("soaked") if view.step_time - self._since >= self._step.soak else None

    def _watched(self) -> tuple[str, ...]:
        battery, chamber = ("temperature_min", "temperature_max"), ("chamber_temperature",)
        return {"battery": battery, "chamber": chamber, "both": battery + chamber}[self._step.of]

    def _near(self, view: View, name: str) -> bool:
        value = view.sample.good(name)
        return value is not None and abs(value - self._step.temperature) <= self._step.tolerance


class SetPointRun(_Inquiry):
    """`soc` is known at once; the chamber's set point is a request."""

    phase = "set"
    needs_rest = False

    def __init__(self, step: SetPoint) -> None:
        super().__init__()
        self._step = step

    def start(self, view: View) -> Reaction:
        if self._step.soc is not None:
            view.context.know_soc(self._step.soc, view.sample.counters)
        return Ended("set") if self._step.chamber is None else super().start(view)

    def request(self, view: View) -> Request:
        assert self._step.chamber is not None
        return SetChamber(self._step.chamber)

    def answered(self, value: Any, view: View) -> Ended:
        return Ended("set")


class MeasureRun(_Inquiry):
    phase = "evaluate"
    needs_rest = False

    def __init__(self, step: Measure, dimensions: Mapping[str, str]) -> None:
        super().__init__()
        self._step, self._dimensions = step, dimensions

    def request(self, view: View) -> Request:
        return WorkOut(tuple(self._step.measurements))

    def answered(self, value: Any, view: View) -> Ended:
        for name in self._step.measurements:
            measured = value.get(name)
            factor = coherent(self._dimensions.get(name, "number"))
            view.context.measured[name] = None if measured is None else measured * factor
        missing = [name for name in self._step.measurements if value.get(name) is None]
        return Ended(f"not measured: {', '.join(missing)}" if missing else "measured")


class GradeRun(_Inquiry):
    phase = "grade"
    needs_rest = False

    def __init__(self, step: GradeNow) -> None:
        super().__init__()

    def request(self, view: View) -> Request:
        return Provisional()

    def answered(self, value: Any, view: View) -> Ended:
        grade, certain = value
        view.context.grade_certain = bool(certain)
        return Ended(f"grade {grade or 'none'}, {'certain' if certain else 'not certain'}")


class PublishRun(_Inquiry):
    phase = "publish"
    needs_rest = False

    def __init__(self, step: Publish, dimensions: Mapping[str, str]) -> None:
        super().__init__()
        self._step, self._dimensions = step, dimensions

    def request(self, view: View) -> Request:
        values: dict[str, tuple[float | None, str]] = {}
        for name in self._step.values:
            unit, factor = SHOWN[self._dimensions[name]]
            value = named(view.context, self._dimensions, name)
            values[name] = (None if value is None else value * factor, unit)
        return Tell(self._step.event, values)

    def answered(self, value: Any, view: View) -> Ended:
        return Ended("told")


class PythonRun(_Inquiry):
    phase = "compute"
    needs_rest = False

    def __init__(self, step: Python) -> None:
        super().__init__()
        self._step = step

    def request(self, view: View) -> Request:
        given = {name: Evaluation(formula).now(view) for name, formula in self._step.arguments.items()}
        return CallFunction(self._step.function, {k: None if v is None else float(v) for k, v in given.items()})

    def answered(self, value: Any, view: View) -> Ended:
        values: dict[str, float | None] = {}
        for name, unit in self._step.into.items():
            found = value.get(name)
            try:
                number = math.nan if found is None else float(found)
            except (TypeError, ValueError, OverflowError):
                return failed(Answer(error=f"{self._step.function}: {name} is no number", code="E-PYTHON-STEP"))
            factor = 1.0 if unit == "1" else parse_quantity(f"1 {unit}").value
            values[name] = number * factor if math.isfinite(number) else None
        return Ended("computed", values=values)


class ComputeRun(_Inquiry):
    phase = "compute"

    def __init__(self, step: Compute, dimensions: Mapping[str, str]) -> None:
        super().__init__()
        self._step, self._dimensions = step, dimensions

    def start(self, view: View) -> Reaction:
        value = Evaluation(self._step.value).now(view)
        if value is None:
            return Ended(f"{self._step.into} is unknown", values={self._step.into: None})
        inner = float(value) / coherent(self._dimensions.get(self._step.into, "number"))
        return Ended(f"{self._step.into} = {inner:.6g}", values={self._step.into: inner})


class CheckRun(_Inquiry):
    phase = "check"

    def __init__(self, step: Check) -> None:
        super().__init__()
        self._step = step

    def start(self, view: View) -> Reaction:
        met = Evaluation(self._step.that).now(view)
        if met is True:
            return Ended(self._step.that.text)
        word = "unknown" if met is None else "not so"
        verdict = Verdict.INCONCLUSIVE if met is None else Verdict.FAIL
        return Ended(f"{self._step.text.en}: {word}: {self._step.that.text}", verdict=verdict)
