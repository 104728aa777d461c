"""How fast the simulated battery runs: 96 cells, asked once a simulated second, beside numpy and beside PyBaMM."""

from __future__ import annotations

from time import perf_counter

import numpy as np

from config.dut import shipped_dut_models
from config.simulation import SimulatedBattery
from simulators.pack import Pack
from simulators.world import Source, World
from tests.bench.child import Measured, Say, interleaved, measure
from tests.bench.table import Row, problem

CELLS = 96
AIM = 10_000  # simulated seconds a second
SOURCES = {
    "constant current": Source(450.0, 10.0, 10.0, 30e3, 30e3),
    "constant voltage": Source(370.0, 60.0, 60.0, 30e3, 30e3),
}


def simulated(seconds: int) -> Measured:
    """Simulated seconds a second, by the way the source regulates."""
    dut = shipped_dut_models()["nmc_96s_60ah"]
    rates = {}
    for name, source in SOURCES.items():
        now = [0.0]

        def line_time(now: list[float] = now) -> float:
            return now[0]

        pack = Pack.used(dut, SimulatedBattery(model=dut.id, code="PHE96-000001", soc=0.5), seed=1)
        world = World(pack, line_time)
        world.set_contactor(True)
        world.drive(source)
        began = perf_counter()
        for _ in range(seconds):
            now[0] += 1.0
            world.terminal()
        rates[name] = seconds / (perf_counter() - began)
    return rates


def bare_numpy(seconds: int) -> Measured:
    """The least a numpy model of as many cells can do: two RCs, an open-circuit curve from a table, their sum."""
    grid, curve = np.linspace(0, 1, 101), np.linspace(2.75, 4.2, 101)
    soc, ohms, capacity = np.full(CELLS, 0.5), np.full(CELLS, 1e-3), np.full(CELLS, 60.0 * 3600)
    fast, slow, current, total = np.zeros(CELLS), np.zeros(CELLS), 10.0, 0.0
    began = perf_counter()
    for _ in range(seconds):
        soc += current / capacity
        fast += (current * ohms - fast) * 0.1
        slow += (current * ohms - slow) * 0.01
        total += float((np.interp(soc, grid, curve) + fast + slow + current * ohms).sum())
    return {"rate": seconds / (perf_counter() - began), "total": total}


def measured(say: Say) -> list[Row]:
    found = interleaved(
        {
            "simulated battery": lambda: measure("battery", "simulated", seconds=10_000),
            "bare numpy": lambda: measure("battery", "bare_numpy", seconds=20_000),
            "PyBaMM": lambda: measure("peers", "pybamm_steps", count=500),
        },
        repeats=3,
        budget=20,
        say=say,
    )
    ours, numpy_loop, peer = found.values()
    return [_row(name, ours, numpy_loop, peer) for name in SOURCES]


def _row(name: str, ours: Measured, numpy_loop: Measured, peer: Measured) -> Row:
    label, aim = f"battery, {CELLS} cells, {name}", f"at least {AIM:,} s/s"
    if row := problem(label, aim, ours, numpy_loop):
        return row
    beside = f"numpy 2RC loop {numpy_loop['rate']:,.0f} s/s"
    beside += "; PyBaMM not installed" if "missing" in peer else f"; PyBaMM SPM, one cell {peer.get('rate', 0):,.0f}"
    return Row(label, f"{ours[name]:,.0f} s/s", beside, ours[name] / numpy_loop["rate"], aim, ours[name] >= AIM)
