"""Every recipe of the library on every battery it is for, in order and with every defect: run to its end, each.

`make matrix`. Leaves a row for each in var/matrix.tsv: recipe, battery, condition, verdict, grade, hours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.library.batteries import (
    CONDITIONS,
    GOOD,
    HIGH_JOINT,
    ISOLATION_FAULT,
    JOINT,
    LFP_PACK,
    MODELS,
    NMC_MODULE,
    NMC_PACK,
    NO_TRACEABILITY,
    SHORT,
    SOFT_SHORT,
    WEAK,
    WEAK_CELL,
    Condition,
)
from tests.library.running import Ran, run
from tests.library.test_recipes import FOR

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(3600)]

TABLE = Path("var") / "matrix.tsv"
ORDER = ["A", "B", "C", "D", "Q"]
BATTERIES = (NMC_PACK, LFP_PACK, NMC_MODULE)
# a day in the store instead of days, one cycle where the store tells the leaking cell: the result is only less sure
SHORTER: dict[str, dict[str, Any]] = {
    "module_sort": {"agree": 1, "store": "24 h"},
    "ess_acceptance": {"cycles": 1},
}
CAPACITY = ("full_capacity", "lfp_capacity", "fast_pulse", "module_sort", "ess_acceptance")
ALL = [
    pytest.param(recipe, model, condition, id=f"{recipe}-{MODELS[model].chemistry}-{MODELS[model].kind}-{condition}")
    for recipe, models in FOR.items()
    for model in models
    if model in BATTERIES
    for condition in CONDITIONS
]


@pytest.mark.parametrize(("recipe", "model", "condition"), ALL)
def test_it_runs_to_its_end(recipe: str, model: str, condition: Condition) -> None:
    if recipe != "incoming" and condition is ISOLATION_FAULT:
        refused = run(recipe, model, condition)
        note(recipe, model, condition, "refused", " ".join(refused.refused), "")
        assert {"E-BMS-FAULT", "E-INSULATION"} <= set(refused.refused)
        return
    rate = 1 / 2 if recipe == "quick_capacity_dcir" else 1 / 3
    # a run of minutes is foreseen to the second: it is looked at as often as on a real line
    period = 1.0 if recipe == "incoming" else None
    ran = run(recipe, model, condition, rate=rate, scan_period=period, **SHORTER.get(recipe, {}))
    note(recipe, model, condition, ran.result["verdict"], str(ran.grade), f"{ran.hours:.2f}")
    assert ran.result["verdict"] in ("pass", "marginal", "fail"), ran.result["outcome"]
    assert not ran.result["outcome"]["code"] or ran.result["verdict"] == "fail"
    assert all(step["confirmed"] for step in ran.result["outputs_off"])
    assert ran.truth["hot_openings"] == 0
    judge(recipe, condition, ran)


def judge(recipe: str, condition: Condition, ran: Ran) -> None:
    """What this recipe must say of such a battery."""
    if condition is GOOD:
        assert abs(ran.foreseen / 3600 / ran.hours - 1) <= 0.10
        assert ran.result["verdict"] != "fail"
        if recipe not in ("incoming", "recycle_discharge"):
            assert ran.grade in ("A", "B")
    if condition is ISOLATION_FAULT:
        assert ran.grade == "Q"
    if condition is NO_TRACEABILITY and recipe != "incoming":
        assert ran.grade is not None
        assert ORDER.index(ran.grade) >= ORDER.index("D")
    if recipe in (*CAPACITY, "quick_capacity_dcir"):
        # the truth is told after the run, when a leaking cell has fallen further behind
        assert ran.value("stateOfHealth") == pytest.approx(
            100 * ran.truth["soh"], abs=3 if condition is SOFT_SHORT else 1.5
        )
        if condition is WEAK_CELL:
            assert ran.value("weakestCell") == WEAK + 1
        if condition is HIGH_JOINT:
            assert ran.detail("cellResistanceRatio")["cell"] == JOINT + 1
        if condition is SOFT_SHORT and "selfDischarge" in ran.result["measurements"]:
            assert ran.detail("selfDischarge")["cell"] == SHORT + 1
            assert ran.grade == "D"


def note(recipe: str, model: str, condition: Condition, *what: str) -> None:
    TABLE.parent.mkdir(exist_ok=True)
    with TABLE.open("a", encoding="utf-8") as table:
        table.write("\t".join([recipe, model, str(condition), *what]) + "\n")
