"""Recipes for other tools: the protocol of aurora-unicycler, and the experiment strings of PyBaMM.

Both know constant currents, held voltages, rests and loops; what a recipe says with these is exported, and a step, an
end or a route that they cannot say is refused by name, never left out. Where `max_time` gives up here, they go on with
the next step. Safety limits beyond voltage and current, records and measurements have no place there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sequences.condition import End
from sequences.expression import Comparison, Operation
from sequences.flow import Call, Group, Repeat
from sequences.quantity import Current
from sequences.recipe import Recipe
from sequences.step import Cc, CcCv, Cv, Pulse, Rest
from sequences.text import FaultError

RECORD_EVERY = 10.0  # s; a unicycler protocol must name a period


@dataclass(frozen=True, slots=True)
class Part:
    """A current until a cell's voltage (V), a cell's voltage held until a current, or a rest; for `seconds` at most."""

    name: str
    seconds: float
    current: Current | None = None
    charging: bool = True
    until_voltage: float = 0.0
    hold_voltage: float | None = None
    until_current: Current | None = None


@dataclass(frozen=True, slots=True)
class Loop:
    """Parts that are done `times` times in total."""

    name: str
    times: int
    parts: tuple[Part | Loop, ...]


def parts_of(recipe: Recipe) -> tuple[Part | Loop, ...]:
    """The recipe in pieces that the targets know; raises FaultError (E-EXPORT) naming what they do not."""
    return _parts(recipe.steps)


def to_unicycler(
    recipe: Recipe, *, capacity: float | None = None, series_cells: int = 1, sample: str = "$NAME"
) -> dict[str, Any]:
    """The recipe as a protocol of aurora-unicycler 0.4, ready for JSON, for a battery of so many cells and Ah.

    Raises FaultError (E-EXPORT), for C-rates without a capacity too.
    """
    safety, parts = recipe.safety, parts_of(recipe)

    def milliamperes(current: Current) -> float:
        if capacity is None and current.per_rated_capacity:
            raise FaultError(
                f"{current.text} is a C-rate: the export needs a capacity",
                f"{current.text} 은(는) C-레이트입니다: 용량을 지정하십시오",
                "E-EXPORT",
            )
        return current.amperes(capacity or 0.0) * 1e3

    limits = {
        "max_voltage_V": safety.voltage_max.trip * series_cells,
        "min_voltage_V": safety.voltage_min.trip * series_cells,
        "max_current_mA": milliamperes(safety.charge_current.trip),
        "min_current_mA": -milliamperes(safety.discharge_current.trip),
        "delay_s": float(safety.voltage_max.delay),
    }
    return {
        "sample": {"name": sample, "capacity_mAh": None if capacity is None else capacity * 1e3},
        "record": {"time_s": RECORD_EVERY},
        "safety": limits,
        "method": list(_method(parts, series_cells)),
    }


def to_pybamm(recipe: Recipe) -> list[str]:
    """The recipe of one cell as strings for `pybamm.Experiment`, loops written out; raises FaultError (E-EXPORT).

    A C-rate is one of the nominal capacity of the parameters that PyBaMM runs it with.
    """
    return [_sentence(part) for part in _unrolled(parts_of(recipe))]


# --------------------------------------------------------------------------------------- what a recipe says of it


def _refused(step: Any, en: str, ko: str) -> FaultError:
    name = f"{step.name} ({step.step})"
    return FaultError(f"{name} cannot be exported: {en}", f"{name} 을(를) 내보낼 수 없습니다: {ko}", "E-EXPORT")


def _parts(steps: list[Any]) -> tuple[Part | Loop, ...]:
    found: list[Part | Loop] = []
    for step in steps:
        _refuse_routes(step)
        found.extend(_parts_of_step(step, found[-1] if found else None))
    return tuple(found)


def _parts_of_step(step: Any, before: Part | Loop | None) -> Iterator[Part | Loop]:
    charging = getattr(step, "direction", "") == "charge"
    match step:
        case Rest():
            yield Part(step.name, _shortened(step, step.duration))
        case Cc():
            seconds = _shortened(step, step.max_time)
            yield Part(step.name, seconds, step.current, charging, float(step.cell_voltage))
        case CcCv():
            # one clock here: there each of the two may last as long as both
            yield Part(f"{step.name}_cc", step.max_time, step.current, charging, float(step.cell_voltage))
            yield _held(step, f"{step.name}_cv")
        case Cv():
            at_voltage = isinstance(before, Part) and before.until_voltage == step.cell_voltage
            if not at_voltage or before.current != step.current:  # type: ignore[union-attr]
                raise _refused(
                    step,
                    f"its limit of {step.current.text} is not known there; begin with a cc step to its voltage",
                    f"전류 제한 {step.current.text} 을(를) 표현할 수 없습니다. 같은 전압까지의 cc 스텝 다음에 두십시오",
                )
            yield _held(step, step.name)
        case Pulse():
            for number, pulse in enumerate(step.pulses, 1):
                into = pulse.direction == "charge"
                bound = float(step.cell_voltage_max if into else step.cell_voltage_min)
                yield Part(f"{step.name}_{number}", pulse.duration, pulse.current, into, bound)
                yield Part(f"{step.name}_{number}_rest", pulse.rest)
        case Repeat():
            yield Loop(step.name, step.times, _parts(step.steps))
        case Group() if not step.last:
            yield from _parts([*step.setup, *step.steps])
        case Call():
            yield from _parts(step.body.steps)
        case _:
            raise _refused(step, "there is nothing like it there", "대응하는 것이 없습니다")


def _refuse_routes(step: Any) -> None:
    usual = {"on_fail": "fail", "on_error": "abort"}
    for key, route in ((key, getattr(step, key).text) for key in usual):
        if route != usual[key]:
            raise _refused(step, f"{key}: {route} is not known there", f"{key}: {route} 을(를) 표현할 수 없습니다")


def _shortened(step: Any, longest: float) -> float:
    """What ends on `step_time` leave of a time; no other end is known there."""
    for comparison, end in _comparisons(step):
        if comparison.name != "step_time" or not comparison.rising:
            raise _unknown(step, end)
        longest = min(longest, comparison.value)
    return float(longest)


def _held(step: Cv | CcCv, name: str) -> Part:
    until: Current | None = None
    for comparison, end in _comparisons(step):
        if comparison.name != "current" or comparison.rising or until is not None:
            raise _unknown(step, end)
        until = Current(comparison.value, comparison.per_rated_capacity)
    return Part(name, float(step.max_time), hold_voltage=float(step.cell_voltage), until_current=until)


def _comparisons(step: Any) -> Iterator[tuple[Comparison, End]]:
    """Its ends, each of them one comparison and nothing else."""
    for end in step.ends:
        root, found = end.when.root, end.when.comparisons
        plain = len(found) == 1 and isinstance(root, Operation) and root.sign == found[0].operator
        qualified = end.hold or end.at is not None or end.before is not None or end.after is not None
        if not plain or qualified or end.then.text != "next":
            raise _unknown(step, end)
        yield found[0], end


def _unknown(step: Any, end: End) -> FaultError:
    given = [f"{key} {value.text}" for key in ("hold", "at", "before", "after") if (value := getattr(end, key))]
    said = ", ".join([repr(end.when.text), *given, *([] if end.then.text == "next" else [f"then {end.then.text}"])])
    return _refused(step, f"its end {said} is not known there", f"종료 조건 {said} 을(를) 표현할 수 없습니다")


# ------------------------------------------------------------------------------------------- as the targets say it


def _method(parts: tuple[Part | Loop, ...], cells: int) -> Iterator[dict[str, Any]]:
    for part in parts:
        if isinstance(part, Loop):
            yield {"step": "tag", "tag": part.name}
            yield from _method(part.parts, cells)
            yield {"step": "loop", "loop_to": part.name, "cycle_count": part.times}
        elif part.current is not None:
            yield {
                "step": "constant_current",
                "id": part.name,
                **_unicycler_current(part.current, "rate_C", "current_mA", 1 if part.charging else -1),
                "until_time_s": part.seconds,
                "until_voltage_V": part.until_voltage * cells,
            }
        elif part.hold_voltage is not None:
            until = part.until_current
            yield {
                "step": "constant_voltage",
                "id": part.name,
                "voltage_V": part.hold_voltage * cells,
                "until_time_s": part.seconds,
                **({} if until is None else _unicycler_current(until, "until_rate_C", "until_current_mA", 1)),
            }
        else:
            yield {"step": "open_circuit_voltage", "id": part.name, "until_time_s": part.seconds}


def _unicycler_current(current: Current, rate: str, milliamperes: str, sign: int) -> dict[str, float]:
    if current.per_rated_capacity:
        return {rate: sign * current.value}
    return {milliamperes: sign * current.value * 1e3}


def _unrolled(parts: tuple[Part | Loop, ...]) -> Iterator[Part]:
    for part in parts:
        if isinstance(part, Loop):
            for _ in range(part.times):
                yield from _unrolled(part.parts)
        else:
            yield part


def _sentence(part: Part) -> str:
    if part.current is not None:
        verb = "Charge" if part.charging else "Discharge"
        return f"{verb} at {_amperes(part.current)} {_time(part.seconds)} or until {part.until_voltage} V"
    if part.hold_voltage is not None:
        said = f"Hold at {part.hold_voltage} V {_time(part.seconds)}"
        return said if part.until_current is None else f"{said} or until {_amperes(part.until_current)}"
    return f"Rest for {part.seconds} seconds"


def _amperes(current: Current) -> str:
    return f"{current.value}C" if current.per_rated_capacity else f"{current.value} A"


def _time(seconds: float) -> str:
    for unit, name in ((3600, "hour"), (60, "minute")):
        if seconds % unit == 0:
            count = int(seconds // unit)
            return f"for {count} {name}{'' if count == 1 else 's'}"
    return f"for {seconds} seconds"
