"""A battery taken apart: its cells on their own are the cells it had."""

from __future__ import annotations

import numpy as np
import pytest

from simulators.single_cells import bench_of, single_cell
from tests.simulators.live_world import DISCHARGE_30A, Line, connected, line


@pytest.fixture
def module() -> Line:
    return line(12, soft_short={"index": 3, "ohm": 50}, weak_cell={"index": 5, "extra_lli": 0.1})


def test_each_is_at_its_own_voltage_and_state_of_charge(module: Line) -> None:
    pack = module.world.pack
    cells = [single_cell(pack, index) for index in range(12)]
    assert [cell.soc for cell in cells] == pytest.approx(pack.cell_socs().tolist())
    assert [float(cell.cells.voltages[0]) for cell in cells] == pytest.approx(module.world.cell_voltages().tolist())
    assert [float(cell.cell_capacities_ah[0]) for cell in cells] == pytest.approx(pack.cell_capacities_ah.tolist())


def test_it_answers_a_current_as_it_did_in_the_battery() -> None:
    module = connected(dut_cells=12)
    clock = [0.0]
    cell = bench_of(module.world.pack, 7, lambda: clock[0], 25.0)
    for world in (module.world, cell):
        world.drive(DISCHARGE_30A)
    module.wait(600.0)
    clock[0] = 600.0
    assert cell.cell_voltages()[0] == pytest.approx(module.world.cell_voltages()[7], abs=1e-5)
    assert cell.battery_voltage() == pytest.approx(cell.cell_voltages()[0] - 30 * 0.004 / 96, abs=1e-5)


def test_a_short_goes_with_its_cell(module: Line) -> None:
    pack = module.world.pack
    assert [bool(single_cell(pack, index).cells.cells.shorts) for index in (2, 3)] == [False, True]


def test_the_battery_is_left_as_it_was(module: Line) -> None:
    before = module.world.cell_voltages()
    clock = [0.0]
    bench_of(module.world.pack, 0, lambda: clock[0], 25.0).drive(DISCHARGE_30A)
    clock[0] = 3600.0
    assert np.array_equal(module.world.cell_voltages(), before)


def test_there_are_no_others(module: Line) -> None:
    for index in (-1, 12):
        with pytest.raises(IndexError, match=r"cells 0\.\.11"):
            single_cell(module.world.pack, index)
