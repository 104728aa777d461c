"""The tables of `evaline analyse` on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from controller.cli.analyse_words import METALS_KO, RESULTS, SETTLED, WORDS, sentence, why
from controller.cli.display import clock
from controller.datafile import DataFile
from sequences.analysis import TIMES, Differential, Estimate, Evaluation, Limiting, Segments

MOST_ROWS = 40  # of a table; --json has all
_SHOWN = {"1": ("%", 100.0), "ohm": ("mohm", 1e3), "V/h": ("mV/h", 1e3), "V/day": ("mV/day", 1e3),
          "1/month": ("%/month", 100.0)}  # fmt: skip


def in_figures(value: float, uncertainty: float) -> tuple[str, str]:
    """A value and its uncertainty: the latter with two significant figures, the value as far as that reaches."""
    if not np.isfinite(uncertainty) or uncertainty <= 0:
        return f"{value:.5g}", "—"
    places = max(0, 1 - int(np.floor(np.log10(uncertainty))))
    return f"{round(value, places) + 0.0:.{places}f}", f"{uncertainty:.{places}f}"


class Tables:
    """Prints one table a subject, the samples' lines as they stand in the file."""

    def __init__(self, console: Console, data: DataFile, lang: str) -> None:
        self._console, self._data, self._lang = console, data, lang
        self.words = WORDS[lang]

    def heading(self, file: Path) -> None:
        rows = self.words["of_rows"].format(rows=self._data.rows)
        self._line(f"{file}: {len(self._data.lines)} {self.words['samples']} {rows}")
        fields: dict[str, list[str]] = {}
        for column in self._data.columns:
            fields.setdefault(column.field, []).append(column.name)
        shown = (f"{field} {names[0]!r}" + (f" ... {names[-1]!r}" if len(names) > 1 else "")
                 for field, names in fields.items())  # fmt: skip
        if fields:
            self._line(f"{self.words['read_as']}: {', '.join(shown)}")

    def defects(self) -> None:
        if not self._data.defects:
            self._line(f"\n{self.words['defects']}: {self.words['none']}")
            return
        rows = [
            (defect.code, str(defect.count), str(defect.first) if defect.first >= 0 else "—",
             sentence(defect, self._lang))
            for defect in self._data.defects
        ]  # fmt: skip
        self._table("defects", ("code", "times", "line", "what"), rows, right=(1, 2))

    def segments(self, segments: Segments) -> None:
        series = segments.series
        rows = []
        for index in range(min(len(segments), MOST_ROWS)):
            segment = segments[index]
            rows.append(
                (
                    self.words[segment.kind],
                    self._lines(((segment.first, segment.last),)),
                    clock(float(series.time[segment.last] - series.time[segment.first])),
                    f"{segment.current:+.4g}",
                    f"{series.voltage[segment.last]:.4f}",
                )
            )
        self._table("segment", ("segment", "lines", "duration", "current", "ended"), rows, (1, 2, 3, 4), len(segments))

    def sweeps(self, evaluation: Evaluation) -> None:
        rows = []
        for result in evaluation.sweeps[:MOST_ROWS]:
            charge, charge_u = in_figures(result.charge.value, result.charge.uncertainty)
            energy, energy_u = in_figures(result.energy.value, result.energy.uncertainty)
            rate = f"{result.rate:.3f} /h" if np.isfinite(result.rate) else "—"
            detail = result.charge.detail
            rows.append(
                (
                    self.words["charge" if result.sweep.direction > 0 else "discharge"],
                    self._lines(result.charge.rows), charge, charge_u, energy, energy_u, rate,
                    f"{detail['start_v']:.3f} ... {detail['end_v']:.3f}",
                    self.words["yes" if result.full else "no"],
                )
            )  # fmt: skip
        heads = ("sweep", "lines", "ah", "uncertainty", "wh", "uncertainty", "rate", "from_to", "full")
        self._table("sweep", heads, rows, (1, 2, 3, 4, 5, 6), len(evaluation.sweeps))

    def results(self, evaluation: Evaluation) -> None:
        rows = []
        for name, estimate in evaluation.results.items():
            value, uncertainty, unit = self._figures(estimate)
            note = ""
            if "settled" in estimate.detail:
                text = SETTLED[str(estimate.detail["settled"])]
                note = str(getattr(text, self._lang)).format(**estimate.detail)
            elif "residual_v" in estimate.detail:
                residual = 1e3 * float(estimate.detail["residual_v"])
                note = f"{estimate.detail['new_cell']}, {residual:.1f} mV rms"
            rows.append((self._title(name), value, uncertainty, unit, self._lines(estimate.rows), note))
        self._table("result", ("result", "value", "uncertainty", "unit", "lines", "note"), rows, (1, 2, 4))

    def resistances(self, evaluation: Evaluation) -> None:
        rows = []
        for result in evaluation.pulses[:MOST_ROWS]:
            row = [
                str(self._data.lines[result.pulse.first]),
                "—" if result.soc is None else f"{100 * result.soc:.1f}",
                f"{result.pulse.current:+.4g}",
                f"{result.pulse.rest:.0f}",
            ]
            for at in TIMES:
                ohm = result.ohms.get(at)
                row.append("—" if ohm is None else " ± ".join(in_figures(1e3 * ohm.value, 1e3 * ohm.uncertainty)))
            whys = dict.fromkeys(result.refused.values())
            row.append("; ".join(why(reason, self._lang) for reason in whys))
            rows.append(row)
        heads = [self.words[word] for word in ("line", "soc", "current", "rested")]
        heads += [self.words["first"] if at == 0 else f"{at:g} s" for at in TIMES]
        self._titled(self.words["dcir"], [*heads, self.words["note"]], rows, range(9), len(evaluation.pulses))

    def rests(self, evaluation: Evaluation) -> None:
        rows = []
        for rest in evaluation.rests[:MOST_ROWS]:
            relaxed = rest.relaxation
            note = ""
            if rest.self_discharge is not None:
                parts = [rest.self_discharge.voltage, rest.self_discharge.charge]
                shown = (" ± ".join(self._figures(part)[:2]) + f" {self._figures(part)[2]}" for part in parts if part)
                note = f"{self.words['self_discharge']} {', '.join(shown)}"
            rows.append(
                (
                    self._lines(((rest.first, rest.last),)),
                    clock(float(relaxed.voltage.detail["rest_s"])),
                    " ± ".join(in_figures(relaxed.voltage.value, relaxed.voltage.uncertainty)),
                    " ± ".join(self._figures(relaxed.drift)[:2]),
                    " ± ".join(in_figures(relaxed.open_circuit.value, relaxed.open_circuit.uncertainty)),
                    "" if rest.spread is None else f"{1e3 * rest.spread.value:.1f}",
                    note,
                )
            )
        heads = ("lines", "duration", "voltage", "drift", "tends", "spread", "note")
        self._table("relaxation", heads, rows, range(6), len(evaluation.rests))

    def peaks(self, evaluation: Evaluation) -> None:
        for title, unit, height, curves in (
            ("ica", "V", "Ah/V", [result.incremental for result in evaluation.sweeps]),
            ("dva", "Ah", "V/Ah", [result.differential for result in evaluation.sweeps]),
        ):
            rows = [
                (self.words["charge" if result.sweep.direction > 0 else "discharge"], self._lines(peak.rows),
                 " ± ".join(in_figures(peak.value, peak.uncertainty)) + f" {unit}",
                 f"{peak.detail['height']:.3g} {height}", f"{result.rate:.3f} /h")
                for result, curve in zip(evaluation.sweeps, curves, strict=True)
                for peak in _peaks(curve)
            ]  # fmt: skip
            self._table(title, ("sweep", "lines", "peak", "height", "rate"), rows, (1, 2, 3, 4))

    def cells(self, evaluation: Evaluation) -> None:
        cells = evaluation.cells
        if cells is None:
            return
        rows = [self._limiting("limits_discharge", cells.limits_discharge)]
        if cells.limits_charge is not None:
            rows.append(self._limiting("limits_charge", cells.limits_charge))
        heads = [self.words[word] for word in ("cells", "cell", "cause")]
        heads += [f"{self.words[word]} Ah" for word in ("imbalance", "capacity", "resistance")]
        self._titled("", heads, rows, range(1, 6))
        weakest = self.words["weakest"].format(ratio=100 * cells.weakest.value, u=100 * cells.weakest.uncertainty)
        self._line(f"{weakest}: {self.words['cell']} {cells.weakest.detail['cell']}")
        highest = 1e3 * float(cells.resistance[cells.highest_resistance - 1])
        self._line(
            f"{self.words['highest']}: {self.words['cell']} {cells.highest_resistance}, {highest:.3g} mohm "
            f"({cells.resistance_at_s:.3g} s)"
        )

    def _limiting(self, title: str, limiting: Limiting) -> list[str]:
        parts = (limiting.parts[name] for name in ("imbalance", "capacity", "resistance"))
        shown = [" ± ".join(in_figures(part.value, part.uncertainty)) for part in parts]
        return [self.words[title], str(limiting.cell), self.words[limiting.cause], *shown]

    def metals(self, evaluation: Evaluation) -> None:
        rows = [(self._metal(symbol), *in_figures(estimate.value, estimate.uncertainty))
                for symbol, estimate in evaluation.metals.items()]  # fmt: skip
        if rows:
            self._table("metals", ("metals", "value", "uncertainty"), rows, (1, 2))
            for source in dict.fromkeys(str(estimate.detail["source"]) for estimate in evaluation.metals.values()):
                symbols = [
                    self._metal(symbol)
                    for symbol, estimate in evaluation.metals.items()
                    if estimate.detail["source"] == source
                ]
                self._line(f"{self.words['source']} ({', '.join(symbols)}): {source}")

    def withheld(self, evaluation: Evaluation) -> None:
        if evaluation.withheld:
            self._line(f"\n{self.words['missing']}")
            for name, reason in evaluation.withheld.items():
                self._line(f"  {self._title(name)}: {why(reason, self._lang)}")

    # ---- helpers

    def _metal(self, symbol: str) -> str:
        return METALS_KO.get(symbol, symbol) if self._lang == "ko" else symbol

    def _title(self, name: str) -> str:
        return str(getattr(RESULTS[name], self._lang))

    def _figures(self, estimate: Estimate) -> tuple[str, str, str]:
        unit, scale = _SHOWN.get(estimate.unit, (estimate.unit, 1.0))
        return (*in_figures(scale * estimate.value, scale * estimate.uncertainty), unit)

    def _lines(self, rows: Iterable[tuple[int, int]]) -> str:
        lines = self._data.lines
        return ", ".join(
            f"{lines[first]}–{lines[last]}" if first != last else f"{lines[first]}" for first, last in rows
        )

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _table(
        self, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], right: Iterable[int], count: int = 0
    ) -> None:
        self._titled(self.words[title], [self.words[head] for head in heads], rows, right, count)

    def _titled(
        self, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], right: Iterable[int], count: int = 0
    ) -> None:
        if not rows:
            return
        self._line(f"\n{title}" if title and title != heads[0] else "")
        table = Table(box=None, pad_edge=False, header_style="dim")
        numbers = set(right)
        for index, head in enumerate(heads):
            table.add_column(head, justify="right" if index in numbers else "left")
        for row in rows:
            table.add_row(*map(Text, row))  # names of columns look like markup
        self._console.print(table)
        if count > len(rows):
            self._line(self.words["more"].format(count=count - len(rows)))


def _peaks(curve: Differential | None) -> tuple[Estimate, ...]:
    return () if curve is None else curve.peaks
