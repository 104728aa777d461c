"""The cells of a battery taken apart, each on its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from simulators.cells import CellString
from simulators.pack import Ageing, Pack
from simulators.world import World


def single_cell(pack: Pack, index: int) -> Pack:
    """Cell `index` (from 0) of a battery as it is now, at rest, with its share of the joints. Raises IndexError."""
    if not 0 <= index < pack.cells.count:
        raise IndexError(f"cell {index} of a battery with cells 0..{pack.cells.count - 1}")
    one = slice(index, index + 1)
    string, cells, dut = pack.cells, pack.cells.cells, pack.dut
    part = 1 / dut.series_cells
    return dataclasses.replace(
        pack,
        dut=dut.model_copy(
            update={
                "kind": "cell",
                "series_cells": 1,
                "cells_per_module": 1,
                "rated_energy_wh": dut.rated_energy_wh * part,
                "nominal_voltage_v": dut.nominal_voltage_v * part,
                "initial_dcir_ohm": dut.initial_dcir_ohm * part,
            }
        ),
        ageing=Ageing(*(values[one] for values in dataclasses.astuple(pack.ageing))),
        full=pack.full[:, one],
        empty=pack.empty[:, one],
        cells=CellString(
            dataclasses.replace(
                cells,
                lam_negative=cells.lam_negative[one],
                lam_positive=cells.lam_positive[one],
                resistance_factor=cells.resistance_factor[one],
                shorts=tuple((0, ohm) for at, ohm in cells.shorts if at == index),
                # the joint stays with the battery
                joints=(),
            ),
            string.stoichiometries()[:, one],
            string.ambient_degc,
            string.hysteresis,
        ),
        contact_resistance=pack.contact_resistance * part,
        broken_thermistor=None,
        open_tap=None,
        swapped_taps=None,
    )


def bench_of(pack: Pack, index: int, now: Callable[[], float], ambient_degc: float) -> World:
    """A cell in its holder: a world of its own whose contactor is closed."""
    world = World(single_cell(pack, index), now, ambient_degc)
    world.set_contactor(True)
    return world
