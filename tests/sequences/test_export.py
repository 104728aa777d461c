"""Recipes for other tools: what is exported means the same there, and what cannot be is refused by name."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequences import FaultError, Recipe
from sequences.export import to_pybamm, to_unicycler
from sequences.flow import STEP_TYPES
from tests.independent import python_package
from tests.sequences.playing import call, cc, cccv, document, group, prompt, recipe_of, repeat, rest
from tests.sequences.reference_recipe import REFERENCE, OneCell

REFERENCE_TABLE = (
    Path(__file__).parents[2].parent / "shared/data/pybamm_reference/unicycler_cap_hppc_DFN_Chen2020_steps.json"
)
needs_reference = pytest.mark.skipif(
    not REFERENCE_TABLE.exists(), reason="the full-order reference table (shared/data/pybamm_reference) is not here"
)

# steps that can be said elsewhere; every other kind must be refused, those to come too
EXPORTED = {"rest", "cc", "cv", "cccv", "pulse", "repeat", "group", "call"}
EXAMPLES = [kind.model_config["json_schema_extra"]["examples"][0] for kind in STEP_TYPES]


@pytest.fixture(scope="module")
def unicycler() -> Any:
    return python_package("aurora_unicycler", "aurora-unicycler")


def protocol(package: Any, recipe: Recipe, **options: Any) -> Any:
    """The exported recipe through JSON, as the package reads it."""
    return package.CyclingProtocol.from_dict(json.loads(json.dumps(to_unicycler(recipe, **options))))


# ------------------------------------------------------------------------------------------- the 62-step recipe


def test_the_reference_recipe_validates_in_the_package_and_says_the_same_strings_there(unicycler: Any) -> None:
    read = protocol(unicycler, REFERENCE, capacity=5.0)
    assert read.sample.capacity_mAh == 5000
    assert read.safety.max_voltage_V == 4.25
    assert read.safety.min_current_mA == pytest.approx(-5500)
    strings = to_pybamm(REFERENCE)
    assert len(strings) == 62
    assert read.to_pybamm_experiment() == strings


@needs_reference
def test_its_strings_are_those_that_the_reference_was_made_with() -> None:
    table = json.loads(REFERENCE_TABLE.read_text(encoding="utf-8"))["steps"]
    assert to_pybamm(REFERENCE) == [step["step"] for step in table]


def test_pybamm_takes_the_strings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYBAMM_DISABLE_TELEMETRY", "true")
    pybamm = pytest.importorskip("pybamm", reason="PyBaMM is not installed: pip install -e '.[bench]'")
    experiment = pybamm.Experiment(to_pybamm(REFERENCE))
    assert len(experiment.steps) == 62
    currents = {round(step.value, 6) for step in experiment.steps if step.__class__.__name__ == "CRate"}
    assert currents == {round(rate, 6) for rate in (-1 / 3, 1 / 3, 0.5, 1.0, -0.75)}


@needs_reference
def test_the_reference_recipe_on_our_cell_agrees_with_the_full_order_model() -> None:
    """End-of-step voltage 5 mV rms, capacity 0.2 %, 10 s resistance 5 %."""
    table = json.loads(REFERENCE_TABLE.read_text(encoding="utf-8"))
    cell = OneCell(REFERENCE, table["initial_soc"])
    finish = cell.run()
    theirs = table["steps"]
    assert (str(finish.verdict), len(cell.steps)) == ("pass", len(theirs))

    off = [ours.voltage - reference["v_end"] for ours, reference in zip(cell.steps, theirs, strict=True)]
    assert math.sqrt(sum(volts**2 for volts in off) / len(off)) < 5e-3

    full = [k for k, done in enumerate(cell.steps) if done.record.name == "discharge"]
    assert len(full) == 2
    for k in full:
        assert -cell.steps[k].record.charge == pytest.approx(theirs[k]["dq_Ah"], rel=2e-3)

    pulses = [k for k, done in enumerate(cell.steps) if done.record.name == "out"]
    assert len(pulses) == 8
    for k in pulses:
        ours = cell.steps[k - 1].voltage - cell.steps[k].voltage
        assert ours == pytest.approx(theirs[k - 1]["v_end"] - theirs[k]["v_end"], rel=0.05)


# ------------------------------------------------------------------------------------------------ what is exported


def test_currents_and_voltages_are_those_of_the_whole_battery() -> None:
    recipe = recipe_of(cccv("charge", current="30 A", ends=["current <= 3 A"]))
    exported = to_unicycler(recipe, capacity=60.0, series_cells=96, sample="pack")
    assert exported["sample"] == {"name": "pack", "capacity_mAh": 60000.0}
    assert exported["method"] == [
        {"step": "constant_current", "id": "charge_cc", "current_mA": 30000.0, "until_time_s": 14400.0,
         "until_voltage_V": pytest.approx(403.2)},
        {"step": "constant_voltage", "id": "charge_cv", "voltage_V": pytest.approx(403.2), "until_time_s": 14400.0,
         "until_current_mA": 3000.0},
    ]  # fmt: skip


def test_a_cccv_step_is_a_current_and_a_held_voltage_and_a_pulse_its_currents_and_rests() -> None:
    pulse = {"direction": "discharge", "current": "1C", "duration": "10 s", "rest": "40 s"}
    train = {
        "step": "pulse", "name": "p", "pulses": [pulse, {**pulse, "direction": "charge", "current": "36 A"}],
        "cell_voltage_min": "2.7 V", "cell_voltage_max": "4.2 V",
    }  # fmt: skip
    assert to_pybamm(recipe_of(cccv(), train)) == [
        "Charge at 0.5C for 4 hours or until 4.2 V",
        "Hold at 4.2 V for 4 hours or until 0.1C",
        "Discharge at 1.0C for 10.0 seconds or until 2.7 V",
        "Rest for 40.0 seconds",
        "Charge at 36.0 A for 10.0 seconds or until 4.2 V",
        "Rest for 40.0 seconds",
    ]


def test_an_end_on_the_time_shortens_a_step() -> None:
    recipe = recipe_of(rest(duration="1 h", ends=["step_time >= 90 s"]), cc(ends=["step_time >= 1 min"]))
    assert to_pybamm(recipe) == ["Rest for 90.0 seconds", "Discharge at 0.5C for 1 minute or until 2.7 V"]


def test_a_called_recipe_is_written_out() -> None:
    recipe = recipe_of(call("inner", "other"), library={"other": document(rest(duration="7 s"))})
    assert to_pybamm(recipe) == ["Rest for 7.0 seconds"]


def steps_of(depth: int) -> st.SearchStrategy[list[Any]]:
    """Lists of steps that can be exported, loops inside loops."""
    seconds = st.integers(1, 9999).map(lambda n: f"{n} s")
    rests = st.builds(lambda time: rest(duration=time), seconds)
    currents = st.builds(
        lambda n, direction, time: cc(direction=direction, current=f"{n} A", max_time=time),
        st.integers(1, 90), st.sampled_from(["charge", "discharge"]), seconds,
    )  # fmt: skip
    plain = rests | currents | st.just(cccv())
    if depth == 0:
        return st.lists(plain, min_size=1, max_size=4)
    loops = st.builds(lambda times, inner: repeat("loop", times, *inner), st.integers(1, 4), steps_of(depth - 1))
    return st.lists(plain | loops, min_size=1, max_size=4)


def named(steps: list[Any], count: list[int]) -> list[Any]:
    """The same steps, each under a name of its own."""
    for step in steps:
        count[0] += 1
        step["name"] = f"s{count[0]}"
        named(step.get("steps", []), count)
    return steps


@given(steps_of(2))
def test_whatever_is_exported_is_unrolled_by_the_package_as_by_us(unicycler: Any, steps: list[Any]) -> None:
    recipe = recipe_of(*named(json.loads(json.dumps(steps)), [0]))
    read = protocol(unicycler, recipe, capacity=60.0)
    ours, theirs = to_pybamm(recipe), read.to_pybamm_experiment()
    assert [_quantities(text) for text in ours] == [_quantities(text) for text in theirs]


def _quantities(text: str) -> list[float | str]:
    """A string's words, with its currents in A: the package writes them in mA."""
    words: list[float | str] = []
    for word in text.split():
        if word == "mA":
            words[-1] = float(words[-1]) / 1e3
            word = "A"
        try:
            words.append(float(word))
        except ValueError:
            words.append(word)
    return words


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e["step"] not in EXPORTED], ids=lambda e: e["step"])
def test_every_other_kind_of_step_is_refused_by_name(example: Any) -> None:
    recipe = recipe_of(rest("before"), example)
    for export in (to_pybamm, to_unicycler):
        with pytest.raises(FaultError) as refused:
            export(recipe)
        assert refused.value.code == "E-EXPORT"
        assert refused.value.text.en.startswith(f"{example['name']} ({example['step']}) cannot be exported: ")
        assert "내보낼 수 없습니다" in refused.value.text.ko


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (cc(ends=["depth >= 20 %"]), "cc (cc) cannot be exported: its end 'depth >= 20 %' is not known there"),
        (cc(ends=[{"when": "step_time >= 5 s", "hold": "2 s"}]), "its end 'step_time >= 5 s', hold 2 s is not known"),
        (cc(ends=[{"when": "step_time >= 5 s", "then": "goto cc max 2"}]), "then goto cc max 2 is not known there"),
        (cc(ends=[{"when": "cell_min <= 3 V", "at": "5 s"}]), "its end 'cell_min <= 3 V', at 5 s is not known there"),
        (cc(ends=["step_time >= 5 s and soc <= 50 %"]), "'step_time >= 5 s and soc <= 50 %' is not known there"),
        (cc(ends=["not step_time >= 5 s"]), "'not step_time >= 5 s' is not known there"),
        (cccv(ends=["current <= C/10", "step_time >= 1 h"]), "its end 'step_time >= 1 h' is not known there"),
        (cccv(ends=["current <= C/10", "current <= C/20"]), "its end 'current <= C/20' is not known there"),
        (rest(ends=["cell_rate <= 1 mV/min"]), "its end 'cell_rate <= 1 mV/min' is not known there"),
        (rest(on_error="retry 2"), "rest (rest) cannot be exported: on_error: retry 2 is not known there"),
        (group("safe", rest(), last=[rest("after")]), "safe (group) cannot be exported"),
        (repeat("twice", 2, rest(), prompt("ask")), "ask (prompt) cannot be exported"),
        (
            {"step": "cv", "name": "hold", "cell_voltage": "4.2 V", "current": "C/3", "ends": ["current <= C/20"],
             "max_time": "1 h"},
            "hold (cv) cannot be exported: its limit of C/3 is not known there; begin with a cc step to its voltage",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused_and_never_left_out(step: Any, said: str) -> None:
    with pytest.raises(FaultError) as refused:
        to_pybamm(recipe_of(step))
    assert refused.value.code == "E-EXPORT"
    assert said in str(refused.value)


def test_a_c_rate_needs_a_capacity_in_unicycler() -> None:
    with pytest.raises(FaultError, match=r"0\.6C is a C-rate: the export needs a capacity") as refused:
        to_unicycler(recipe_of(rest()))
    assert refused.value.code == "E-EXPORT"
