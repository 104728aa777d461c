"""Every recipe of the library on the cyclers of two makers, by configuration alone.

EA's PSB 10000, on the bench line, runs each recipe to its end in test_runs.py. Here Delta's SM15K does, on a line file
that differs in its instruments: no recipe, battery or line of code knows whose cycler it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config import load_line
from controller.run import dut_of
from controller.start import rated_limits
from sequences.check import check
from tests.library.batteries import CODES, LFP_PACK, MODELS, NMC_MODULE, NMC_PACK, battery
from tests.library.running import run
from tests.library.test_recipes import FOR, PAIRS, loaded
from tests.virtual import LINES, Virtual, bench_line, in_virtual_time

MAKERS = {"ea_psb10000": "EA", "ea_bt20000": "EA", "delta_sm15k": "Delta Elektronika"}
# what makes a run longer to simulate and talks to no cycler
WITHOUT = ("spectrum_meter", "insulation_tester", "chamber", "code_reader")

# one capacity cycle and half a day in the store: what differs is only how sure the result is
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "incoming": (NMC_PACK, {}),
    "quick_capacity_dcir": (NMC_MODULE, {}),
    "full_capacity": (NMC_MODULE, {"agree": 1}),
    "recycle_discharge": (NMC_MODULE, {}),
    "lfp_capacity": (LFP_PACK, {"agree": 1}),
    "fast_pulse": (NMC_MODULE, {"agree": 1}),
    "module_sort": (NMC_MODULE, {"agree": 1, "store": "12 h"}),
    "ess_acceptance": (NMC_MODULE, {"cycles": 1, "store": "12 h"}),
}
# half a minute of processor time each
LONG = ("full_capacity", "lfp_capacity", "fast_pulse", "module_sort", "ess_acceptance")
CASES = [pytest.param(recipe, marks=[pytest.mark.matrix] if recipe in LONG else []) for recipe in RUNS]


def test_no_recipe_is_left_out() -> None:
    assert RUNS.keys() == FOR.keys()


@pytest.mark.parametrize(("recipe", "model"), PAIRS)
def test_shipped_lines_of_two_makers_have_what_it_needs(recipe: str, model: str) -> None:
    fitting = set()
    for file in LINES.glob("*.yaml"):
        station = load_line(file).stations["st01"]
        if not check(loaded(recipe, model), dut_of(MODELS[model]), rated_limits(station)):
            fitting.add(MAKERS[station.instruments["cycler"].driver])
    assert fitting == {"EA", "Delta Elektronika"}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("recipe", CASES)
def test_it_runs_to_its_end_on_the_other_makers_cycler(recipe: str) -> None:
    """Its watchdog goes to 10 s, so two scans are 5 s apart at most."""
    model, parameters = RUNS[recipe]
    rate = 1 / 2 if recipe == "quick_capacity_dcir" else 1 / 3
    ran = run(recipe, model, scan_period=5.0, file="demo_delta.yaml", without=WITHOUT, rate=rate, **parameters)
    assert ran.result["verdict"] in ("pass", "marginal"), ran.result["outcome"]
    assert ran.result["instruments"]["cycler"]["driver"] == "delta_sm15k"
    assert ran.result["alarms"] == []
    assert all(step["confirmed"] for step in ran.result["outputs_off"])
    assert ran.truth["hot_openings"] == 0
    assert not ran.truth["output_on"]
    if "stateOfHealth" in ran.result["measurements"]:
        assert ran.value("stateOfHealth") == pytest.approx(100 * ran.truth["soh"], abs=1.0)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("watchdog_trip", "E-CYCLER-ALARM"),
        ("silent", "E-SAFETY-BLIND"),
        ("nan", "E-SAFETY-BLIND"),
        ("reboot", "E-SAFETY-BLIND"),
    ],
)
def test_what_goes_wrong_with_it_ends_with_the_current_off(kind: str, code: str, tmp_path: Path) -> None:
    async def work(virtual: Virtual) -> tuple[dict[str, Any], dict[str, Any]]:
        started = await virtual.start("quick_capacity_dcir", CODES[NMC_MODULE])
        await virtual.until(lambda: abs(virtual.simulated.world.current) > 20)
        virtual.simulated.set_fault("cycler", kind)
        return await virtual.result(started), virtual.simulated.truth()

    line = bench_line(tmp_path, battery(NMC_MODULE), without=WITHOUT, file="demo_delta.yaml")
    result, truth = in_virtual_time(line, work)
    assert (result["verdict"], result["outcome"]["code"]) == ("aborted", code)
    assert truth["current"] == 0
    assert not truth["contactor_closed"]
