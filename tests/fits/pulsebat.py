"""The PulseBat tables (Tao et al., Nat. Commun. 2024, s41467-024-54454-0; MIT licence) as rows of fast SOH features.

One csv a set; one row per battery and state of charge, reached by charging from empty in steps of 5 % of the nominal
capacity at 1C: voltages U1 (10 min after the charge) and U2..U21 (begin and end of pulses of 5 s and rests of 75 s:
+0.5C, -0.5C, +1C, -1C, ...), and SOH, the measured 1C capacity over the nominal one.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sequences.fast_soh import Array, describe

CHARGE = 10.0  # % of nominal capacity
# where a battery has measured rows both at the start and after the charge
MEASURED = np.arange(5.0, 40.1, 5.0)
# Starts between the measured ones: on eight known states of charge a fit learns which one it sees, and from the rest of
# the open-circuit voltage the capacity; no battery of unknown state of charge gives it that.
DENSE = np.linspace(5.0, 40.0, 21)


@dataclass(frozen=True)
class Battery:
    """One battery as measured: soc (k,) %, volts (k, 21). Batteries of one `cell` are that cell at several ages."""

    name: str
    cell: str
    soh: float
    soc: Array
    volts: Array


@dataclass(frozen=True)
class Rows:
    """Features (n, 6), SOH (n,), and of each row the physical cell and the battery."""

    x: Array
    soh: Array
    cell: NDArray[np.str_]
    battery: NDArray[np.str_]

    def where(self, keep: NDArray[np.bool_]) -> Rows:
        return Rows(self.x[keep], self.soh[keep], self.cell[keep], self.battery[keep])

    def __add__(self, other: Rows) -> Rows:
        return Rows(
            np.concatenate([self.x, other.x]),
            np.concatenate([self.soh, other.soh]),
            np.concatenate([self.cell, other.cell]),
            np.concatenate([self.battery, other.battery]),
        )


def read_batteries(path: Path) -> list[Battery]:
    by_id: dict[str, list[dict[str, str]]] = defaultdict(list)
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            by_id[row["ID"]].append(row)
    batteries = []
    for name, table in by_id.items():
        table.sort(key=lambda row: float(row["SOC"]))
        # the ages of one cell are named cell-cycles there
        cell = name.rsplit("-", 1)[0] if path.stem == "NMC_2.1Ah" else name
        volts = np.array([[float(row[f"U{k}"]) for k in range(1, 22)] for row in table])
        soc = np.array([float(row["SOC"]) for row in table])
        batteries.append(Battery(name, cell, float(table[0]["SOH"]), soc, volts))
    return batteries


def interpolate(soc: Array, volts: Array, wanted: Array) -> Array:
    """(k,), (k, 21), (m,) -> (m, 21): the cubic through the four nearest states of charge; exact on a measured one."""
    first = np.clip(np.searchsorted(soc, wanted, side="right") - 2, 0, len(soc) - 4)
    result = np.zeros((len(wanted), volts.shape[1]))
    for i in range(4):
        others = [j for j in range(4) if j != i]
        weight = np.prod([(wanted - soc[first + j]) / (soc[first + i] - soc[first + j]) for j in others], axis=0)
        result += weight[:, None] * volts[first + i]
    return result


def pulses(battery: Battery, starts: Array) -> Array:
    """(m,) starting states of charge -> (6, m): the voltages of the procedure, as `describe` takes them."""
    before = interpolate(battery.soc, battery.volts, starts)
    after = interpolate(battery.soc, battery.volts, starts + CHARGE)
    # the 0.5C pulses before left the cell this far from its open-circuit voltage U1
    shift = before[:, 0] - before[:, 8]
    ends = [before[:, k - 1] + shift for k in (11, 13, 15, 17)]
    return np.stack([before[:, 0], *ends, after[:, 0]])


def rows_of(batteries: list[Battery], starts: Array, disturb: Callable[[Array], Array] = lambda volts: volts) -> Rows:
    """One row per battery and start; `disturb` changes the six voltages on their way."""
    return Rows(
        np.concatenate([describe(disturb(pulses(battery, starts)), pulse_rate=1.0) for battery in batteries]),
        np.repeat([battery.soh for battery in batteries], len(starts)),
        np.repeat([battery.cell for battery in batteries], len(starts)),
        np.repeat([battery.name for battery in batteries], len(starts)),
    )


def noise(rms: float) -> Callable[[Array], Array]:
    """Independent normal noise on every voltage, the same in every run; of -rms it is that of rms mirrored."""
    random = np.random.default_rng(0)
    return lambda volts: volts + rms * random.standard_normal(volts.shape)
