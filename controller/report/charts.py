"""Charts as SVG text: arrays in, markup out. Colours and fonts come from the page's style sheet by class.

Text inside a chart is numbers, units and step names only, so one drawing serves every language.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

Array = NDArray[np.float64]

WIDTH = 920.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 10.0, 22.0, 24.0
BUCKETS = 300  # at most seven points each: finer than print, small enough for a mail
MARK_WIDTH = 11.0  # room that one upright name needs


@dataclass(frozen=True)
class Line:
    """A curve; `style` names its CSS class (main, dark, soft). NaN in y is a gap, x must not fall."""

    x: Array
    y: Array
    style: str = "main"


@dataclass(frozen=True)
class Band:
    """The area between two curves over the same x, for envelopes."""

    x: Array
    low: Array
    high: Array


@dataclass(frozen=True, slots=True)
class Mark:
    """A named place on the x axis."""

    x: float
    name: str


@dataclass(frozen=True, slots=True)
class _Axis:
    """A linear map from values to pixels, with its ticks."""

    low: float
    high: float
    start: float
    end: float
    ticks: list[float]

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round values that enclose [low, high]: steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        pad = abs(low) * 0.05 or 1.0
        low, high = low - pad, high + pad
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def decimate(x: Array, y: Array, buckets: int = BUCKETS) -> tuple[Array, Array]:
    """At most seven points for each of `buckets` equal parts of x: first, lowest, highest, last, one gap, one jump.

    So no extreme is lost, however short it was, no gap is closed, and a step stays upright.
    """
    if len(x) <= 2 * buckets:
        return x, y
    ordered = np.maximum.accumulate(x)
    edges = np.searchsorted(ordered, np.linspace(ordered[0], ordered[-1], buckets + 1)[1:-1])
    keep: set[int] = set()
    for start, end in zip([0, *edges], [*edges, len(x)], strict=True):
        if end > start:
            part = y[start:end]
            gaps = np.flatnonzero(np.isnan(part))
            keep |= {start, end - 1}
            if gaps.size:
                keep.add(start + int(gaps[0]))
            if gaps.size < len(part):
                low, high = int(np.nanargmin(part)), int(np.nanargmax(part))
                keep |= {start + low, start + high}
                jumps = np.nan_to_num(np.abs(np.diff(part)))
                if jumps.size and jumps.max() > 0.5 * (part[high] - part[low]):
                    keep |= {start + int(jumps.argmax()), start + int(jumps.argmax()) + 1}
    rows = sorted(keep)
    return x[rows], y[rows]


def envelope(table: Array) -> tuple[Array, Array, Array]:
    """Lowest, mean and highest of each row over its good values; NaN where a row has none."""
    good = ~np.isnan(table)
    count = good.sum(axis=1)
    low = np.where(good, table, np.inf).min(axis=1, initial=np.inf)
    high = np.where(good, table, -np.inf).max(axis=1, initial=-np.inf)
    total = np.where(good, table, 0.0).sum(axis=1)
    mean = np.divide(total, count, out=np.full(len(table), np.nan), where=count > 0)
    return np.where(count > 0, low, np.nan), mean, np.where(count > 0, high, np.nan)


def line_chart(
    lines: Sequence[Line], *, x_unit: str, y_unit: str, band: Band | None = None,
    marks: Sequence[Mark] = (), named: bool = True, height: float = 230.0,
) -> Markup:  # fmt: skip
    """Curves over a common x axis, dotted where a mark stands; empty when there is nothing good to draw.

    `named` writes the marks' names above the chart; a second chart below it can go without.
    """
    curves = [*lines, *([Line(band.x, band.low), Line(band.x, band.high)] if band else [])]
    ys = np.concatenate([line.y for line in curves]) if curves else np.empty(0)
    ys = ys[np.isfinite(ys)]
    if not ys.size:
        return Markup("")
    xs = np.concatenate([line.x for line in curves])
    names_above = max((len(mark.name) for mark in marks), default=0) * 5.3 + 14 if named else 0.0
    top = TOP + names_above
    full = height + names_above
    x = _axis(float(xs.min()), float(xs.max()), LEFT, WIDTH - RIGHT, 8, tight=True)
    y = _padded(float(ys.min()), float(ys.max()), full - BOTTOM, top)
    parts = [_grid(x, y, x_unit, y_unit)]
    parts += _marks(marks, x, top, full - BOTTOM, named)
    if band:
        parts.append(_area(band, x, y))
    parts += [
        Markup('<path class="line {}" d="{}"/>').format(line.style, _path(*decimate(line.x, line.y), x, y))
        for line in lines
    ]
    return _svg(full, parts)


def bar_chart(values: Array, *, y_unit: str, marked: int | None, label: str, height: float = 200.0) -> Markup:
    """One bar for each value, numbered from 1; `marked` (an index) stands out and carries the label. NaN leaves a hole.

    The axis does not begin at zero: such bars are read by their tops.
    """
    good = values[np.isfinite(values)]
    if not good.size:
        return Markup("")
    low, high = float(good.min()), float(good.max())
    y = _axis(low - 0.15 * (high - low), high, height - BOTTOM, TOP, 4)
    slot = (WIDTH - RIGHT - LEFT) / len(values)
    x = _Axis(0.5, len(values) + 0.5, LEFT, WIDTH - RIGHT, _whole_ticks(len(values)))
    bars = [_grid(x, y, "", y_unit)]
    for index, value in enumerate(values):
        if np.isfinite(value):
            style = "bar marked" if index == marked else "bar"
            top, base, wide = y.at(float(value)), height - BOTTOM, max(1.0, 0.7 * slot)
            left = x.at(index + 1) - wide / 2
            bars.append(
                Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                    style, left, top, wide, base - top
                )
            )
    if marked is not None:
        at = x.at(marked + 1)
        anchor = "end" if at > 0.85 * WIDTH else "start" if at < 0.15 * WIDTH else "middle"
        bars.append(
            Markup(
                '<path class="pin" d="M{:.1f} {:.1f}V{:.1f}"/>'
                '<text class="callout" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>'
            ).format(at, TOP - 3, y.at(float(values[marked])), at, TOP - 8, anchor, label)
        )
    return _svg(height, bars)


def limit_bar(value: float | None, low: float | None, high: float | None, marginal: float) -> Markup:
    """Where a value lies between its limits: fail, marginal and pass zones side by side, a pointer on them.

    A value too far away to be shown to scale becomes an arrow at the edge it has left through.
    """
    width, start = 150.0, 3.0
    edges = [e for limit, sign in ((low, 1), (high, -1)) if limit is not None for e in (limit, limit + sign * marginal)]
    if not edges:
        return Markup("")
    span = max(max(edges) - min(edges), 0.1 * max(abs(edge) for edge in edges), 1e-9)
    reach = (min(edges) - 12 * span, max(edges) + 12 * span)
    shown = None if value is None else min(max(value, reach[0]), reach[1])
    inside = [*edges, *([] if shown is None else [shown])]
    pad = 0.12 * max(max(inside) - min(inside), span)
    axis = _Axis(min(inside) - pad, max(inside) + pad, start, start + width, [])
    zones = _zones(axis.low, axis.high, low, high, marginal)
    parts = [
        Markup('<rect class="zone {}" x="{:.1f}" y="8" width="{:.1f}" height="6"/>').format(
            kind, axis.at(a), axis.at(b) - axis.at(a)
        )
        for kind, a, b in zones
        if b > a
    ]
    if shown is not None and value is not None:
        at = axis.at(shown)
        away = 0 if value == shown else math.copysign(1, value - shown)
        shape = f"M{at + 5 * away:.1f} 11l{-7 * away:g} -5v10z" if away else f"M{at:.1f} 7l-4.5 -7h9zM{at:.1f} 7v9"
        parts.append(Markup('<path class="pointer" d="{}"/>').format(shape))
    return Markup('<svg class="limits" viewBox="0 0 {:g} 17" aria-hidden="true">{}</svg>').format(
        width + 2 * start, Markup("").join(parts)
    )


def _zones(
    start: float, end: float, low: float | None, high: float | None, marginal: float
) -> list[tuple[str, float, float]]:
    """The parts of an axis by verdict, from left to right; bands that overlap leave no pass between them."""
    zones: list[tuple[str, float, float]] = []
    pass_from, pass_to = start, end
    if low is not None:
        pass_from = low + marginal
        zones += [("fail", start, low), ("marginal", low, pass_from if high is None else min(pass_from, high))]
    if high is not None:
        pass_to = max(high - marginal, pass_from if low is not None else start)
    zones.append(("pass", pass_from, pass_to))
    if high is not None:
        zones += [("marginal", pass_to, high), ("fail", high, end)]
    return zones


# ---------------------------------------------------------------------------------------------------- drawing


def _axis(low: float, high: float, start: float, end: float, count: int, *, tight: bool = False) -> _Axis:
    """An axis with round ticks; a tight one ends with the data instead of the next tick."""
    ticks = nice_ticks(low, high, count)
    if tight and high > low:
        return _Axis(low, high, start, end, [tick for tick in ticks if low <= tick <= high])
    return _Axis(ticks[0], ticks[-1], start, end, ticks)


def _padded(low: float, high: float, start: float, end: float) -> _Axis:
    """An axis a little longer than the data, with the round ticks that lie on it."""
    pad = 0.06 * (high - low) or 0.05 * abs(low) or 1.0
    low, high = low - pad, high + pad
    return _Axis(low, high, start, end, [tick for tick in nice_ticks(low, high, 7) if low <= tick <= high])


def _whole_ticks(count: int) -> list[float]:
    """Numbers of bars worth naming: 1 and the round ones."""
    ticks = [tick for tick in nice_ticks(0, count, 10) if tick == int(tick) and 1 < tick <= count]
    return [1.0, *ticks]


def _labels(ticks: Sequence[float]) -> list[str]:
    """All ticks with the decimals that the finest of them needs."""
    step = min((abs(b - a) for a, b in pairwise(ticks)), default=1.0)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{tick + 0.0:.{decimals}f}".replace("-", "−") for tick in ticks]


def _grid(x: _Axis, y: _Axis, x_unit: str, y_unit: str) -> Markup:
    base, top = y.start, y.end
    parts = [Markup('<text class="unit" x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text>').format(
        LEFT - 8, top - 10, y_unit)]  # fmt: skip
    for tick, label in zip(y.ticks, _labels(y.ticks), strict=True):
        at = y.at(tick)
        parts.append(
            Markup(
                '<path class="grid" d="M{:.1f} {:.1f}H{:.1f}"/><text x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text>'
            ).format(LEFT, at, WIDTH - RIGHT, LEFT - 8, at + 3.5, label)
        )
    labels = _labels(x.ticks)
    for place, (tick, label) in enumerate(zip(x.ticks, labels, strict=True)):
        with_unit = f"{label} {x_unit}" if place == len(labels) - 1 and x_unit else label
        at = x.at(tick)
        anchor = "end" if at > WIDTH - RIGHT - 14 else "middle"
        parts.append(
            Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(at, base + 17, anchor, with_unit)
        )
    parts.append(Markup('<path class="axis" d="M{:.1f} {:.1f}H{:.1f}"/>').format(LEFT, base, WIDTH - RIGHT))
    return Markup("").join(parts)


def _marks(marks: Sequence[Mark], x: _Axis, top: float, base: float, named: bool) -> list[Markup]:
    """A dotted line at each mark; its name stands upright above, moved aside where names would meet."""
    parts = [Markup('<path class="mark" d="M{:.1f} {:.1f}V{:.1f}"/>').format(x.at(mark.x), top, base) for mark in marks]
    if not named:
        return parts
    for mark, place in zip(marks, spread([x.at(mark.x) for mark in marks], LEFT + 4, WIDTH - 4), strict=True):
        parts.append(
            Markup(
                '<path class="leader" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>'
                '<text class="name" transform="translate({:.1f} {:.1f}) rotate(-90)">{}</text>'
            ).format(x.at(mark.x), top, place, top - 12, place + 3, top - 15, mark.name)
        )
    return parts


def spread(places: Sequence[float], low: float, high: float) -> list[float]:
    """The places moved as little as needed so that neighbours in order are MARK_WIDTH apart, within [low, high]."""
    width = min(MARK_WIDTH, (high - low) / max(1, len(places) - 1))
    # blocks of names that touch: (sum of wished starts, count); a block stands at the mean of its wishes
    blocks: list[tuple[float, int]] = []
    for place in places:
        blocks.append((min(max(place, low), high), 1))
        while len(blocks) > 1:
            (total, count), (next_total, next_count) = blocks[-2:]
            if total / count + count * width <= next_total / next_count:
                break
            blocks[-2:] = [(total + next_total - next_count * count * width, count + next_count)]
    moved = [total / count + index * width for total, count in blocks for index in range(count)]
    ceiling = [high - (len(moved) - 1 - index) * width for index in range(len(moved))]
    floor = [low + index * width for index in range(len(moved))]
    return [min(max(place, least), most) for place, least, most in zip(moved, floor, ceiling, strict=True)]


def _path(xs: Array, ys: Array, x: _Axis, y: _Axis) -> str:
    """SVG path data with a new start after each gap."""
    parts, pen = [], "M"
    for px, py in zip(xs.tolist(), ys.tolist(), strict=True):
        if math.isfinite(py):
            parts.append(f"{pen}{x.at(px):.1f} {y.at(py):.1f}")
            pen = "L"
        else:
            pen = "M"
    return "".join(parts)


def _area(band: Band, x: _Axis, y: _Axis) -> Markup:
    """The band as closed areas, one for each stretch without a gap."""
    xs, highs = decimate(band.x, band.high)
    low_xs, lows = decimate(band.x, band.low)
    areas = []
    gaps = np.concatenate([[-np.inf], xs[np.isnan(highs)], [np.inf]])
    for start, end in pairwise(gaps):
        above = (xs > start) & (xs < end) & np.isfinite(highs)
        below = (low_xs > start) & (low_xs < end) & np.isfinite(lows)
        if above.any() and below.any():
            there = _path(xs[above], highs[above], x, y)
            back = _path(low_xs[below][::-1], lows[below][::-1], x, y)
            areas.append(f"{there}L{back[1:]}Z")
    return Markup('<path class="area" d="{}"/>').format("".join(areas))


def _svg(height: float, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg class="chart" viewBox="0 0 {:g} {:g}" role="img">{}</svg>').format(
        WIDTH, math.ceil(height), Markup("").join(parts)
    )
