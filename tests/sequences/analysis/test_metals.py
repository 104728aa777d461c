"""Kilograms of metal from rated energy and chemistry, always with their source."""

from __future__ import annotations

import pytest

from sequences.analysis import CHEMISTRIES, UnmeasurableError, metals


@pytest.mark.parametrize("chemistry", CHEMISTRIES)
def test_every_figure_has_a_source_and_an_uncertainty(chemistry: str) -> None:
    for symbol, kg in metals(60e3, chemistry).items():
        assert kg.unit == "kg", symbol
        assert kg.detail["source"]
        assert kg.uncertainty >= 0
        assert kg.value > 0
    assert {"Li", "Cu", "graphite"} <= metals(60e3, chemistry).keys()


def test_the_table() -> None:
    """BatPaC 5.2, kg/kWh, for 20 kWh."""
    found = metals(20e3, "NMC622")
    assert {symbol: round(kg.value, 3) for symbol, kg in found.items()} == {
        "Li": 2.06, "Ni": 10.24, "Co": 3.42, "Cu": 7.88, "graphite": 17.06, "Mn": 3.4,
    }  # fmt: skip
    assert found["Ni"].uncertainty == pytest.approx(20 * (0.561 - 0.512) / 3**0.5)
    assert "BatPaC 5.2" in str(found["Ni"].detail["source"])
    assert "stoichiometry" in str(found["Mn"].detail["source"])
    assert metals(20e3, "NMC523") == metals(20e3, "NMC532")


def test_iron_phosphate_has_no_nickel_and_no_cobalt() -> None:
    assert metals(20e3, "LFP").keys() == {"Li", "Cu", "graphite", "Fe", "P"}


def test_nmc_of_an_unknown_ratio_spans_all_of_them() -> None:
    nickel = metals(1e3, "NMC")["Ni"]
    assert nickel.value == pytest.approx((0.318 + 0.608) / 2)
    assert nickel.uncertainty >= (0.608 - 0.318) / 12**0.5
    assert "unknown" in str(nickel.detail["source"])


def test_metal_grows_with_rated_energy_and_needs_some() -> None:
    assert metals(40e3, "NCA")["Co"].value == 2 * metals(20e3, "NCA")["Co"].value
    with pytest.raises(UnmeasurableError, match="above zero"):
        metals(0.0, "NCA")
    with pytest.raises(UnmeasurableError, match="no metal table for LTO; there is one for NMC111"):
        metals(20e3, "LTO")
