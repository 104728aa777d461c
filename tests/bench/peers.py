"""What others take for the same: OpenHTF a phase, PyBaMM a day."""

from __future__ import annotations

import logging
from time import perf_counter, process_time
from typing import Any

from tests.bench.child import Measured


def openhtf_phases(count: int) -> Measured:
    """Seconds a phase with one measurement between limits; nothing is kept on disk."""
    import openhtf

    logging.disable(logging.CRITICAL)

    def phase_of(number: int) -> Any:
        @openhtf.PhaseOptions(name=f"phase_{number}", timeout_s=10)
        @openhtf.measures(openhtf.Measurement("voltage").in_range(0, 5))
        def phase(test: Any) -> None:
            test.measurements.voltage = 3.7

        return phase

    def run(phases: int) -> tuple[float, float, bool]:
        test = openhtf.Test(*(phase_of(number) for number in range(phases)))
        test.configure(default_dut_id="battery")
        began, cpu = perf_counter(), process_time()
        passed = test.execute()
        return perf_counter() - began, process_time() - cpu, passed

    run(10)
    wall, cpu, passed = run(count)
    assert passed, "OpenHTF's test did not pass"
    return {"wall": wall / count, "cpu": cpu / count}


def pybamm_day() -> Measured:
    """Seconds to build and first solve a single particle model through the profile of the virtual day."""
    import pybamm

    pybamm.set_logging_level("ERROR")
    began, cpu = perf_counter(), process_time()
    steps = (
        "Charge at C/3 until 4.2 V",
        "Hold at 4.2 V until C/50",
        "Rest for 1 hour",
        "Discharge at C/3 until 2.7 V",
        "Rest for 1 hour",
    )
    experiment = pybamm.Experiment([steps], period="1 second")
    values = pybamm.ParameterValues("Chen2020")
    simulation = pybamm.Simulation(pybamm.lithium_ion.SPM(), parameter_values=values, experiment=experiment)
    solution = simulation.solve(initial_soc=0.02)
    wall, cpu = perf_counter() - began, process_time() - cpu
    times = solution["Time [h]"].entries
    return {"wall": wall, "cpu": cpu, "hours": float(times[-1]), "points": len(times)}


def pybamm_steps(count: int) -> Measured:
    """Simulated seconds a second for one cell of PyBaMM's SPM, stepped one second at a time as a cycler would."""
    import pybamm

    pybamm.set_logging_level("ERROR")
    simulation = pybamm.Simulation(
        pybamm.lithium_ion.SPM(), parameter_values=pybamm.ParameterValues("Chen2020"), solver=pybamm.IDAKLUSolver()
    )
    simulation.step(1.0, save=False)
    began = perf_counter()
    for _ in range(count):
        simulation.step(1.0, save=False)
    return {"rate": count / (perf_counter() - began)}
