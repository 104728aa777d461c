"""Metals in a battery, from its rated energy and its chemistry. Metal does not fade: never use the remaining energy."""

from __future__ import annotations

import math

from sequences.analysis.estimate import Estimate, UnmeasurableError

BATPAC = "BatPaC 5.2 default designs (Argonne National Laboratory), graphite anode, table of pmbusch/USA-EV-Lithium-GHG"
STOICHIOMETRY = "stoichiometry at 155-195 mAh/g and 3.7 V (LFP 3.2 V)"
# where there is no second figure: the two sources differ by 5 to 11 % for lithium, nickel and cobalt
_ONE_SOURCE = 0.10

_SYMBOLS = ("Li", "Ni", "Co", "Cu", "graphite")
# kg per kWh of rated energy by BatPaC; then lithium, nickel and cobalt by stoichiometry where that was computed too
_KG_PER_KWH: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "NMC111": ((0.115, 0.318, 0.319, 0.417, 0.850), (0.125, 0.354, 0.355)),
    "NMC532": ((0.106, 0.436, 0.175, 0.398, 0.851), (0.118, 0.498, 0.200)),
    "NMC622": ((0.103, 0.512, 0.171, 0.394, 0.853), (0.111, 0.561, 0.188)),
    "NMC811": ((0.092, 0.608, 0.076, 0.364, 0.854), (0.099, 0.669, 0.084)),
    "NCA": ((0.099, 0.656, 0.123, 0.381, 0.860), (0.100, 0.677, 0.128)),
    "NMCA": ((0.093, 0.681, 0.031, 0.373, 0.854), ()),
    "LMO": ((0.097, 0.0, 0.0, 0.525, 0.805), ()),
    "LFP": ((0.089, 0.0, 0.0, 0.566, 0.955), (0.089, 0.0, 0.0)),
}
# by stoichiometry alone: a range, or a figure
_KG_BY_STOICHIOMETRY: dict[str, dict[str, tuple[float, float]]] = {
    "NMC111": {"Mn": (0.30, 0.33)},
    "NMC532": {"Mn": (0.24, 0.28)},
    "NMC622": {"Mn": (0.16, 0.18)},
    "NMC811": {"Mn": (0.07, 0.08)},
    "NMCA": {"Mn": (0.03, 0.03)},
    "LMO": {"Mn": (1.5, 1.5)},
    "LFP": {"Fe": (0.71, 0.71), "P": (0.40, 0.40)},
}
_SAME_AS = {"NMC523": "NMC532"}
_NMC = ("NMC111", "NMC532", "NMC622", "NMC811")

CHEMISTRIES = (*_KG_PER_KWH, *_SAME_AS, "NMC")


def metals(rated_energy_wh: float, chemistry: str) -> dict[str, Estimate]:
    """kg of each metal and of graphite, by symbol, for the rated energy in Wh and one of `CHEMISTRIES`.

    The value is BatPaC's where it has one. Uncertainty: the difference to stoichiometry as half the width of a
    rectangle, 10 % where there is one source only. "NMC" without its ratio spans NMC111 to NMC811. Raises
    UnmeasurableError for a chemistry that is not in the table.
    """
    if not rated_energy_wh > 0:
        raise UnmeasurableError("the rated energy must be above zero")
    if chemistry == "NMC":
        return _span([metals(rated_energy_wh, ratio) for ratio in _NMC])
    name = _SAME_AS.get(chemistry, chemistry)
    if name not in _KG_PER_KWH:
        raise UnmeasurableError(f"no metal table for {chemistry}; there is one for {', '.join(CHEMISTRIES)}")
    kwh = rated_energy_wh / 1e3
    found = {}
    batpac, stoichiometric = _KG_PER_KWH[name]
    for place, (symbol, kg) in enumerate(zip(_SYMBOLS, batpac, strict=True)):
        if kg == 0:
            continue
        if place < len(stoichiometric):
            relative = abs(stoichiometric[place] - kg) / kg / math.sqrt(3)
            source = f"{BATPAC}; {STOICHIOMETRY}"
        else:
            relative, source = _ONE_SOURCE, BATPAC
        found[symbol] = Estimate(kwh * kg, kwh * kg * relative, "kg", (), {"source": source})
    for symbol, (low, high) in _KG_BY_STOICHIOMETRY.get(name, {}).items():
        middle = (low + high) / 2
        spread = max((high - low) / math.sqrt(12), _ONE_SOURCE * middle)
        found[symbol] = Estimate(kwh * middle, kwh * spread, "kg", (), {"source": STOICHIOMETRY})
    return found


def _span(tables: list[dict[str, Estimate]]) -> dict[str, Estimate]:
    found = {}
    for symbol in tables[0]:
        estimates = [table[symbol] for table in tables]
        low = min(estimate.value for estimate in estimates)
        high = max(estimate.value for estimate in estimates)
        own = max(estimate.uncertainty for estimate in estimates)
        detail = {"source": f"{estimates[0].detail['source']}; ratio of Ni, Mn and Co unknown: NMC111 to NMC811"}
        found[symbol] = Estimate((low + high) / 2, math.hypot((high - low) / math.sqrt(12), own), "kg", (), detail)
    return found
