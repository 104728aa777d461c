"""Eight hours of a real evaluation at one sample a second, in virtual time, beside PyBaMM's solver alone.

What PyBaMM does is the cell's physics. What Evaline does is that for 96 cells, and five instruments in their own
protocols, safety, steps, and every sample durable in the journal.
"""

from __future__ import annotations

from tests.bench.child import Measured, Say, interleaved, measure
from tests.bench.stack import Steps, run_recipe
from tests.bench.table import Row, problem

DAY: Steps = [
    {"name": "charge", "step": "cccv", "current": "C/3", "cell_voltage": "4.20 V", "max_time": "6 h",
     "ends": ["current <= C/50"]},
    {"name": "rest_full", "step": "rest", "duration": "1 h"},
    {"name": "discharge", "step": "cc", "direction": "discharge", "current": "C/3", "cell_voltage": "2.70 V",
     "max_time": "5 h"},
    {"name": "rest_empty", "step": "rest", "duration": "1 h"},
]  # fmt: skip
AIM = "at most 2"


def day(on_trivial_instruments: bool) -> Measured:
    return run_recipe(DAY, on_trivial_instruments)


def measured(say: Say) -> list[Row]:
    found = interleaved(
        {
            "8 h on simulated instruments": lambda: measure("virtual_day", "day", on_trivial_instruments=False),
            "8 h on trivial instruments": lambda: measure("virtual_day", "day", on_trivial_instruments=True),
            "PyBaMM": lambda: measure("peers", "pybamm_day"),
        },
        repeats=3,
        budget=90,
        say=say,
    )
    whole, bare, peer = found.values()
    return [
        _row("8 h virtual, whole stack", whole, peer, f"; {whole.get('simulated', 0):.1f} s of it simulators"),
        _row("8 h virtual, trivial instruments", bare, peer, ""),
    ]


def _row(subject: str, ours: Measured, peer: Measured, note: str) -> Row:
    if row := problem(subject, AIM, ours, peer):
        return row
    ratio = (ours["wall_to_result"] / ours["hours"]) / (peer["wall"] / peer["hours"])
    evaline = (
        f"{ours['wall_to_result']:.2f} s (CPU {ours['cpu_to_result']:.2f} s{note}) for {ours['hours']:.2f} h,"
        f" {ours['samples']:.0f} samples"
    )
    beside = f"PyBaMM SPM build + first solve {peer['wall']:.3f} s for {peer['hours']:.2f} h"
    return Row(subject, evaline, beside, ratio, AIM, ratio <= 2)
