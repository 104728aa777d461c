"""Measurements: the steps they name exist, are of the right kind, come in the right order, and keep what is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sequences.analysis.evaluation import MAX_ICA_RATE
from sequences.checks.setpoints import demands
from sequences.checks.subject import Subject, parts_of
from sequences.findings import Finding, finding, nearest
from sequences.flow import CapacityTest, Hppc, If, Parallel, Path, Repeat, While
from sequences.measurement import (
    Capacity,
    CapacityAtC3,
    CapacityFade,
    CertifiedEnergy,
    Degradation,
    Efficiency,
    Energy,
    FastSoh,
    IcaPeak,
    Measurement,
    PowerCapability,
    PulseAt,
    Slippage,
    StateOfHealth,
)
from sequences.step import (
    Acir,
    Check,
    Compute,
    Cr,
    Eis,
    GradeNow,
    Insulate,
    Measure,
    Ocv,
    Publish,
    Pulse,
    Record,
    Rest,
    SetPoint,
    SetTemperature,
    WaitUntil,
)

# multiples of the rated capacity per hour: faster, polarisation bends the curve, or smears its peaks
SLOW, SLOW_FOR_PEAKS = 0.1, MAX_ICA_RATE
SOC_TOLERANCE = 0.10  # how far a pulse may lie from the state of charge that is asked for
# steps that are over before there is a sample of them
INSTANT = (Check, Compute, GradeNow, Measure, Publish, SetPoint)
RESTING = (Rest, Ocv, Acir, Eis, Insulate, SetTemperature, WaitUntil)
_OF_KIND: dict[str, tuple[type, ...]] = {
    "test": (CapacityTest,),
    "pulse": (Pulse,),
    "rest": RESTING,
    "first": RESTING,
    "second": RESTING,
    "measured_in": (Acir,),
    "eis": (Eis,),
}
# pairs of keys of which the second step must come after the first
_ORDERED = (("after", "until"), ("first", "second"), ("charge", "discharge"), ("pulse", "charge"), ("charge", "rest"))
_COUNTED = (Capacity, StateOfHealth, CapacityFade, CapacityAtC3)


def check_measurements(subject: Subject) -> Iterator[Finding]:
    found = _Found(subject)
    for index, measurement in enumerate(subject.recipe.measurements):
        path: Path = ("measurements", index, "from")
        faults = list(found.named(measurement, path))
        yield from faults
        if not faults:  # what follows needs the steps that it names
            yield from found.ordered(measurement, path)
            yield from found.flowing(measurement, path)
            if isinstance(measurement.source, PulseAt):
                yield from found.pulse(measurement, measurement.source, path)
        yield from found.soc(measurement, path)


class _Found:
    """The steps that measurements may name, and where they stand."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._steps: dict[str, Any] = {}
        self._order: dict[str, int] = {}
        self._paths: dict[str, Path] = {}
        self._records: dict[str, Record | None] = {}
        self._holders: dict[str, Any] = {}  # the step as written, of a step that a standard's step is made of
        for place in subject.places:
            named = [*parts_of(place.step), *([place.step] if isinstance(place.step, CapacityTest) else [])]
            for part in named:
                self._steps[part.name], self._paths[part.name] = part, place.path
                self._order[part.name] = len(self._order)
                self._holders[part.name] = place.step
                self._records[part.name] = place.record
        self._written = {place.path: place.step for place in subject.places}
        self._counted = any(isinstance(m.source, _COUNTED) for m in subject.recipe.measurements)

    # ---- which steps

    def named(self, measurement: Measurement, path: Path) -> Iterator[Finding]:
        """Steps that do not exist or are of the wrong kind."""
        for key, name in measurement.source.steps.items():
            if name not in self._steps:
                text = (
                    f"{measurement.name}: there is no step {name!r} to measure",
                    f"{measurement.name}: 측정할 스텝 {name!r} 이(가) 없습니다",
                )
                yield finding("E-STEP-UNKNOWN", (*path, key), text, nearest(name, self._steps))
            elif not self._fits(key, self._steps[name], measurement.source):
                kind = self._steps[name].step
                text = (
                    f"{measurement.name}: {name!r} is a {kind} step, which does not fit `{key}`",
                    f"{measurement.name}: {name!r} 은(는) {kind} 스텝이므로 `{key}` 에 맞지 않습니다",
                )
                hint = f"name a step that fits `{key}`", f"`{key}` 에 맞는 스텝을 쓰십시오"
                yield finding("E-STEP-KIND", (*path, key), text, hint)

    def _fits(self, key: str, step: Any, source: Any) -> bool:
        if key in _OF_KIND:
            return isinstance(step, _OF_KIND[key])
        if isinstance(step, (CapacityTest, *INSTANT)):
            return False
        if isinstance(source, Efficiency | FastSoh | Slippage) and key in ("charge", "discharge"):
            return _flows(step, charging=key == "charge")
        if isinstance(source, Degradation | IcaPeak):
            return self._is_slow(step, SLOW if isinstance(source, Degradation) else SLOW_FOR_PEAKS)
        return True

    def _is_slow(self, step: Any, most: float) -> bool:
        """Whether current flows in it, and none that is known to be more than this rate."""
        currents = [demand.current for demand in demands(step)]
        if not currents or None in currents or isinstance(step, Pulse):
            return False
        dut = self._subject.dut
        rates = [
            c.value if c.per_rated_capacity else c.value / dut.rated_capacity if dut is not None else 0.0
            for c in currents
            if c is not None
        ]
        return max(rates) <= most * (1 + 1e-9)

    # ---- in which order

    def ordered(self, measurement: Measurement, path: Path) -> Iterator[Finding]:
        steps = measurement.source.steps
        for first, second in _ORDERED:
            if first not in steps or second not in steps:
                continue
            before, after = steps[first], steps[second]
            if self._order[before] >= self._order[after]:
                text = (
                    f"{measurement.name}: {after!r} does not come after {before!r}",
                    f"{measurement.name}: {after!r} 이(가) {before!r} 다음에 오지 않습니다",
                )
            elif self._exclude(self._paths[before], self._paths[after]):
                text = (
                    f"{measurement.name}: no run does both {before!r} and {after!r}",
                    f"{measurement.name}: {before!r} 와(과) {after!r} 은(는) 함께 실행되지 않습니다",
                )
            else:
                continue
            hint = "name steps that follow each other", "차례로 실행되는 스텝을 쓰십시오"
            yield finding("E-STEP-ORDER", (*path, second), text, hint)

    def _exclude(self, a: Path, b: Path) -> bool:
        """Whether two steps stand in both branches of an `if` that no loop repeats, or in two branches at once."""
        for length in range(1, min(len(a), len(b))):
            step = self._written.get(a[:length])
            if a[:length] != b[:length] or isinstance(step, Repeat | While):
                return False
            if isinstance(step, If) and a[length] != b[length]:
                return True
            if isinstance(step, Parallel) and a[length + 1] != b[length + 1]:
                return True
        return False

    def flowing(self, measurement: Measurement, path: Path) -> Iterator[Finding]:
        """What is counted between two steps is a discharge."""
        source = measurement.source
        if not isinstance(source, Capacity | StateOfHealth | CapacityFade | CapacityAtC3 | Energy | CertifiedEnergy):
            return
        first, last = self._order[source.after], self._order[source.until]
        between = [step for name, step in self._steps.items() if first < self._order[name] <= last]
        if first < last and not any(_flows(step, charging=False) for step in between):
            text = (
                f"{measurement.name}: nothing is discharged between {source.after!r} and {source.until!r}",
                f"{measurement.name}: {source.after!r} 와(과) {source.until!r} 사이에 방전이 없습니다",
            )
            hint = "name the step that ends the discharge", "방전을 끝내는 스텝을 쓰십시오"
            yield finding("E-STEP-KIND", (*path, "until"), text, hint)

    # ---- pulses and states of charge

    def pulse(self, measurement: Measurement, source: PulseAt, path: Path) -> Iterator[Finding]:
        step: Pulse = self._steps[source.pulse]
        name, count = measurement.name, len(step.pulses)
        if source.number > count:
            text = f"{name}: {source.pulse!r} has {count} pulses", f"{name}: {source.pulse!r} 의 펄스는 {count}개입니다"
            yield finding("E-PULSE-NUMBER", (*path, "number"), text, ("name one of them", "그중 하나를 쓰십시오"))
            return
        pulse = step.pulses[source.number - 1]
        if not 0.0 < source.at <= pulse.duration:
            text = (
                f"{name}: {source.at:g} s is outside the pulse of {pulse.duration:g} s",
                f"{name}: {source.at:g} s 은(는) {pulse.duration:g} s 펄스를 벗어납니다",
            )
            yield finding("E-PULSE-TIME", (*path, "at"), text, ("read within the pulse", "펄스 안에서 읽으십시오"))
        if isinstance(source, PowerCapability) and pulse.direction == "charge":
            text = (
                f"{name}: what a battery can give is read in a discharge, pulse {source.number} is a charge",
                f"{name}: 출력 능력은 방전 펄스에서 읽습니다. {source.number}번 펄스는 충전입니다",
            )
            yield finding("E-STEP-KIND", (*path, "pulse"), text, ("name a discharge", "방전 펄스를 쓰십시오"))
        record = self._records[source.pulse]
        if record is not None and record.every > step.sample and record.burst < source.at:
            text = (
                f"{name}: the record rule of {source.pulse!r} does not keep the sample {source.at:g} s into its pulse",
                f"{name}: {source.pulse!r} 의 기록 규칙이 펄스 {source.at:g} s 시점의 샘플을 남기지 않습니다",
            )
            hint = f"a burst of {source.at:g} s or longer", f"burst 를 {source.at:g} s 이상으로 하십시오"
            yield finding("E-RECORD-PULSE", (*path, "pulse"), text, hint)
        holder = self._holders[source.pulse]
        near = [soc for soc in getattr(holder, "soc", ()) if abs(soc - (source.soc or 0.0)) <= SOC_TOLERANCE]
        if isinstance(holder, Hppc) and source.soc is not None and not near:
            text = (
                f"{name}: {holder.name} makes no pulse near {source.soc:.0%}",
                f"{name}: {holder.name} 에는 {source.soc:.0%} 근처의 펄스가 없습니다",
            )
            hint = "name one of its states of charge", "그 SOC 중 하나를 쓰십시오"
            yield finding("E-SOC-RANGE", (*path, "soc"), text, hint)

    def soc(self, measurement: Measurement, path: Path) -> Iterator[Finding]:
        soc = getattr(measurement.source, "soc", None)
        if soc is None:
            return
        if soc > 1.0:
            text = (
                f"{measurement.name}: there is no state of charge above 100 %",
                f"{measurement.name}: SOC는 100 %를 넘을 수 없습니다",
            )
            yield finding("E-SOC-RANGE", (*path, "soc"), text, ("between 0 % and 100 %", "0 %와 100 % 사이로 하십시오"))
        if not self._counted:
            text = (
                f"{measurement.name}: a state of charge is counted with the capacity, which is not measured",
                f"{measurement.name}: SOC는 용량으로 계산하는데 용량을 측정하지 않습니다",
            )
            hint = "add a measurement of kind capacity", "kind: capacity 측정을 추가하십시오"
            yield finding("E-STEP-UNKNOWN", (*path, "soc"), text, hint)


def _flows(step: Any, *, charging: bool) -> bool:
    """Whether a step may let current flow in this direction."""
    if isinstance(step, Cr):
        return not charging
    return any(demand.charging == charging for demand in demands(step))
