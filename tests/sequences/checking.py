"""Recipes of a few steps for what is proven before a run, and what was found in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sequences import Dut, Recipe, StationLimits
from sequences.check import Finding, check
from tests.sequences.playing import Data, document

DUT = Dut(
    model="pack_96s", kind="pack", chemistry="NMC", series_cells=96, rated_capacity=60.0, rated_energy=20900.0,
    nominal_voltage=350.0, cell_voltage_min=2.7, cell_voltage_max=4.2, cell_voltage_hard_min=2.5,
    cell_voltage_hard_max=4.25, max_charge_current=60.0, max_discharge_current=90.0, temperature_min=5.0,
    temperature_max=50.0, initial_dcir=0.18, capacity_factor_c2_to_c3=1.004,
)  # fmt: skip
ROLES: Data = {
    "cycler": {},
    "interlock": {},
    "battery_monitor": {"needs": ["cell_voltages", "insulation"]},
    "temperature_scanner": {},
    "impedance_meter": {"needs": ["acir"]},
    "spectrum_meter": {"optional": True},
    "insulation_tester": {"optional": True},
    "chamber": {"optional": True},
}
STATION = StationLimits(
    450.0, 80.0, 80.0, 30000.0,
    {role: frozenset(need.get("needs", ())) for role, need in ROLES.items() if not need.get("optional")},
)  # fmt: skip
HANGUL = re.compile("[가-힣]")


def recipe(*steps: Data, library: Mapping[str, Data] | None = None, **more: Any) -> Recipe:
    """A recipe with every role and these steps."""
    data = document(*steps, **{"roles": ROLES, **more})
    return Recipe.from_data(data, library=None if library is None else library.__getitem__)


def spoken(findings: list[Finding]) -> list[Finding]:
    """The findings, each of which says in both languages and in one line what is wrong and what to do."""
    for finding in findings:
        for text in (finding.text, finding.hint):
            assert text.en
            assert HANGUL.search(text.ko), f"{finding.code}: no Korean: {text.ko}"
            assert not HANGUL.search(text.en), f"{finding.code}: no English: {text.en}"
            assert "\n" not in text.en + text.ko
    return findings


def found(checked: Recipe, dut: Dut | None = DUT, station: StationLimits | None = STATION) -> dict[str, Finding]:
    """What is wrong, by code: the first finding of each."""
    return {finding.code: finding for finding in reversed(spoken(check(checked, dut, station)))}


def one(checked: Recipe, dut: Dut | None = DUT, station: StationLimits | None = STATION) -> Finding:
    """The only thing that is wrong."""
    (finding,) = spoken(check(checked, dut, station))
    return finding


def sound(checked: Recipe, dut: Dut | None = DUT, station: StationLimits | None = STATION) -> bool:
    assert spoken(check(checked, dut, station)) == []
    return True


def measurement(kind: str, name: str = "measured", **source: Any) -> Data:
    """A measurement; `limits` and `unit` are its own, everything else its source's."""
    own = {key: source.pop(key) for key in ("limits", "unit") if key in source}
    return {"name": name, "title": {"en": name, "ko": name}, "from": {"kind": kind, **source}, **own}


def cp(**more: Any) -> Data:
    step = {"step": "cp", "name": "cp", "direction": "discharge", "power": "7 kW", "cell_voltage": "2.8 V"}
    return {**step, "max_time": "4 h", **more}


def cr(**more: Any) -> Data:
    step = {"step": "cr", "name": "cr", "resistance": "20 ohm", "current": "C/2", "cell_voltage": "2.8 V"}
    return {**step, "max_time": "4 h", **more}


WINDOW = {"cell_voltage_min": "2.7 V", "cell_voltage_max": "4.2 V"}


def one_pulse(**more: Any) -> Data:
    return {"direction": "discharge", "current": "1C", "duration": "10 s", "rest": "40 s", **more}


def pulse(*pulses: Data, **more: Any) -> Data:
    return {"step": "pulse", "name": "pulse", "pulses": list(pulses) or [one_pulse()], **WINDOW, **more}


def go_to_soc(**more: Any) -> Data:
    return {"step": "go_to_soc", "name": "move", "soc": "50 %", "current": "C/3", "max_time": "4 h", **WINDOW, **more}


def profile(*rows: tuple[str, str], **more: Any) -> Data:
    table = [list(row) for row in rows or (("0 s", "-30 A"), ("10 s", "15 A"), ("20 s", "0 A"))]
    return {"step": "profile", "name": "drive", "of": "current", "rows": table, **WINDOW, **more}


def hppc(**more: Any) -> Data:
    step = {"step": "hppc", "name": "hppc", "soc": ["80 %", "50 %"], "current": "C/3", "rest": "30 min"}
    return {**step, "pulses": [one_pulse()], "max_time": "4 h", **WINDOW, **more}


def capacity(**more: Any) -> Data:
    return {
        "step": "capacity", "name": "capacity", "charge_current": "C/3", "charge_cell_voltage": "4.2 V",
        "cutoff": "C/20", "charge_max_time": "5 h", "discharge_current": "C/3", "discharge_cell_voltage": "2.7 V",
        "discharge_max_time": "4 h", "rest_charged": "30 min", "rest_discharged": "30 min", "rounds": 2, "agree": 2,
        **more,
    }  # fmt: skip


def insulate(**more: Any) -> Data:
    return {"step": "insulation", "name": "insulate", "voltage": "500 V", "duration": "10 s", **more}


def acir(**more: Any) -> Data:
    return {"step": "acir", "name": "acir", **more}


def eis(**more: Any) -> Data:
    return {"step": "eis", "name": "eis", "highest": "1 kHz", "lowest": "1 Hz", **more}


def soak(**more: Any) -> Data:
    step = {"step": "set_temperature", "name": "soak", "temperature": "25 degC", "soak": "30 min"}
    return {**step, "max_time": "12 h", **more}


def when(condition: str, *then: Data, name: str = "if", otherwise: list[Data] | None = None, **more: Any) -> Data:
    step = {"step": "if", "name": name, "condition": condition, "then": list(then)}
    return {**step, "else": otherwise or [], **more}


def loop(condition: str, *steps: Data, **more: Any) -> Data:
    return {"step": "while", "name": "while", "condition": condition, "max_rounds": 5, "steps": list(steps), **more}


def wait(condition: str, **more: Any) -> Data:
    return {"step": "wait_until", "name": "wait", "condition": condition, "max_time": "2 h", **more}


def measure(*names: str, **more: Any) -> Data:
    return {"step": "measure", "name": "measure", "measurements": list(names), **more}


def publish(*values: str, **more: Any) -> Data:
    return {"step": "publish", "name": "publish", "event": "told", "values": list(values), **more}
