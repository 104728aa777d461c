"""Measurements from instruments' readings and single signals, and from the battery model."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from sequences import analysis
from sequences.analysis import Estimate, fit_spectrum, metals, per_volt
from sequences.analysis.estimate import ROOT_12
from sequences.analysis.series import resolution
from sequences.measurement import AcResistance, AtEnd, InsulationPerVolt, Metal, Spectrum, TemperatureMax, TwoVoltmeters
from sequences.measuring.samples import Array, MissingError, Samples
from sequences.record import StepRecord
from sequences.view import RATE_WINDOW


def insulation(s: Samples, source: InsulationPerVolt) -> Estimate:
    """The tester's value where the step is its test, else the lowest that the BMS reported."""
    record = s.last(source.during)
    if record.kind == "insulation":
        values = [ohm for ohm in record.readings.get("resistance", ()) if ohm is not None]
        if not values:
            raise MissingError("the insulation tester gave no value", "절연 시험기가 값을 주지 않음")
        found = Estimate(min(values), math.nan, "ohm")
    else:
        rows = s.rows(record)
        ohms = s.column("insulation")[rows]
        if np.isnan(ohms).all():
            raise MissingError("the insulation was not measured", "절연저항이 측정되지 않음")
        reading = resolution(s.column("insulation")) / ROOT_12
        found = Estimate(float(np.nanmin(ohms)), reading, "ohm", ((int(rows[0]), int(rows[-1])),))
    if not math.isfinite(found.value):
        raise MissingError("the insulation is above what was measured", "절연저항이 측정 범위를 넘음")
    return replace(per_volt(found, s.dut.nominal_voltage), detail={"kohm": found.value / 1e3})


def two_voltmeters(s: Samples, source: TwoVoltmeters) -> Estimate:
    volts = {name: s.worked_out(formula) for name, formula in source.voltages.items()}
    reading = volts.pop("reading")
    found = analysis.two_voltmeters(**volts, known=s.worked_out(source.known), voltage_uncertainty=reading)
    detail = {"kohm": found.value / 1e3, "weaker_pole": found.detail["weaker_pole"]}
    return replace(per_volt(found, s.dut.nominal_voltage), detail=detail)


def ac_resistance(s: Samples, source: AcResistance) -> Estimate:
    readings = [ohm for ohm in s.last(source.measured_in).readings.get("resistance", ()) if ohm is not None]
    return analysis.ac_resistance(readings)


def spectrum(s: Samples, source: Spectrum) -> Estimate:
    record = s.last(source.eis)
    if record.index not in s.spectra:
        columns = [record.readings.get(name, ()) for name in ("frequency", "real", "imaginary")]
        points = np.array(
            [[math.nan if value is None else value for value in point] for point in zip(*columns, strict=True)]
        ).reshape(-1, 3)
        s.spectra[record.index] = fit_spectrum(points[:, 0], points[:, 1] + 1j * points[:, 2])
    fit = s.spectra[record.index]
    found = {"r0": fit.r0, "rct": fit.rct, "warburg": fit.sigma}[source.of]
    detail = {"residual_percent": round(100 * fit.residual, 2), "alpha": round(fit.alpha.value, 3)}
    return replace(found, rows=(), detail=detail)


def metal(s: Samples, source: Metal) -> Estimate:
    found = metals(s.dut.rated_energy, s.dut.chemistry)
    if source.element not in found:
        raise MissingError(
            f"no figure for {source.element} in {s.dut.chemistry}",
            f"{s.dut.chemistry} 의 {source.element} 값이 표에 없음",
        )
    return found[source.element]


def temperature_max(s: Samples, source: TemperatureMax) -> Estimate:
    temperatures = s.column("temperature_max")
    rows = np.arange(len(temperatures)) if source.during is None else s.rows(s.runs(source.during)[-1])
    if not rows.size or np.isnan(temperatures[rows]).all():
        raise MissingError("no good temperature", "정상 온도 값이 없음")
    row = int(rows[np.nanargmax(temperatures[rows])])
    return Estimate(float(temperatures[row]), resolution(temperatures) / ROOT_12, "degC", ((row, row),))


# ----------------------------------------------------------------------------------------------- at a step's end


def at_end(s: Samples, source: AtEnd) -> Estimate:
    """A signal as conditions see it, `sequences.view.View.signal`: magnitudes, and rates over the last minute."""
    record = s.runs(source.step)[-1]
    row, signal = s.end(record), source.signal
    net = {"charge": record.charge, "energy": record.energy, "depth": record.charge}
    if signal in net:
        return _moved(s, record, signal, net[signal])
    if signal == "soc":
        return _soc(s, record, row)
    if signal.endswith("_rate"):
        return _rate(s, record, signal)
    if signal == "cell_spread":
        column = np.ptp(s.run.cells, axis=1) if s.run.cells.shape[1] else np.full(len(s.t), np.nan)
    elif signal in s.run.columns:
        column = s.run.columns[signal]
    else:
        raise MissingError(f"{signal} is not recorded", f"{signal} 은(는) 기록되지 않음")
    value, reading = float(column[row]), resolution(column) / ROOT_12
    if signal in ("current", "power"):
        value = abs(value)
    if signal == "insulation":
        value, reading = value / s.dut.nominal_voltage, reading / s.dut.nominal_voltage
    return Estimate(value, reading, "", ((row, row),))


def _moved(s: Samples, record: StepRecord, signal: str, net: float) -> Estimate:
    rows = s.rows(record)
    moved = s.discharged(int(rows[0]), int(rows[-1]), "Wh" if signal == "energy" else "Ah")
    moved = replace(moved, value=abs(net))
    if signal != "depth":
        return moved
    if record.known is None:
        raise MissingError("the capacity was not known", "용량이 알려지지 않음")
    capacity = record.known.capacity
    return Estimate(moved.value / capacity, moved.uncertainty / capacity, "1", moved.rows)


def _soc(s: Samples, record: StepRecord, row: int) -> Estimate:
    """Counted from the last known point, as the run holds it."""
    known = record.known
    if known is None:
        raise MissingError("the state of charge was not known", "충전 상태가 알려지지 않음")
    value = known.soc + (float(s.net_ah[row]) - known.soc_at) / known.capacity
    return Estimate(value, math.nan, "1", ((row, row),))


def _rate(s: Samples, record: StepRecord, signal: str) -> Estimate:
    columns: dict[str, Array | None] = {
        "cell_rate": s.run.cells.mean(axis=1) if s.run.cells.shape[1] else None,
        "temperature_rate": s.run.columns.get("temperature_max"),
    }
    column = columns.get(signal, s.run.columns.get(signal.removesuffix("_rate")))
    rows = s.rows(record)
    if column is None:
        raise MissingError(f"{signal} is not recorded", f"{signal} 은(는) 기록되지 않음")
    rows = rows[np.isfinite(column[rows])]
    before = rows[s.t[rows] <= s.t[rows[-1]] - RATE_WINDOW] if rows.size else rows
    if not before.size:
        raise MissingError(f"{record.label} lasted for less than a minute", f"{record.label} 이(가) 1분보다 짧음")
    first, last = int(before[-1]), int(rows[-1])
    seconds = float(s.t[last] - s.t[first])
    reading = math.sqrt(2) * resolution(column) / ROOT_12 / seconds
    return Estimate(float(column[last] - column[first]) / seconds, reading, "1/s", ((first, last),))
