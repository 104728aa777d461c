"""How fast a data file's samples become results: a million of them, beside the least that numpy does with as many."""

from __future__ import annotations

from time import perf_counter

import numpy as np

from sequences.analysis import Battery, TimeSeries, evaluate, find_defects, find_segments
from tests.bench.child import Measured, Say, interleaved, measure
from tests.bench.table import Row, problem

SAMPLES = 1_000_000
WITHIN = 1.0  # s
CAPACITY = 60.0


def _series(samples: int) -> TimeSeries:
    """A cell at a sample a second: charged at C/3, pulsed and discharged in ten steps, again and again, with noise."""
    down = [np.repeat([-60.0, 0.0, -20.0, 0.0], [10, 600, 1050, 600])] * 10
    cycle = np.concatenate([np.zeros(1800), *down])
    cycle = np.concatenate((cycle, np.full(round(-cycle.sum() / 20), 20.0)))
    random = np.random.default_rng(1)
    current = np.resize(cycle, samples) + random.normal(0, 0.01, samples)
    charge = np.cumsum(current) / 3600 / CAPACITY
    soc = charge - charge.min()
    voltage = 3.3 + 0.8 * soc + 0.05 * np.tanh(20 * (soc - 0.5)) + 2e-3 * current + random.normal(0, 2e-4, samples)
    return TimeSeries(np.arange(samples, dtype=np.float64), voltage, current)


def analysed(samples: int) -> Measured:
    """Segments, defects, capacity, energy, efficiency, resistances, rests and peaks."""
    series = _series(samples)
    began = perf_counter()
    segments = find_segments(series)
    find_defects(segments)
    found = evaluate(segments, Battery(rated_capacity=CAPACITY))
    wall = perf_counter() - began
    peaks = sum(len(sweep.incremental.peaks) for sweep in found.sweeps if sweep.incremental is not None)
    assert "remainingCapacity" in found.results
    assert "coulombicEfficiency" in found.results
    return {"wall": wall, "pulses": len(found.pulses), "peaks": peaks}


def bare_numpy(samples: int) -> Measured:
    """The integrals of charge and energy, one sort for the resolution, one histogram of charge."""
    series = _series(samples)
    time, voltage, current = series.time, series.voltage, series.current
    began = perf_counter()
    np.trapezoid(current, time)
    np.trapezoid(current * voltage, time)
    np.sort(voltage)
    np.histogram(voltage, 1000, weights=current)
    return {"wall": perf_counter() - began}


def measured(say: Say) -> list[Row]:
    found = interleaved(
        {
            "analysis": lambda: measure("analysis", "analysed", samples=SAMPLES),
            "bare numpy": lambda: measure("analysis", "bare_numpy", samples=SAMPLES),
        },
        repeats=3,
        budget=20,
        say=say,
    )
    ours, numpy_alone = found.values()
    label, aim = "analysis of 1 M samples", f"at most {WITHIN:g} s"
    if row := problem(label, aim, ours, numpy_alone):
        return [row]
    counted = f"{ours['wall']:.2f} s; {ours['pulses']:.0f} pulses at 5 times, {ours['peaks']:.0f} peaks"
    beside = f"numpy: two integrals, a sort, a histogram {numpy_alone['wall']:.2f} s"
    return [Row(label, counted, beside, ours["wall"] / numpy_alone["wall"], aim, ours["wall"] <= WITHIN)]
