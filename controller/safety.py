"""Limits and interlocks, judged on every sample before any step sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controller.sampler import Sampler
from sequences import Bound, Quality, Sample

BLIND_AFTER = 3.0  # s of line time that the newest good value of a watched signal may be older than its period
PLC_SILENT_AFTER = 3.0  # s of line time without a new PLC heartbeat
# limits whose signals are counted here, not measured; passing them ends a run but says nothing bad of the battery
COUNTED = ("throughput", "total_time")
# what a bound watches, where that is another signal of the sample
MEASURED_AS = {"charge_current": "current", "discharge_current": "current"}


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something passed its level. `trip` ends the run; `quarantine` says that the battery itself is to blame."""

    code: str
    message: str
    trip: bool
    quarantine: bool = False


class Safety:
    """Watches one run: armed before the contactors close, disarmed when its outputs are confirmed off."""

    def __init__(self, sampler: Sampler, own_periods: Mapping[str, float]) -> None:
        """own_periods: seconds, of those instruments that are read less often than every scan."""
        self._sampler, self._own_periods = sampler, own_periods
        self._bounds: list[Bound] = []
        self._passed_since: dict[tuple[str, bool], float] = {}
        self._reported: set[tuple[str, bool]] = set()
        self._raised: set[str] = set()
        self._last_good: dict[str, float] = {}
        self._beat: tuple[float, float] | None = None
        self._began: float | None = None  # None while it is not armed
        self._tolerated: frozenset[str] = frozenset()
        self._contactors_closed = False

    def arm(self, bounds: list[Bound], t: float, tolerated: frozenset[str] = frozenset(), elapsed: float = 0.0) -> None:
        """`tolerated` are faults of the BMS that do not end this run; `elapsed`, s, is what it has behind it."""
        self._tolerated = tolerated
        self._bounds, self._began, self._contactors_closed = bounds, t - elapsed, False
        self._passed_since.clear()
        self._reported.clear()
        self._raised.clear()
        measured = {MEASURED_AS.get(bound.signal, bound.signal) for bound in bounds} - set(COUNTED)
        self._last_good = dict.fromkeys(sorted(measured | {"ready", "current"}), t)
        self._beat = None

    def hold_to(self, bounds: list[Bound]) -> None:
        """From now on these levels of the same bounds; what is passed already goes on counting."""
        self._bounds = bounds

    def expect_contactors(self, *, closed: bool) -> None:
        """While they are to be closed, they must stay so, and the cycler sees the battery's voltage."""
        self._contactors_closed = closed

    def disarm(self) -> None:
        self._began = None

    def judge(self, sample: Sample) -> list[Alarm]:
        """New alarms of this sample; each is raised once until its cause is gone."""
        if self._began is None:
            return []
        conditions = [
            *self._chain(),
            *self._contactors(),
            *self._cycler(),
            *self._battery(),
            *self._heartbeat(sample),
            *self._blindness(sample),
        ]
        alarms = [alarm for alarm in conditions if alarm.code not in self._raised]
        self._raised = {alarm.code for alarm in conditions}
        for bound in self._bounds:
            if bound.signal == "voltage" and not self._contactors_closed:
                continue
            value = self._value(sample, bound.signal)
            alarms += self._bound(bound, value, sample.t)
        return alarms

    def _value(self, sample: Sample, signal: str) -> float | None:
        match signal:
            case "charge_current" | "discharge_current":
                current = sample.good("current")
                sign = 1.0 if signal == "charge_current" else -1.0
                return None if current is None else max(0.0, sign * current)
            case "throughput":
                return sample.counters.charged_ah + sample.counters.discharged_ah
            case "total_time":
                return sample.t - (self._began or sample.t)
            case _:
                return sample.good(signal)

    def _bound(self, bound: Bound, value: float | None, t: float) -> list[Alarm]:
        alarms = []
        for level, trip in ((bound.warn, False), (bound.trip, True)):
            key = (bound.name, trip)
            if value is None:
                continue  # neither passed nor cleared: blindness has its own deadline
            if not bound.passed(value, level):
                self._passed_since.pop(key, None)
                self._reported.discard(key)
                continue
            since = self._passed_since.setdefault(key, t)
            if t - since >= bound.delay and key not in self._reported:
                self._reported.add(key)
                word = "above" if bound.side > 0 else "below"
                message = f"{bound.name}: {value:.4g} {bound.unit} is {word} {level:.4g} {bound.unit}"
                code = "E-SAFETY-TRIP" if trip else "W-SAFETY-LIMIT"
                alarms.append(Alarm(code, message, trip, quarantine=trip and bound.signal not in COUNTED))
        return alarms

    def _chain(self) -> list[Alarm]:
        interlock = self._sampler.interlock
        if interlock is None or interlock.ready:
            return []
        return [Alarm("E-INTERLOCK", f"the interlock chain opened: {interlock.trip_cause or 'not ready'}", True)]

    def _contactors(self) -> list[Alarm]:
        interlock = self._sampler.interlock
        if not self._contactors_closed or interlock is None:
            return []
        if interlock.contactor_closed and interlock.contactors_agree:
            return []
        return [Alarm("E-CONTACTOR", "a contactor opened that should be closed", True)]

    def _battery(self) -> list[Alarm]:
        battery = self._sampler.battery
        faults = set(battery.faults) - self._tolerated if battery is not None else ()
        if not faults:
            return []
        return [Alarm("E-BMS-FAULT", f"the BMS reports {', '.join(sorted(faults))}", True, quarantine=True)]

    def _cycler(self) -> list[Alarm]:
        """An alarm of the cycler itself: it has switched off or lost contact, whatever the step believes."""
        cycler = self._sampler.cycler
        if cycler is None or not cycler.alarms:
            return []
        return [Alarm("E-CYCLER-ALARM", f"the cycler reports {', '.join(cycler.alarms)}", True)]

    def _heartbeat(self, sample: Sample) -> list[Alarm]:
        beat = sample.good("plc_beat")
        if beat is not None and (self._beat is None or self._beat[1] != beat):
            self._beat = (sample.t, beat)
        if self._beat is not None and sample.t - self._beat[0] > PLC_SILENT_AFTER:
            return [Alarm("E-PLC-SILENT", f"the PLC heartbeat stands still for {PLC_SILENT_AFTER:g} s", True)]
        return []

    def _blindness(self, sample: Sample) -> list[Alarm]:
        blind = []
        for signal, last in self._last_good.items():
            value = sample.values.get(signal)
            if value is not None and value.quality is Quality.GOOD:
                self._last_good[signal] = last = max(last, value.t)
            period = self._own_periods.get(value.source, 0.0) if value is not None else 0.0
            if sample.t - last > BLIND_AFTER + period:
                blind.append(signal)
        if not blind:
            return []
        return [Alarm("E-SAFETY-BLIND", f"no good value of {', '.join(blind)} for {BLIND_AFTER:g} s", True)]
