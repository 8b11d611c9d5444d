"""Modalities that are plots: numbers to lines, bars and dots, as SVG that holds nothing but numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from markupsafe import Markup

from art_multimodal.evaluations.typed_json import Matching, Signed
from art_multimodal.modalities.modality import Modality

#: Lines, bars, points and steps that are shown at most.
_LINES, _BARS, _DOTS, _STEPS = 3, 24, 300, 240
#: Of the drawing, in its own units; room for numbers at the left and below.
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 320, 130, 34, 18
#: Any number.
Number = Annotated[float, Signed()]
#: Shares of the range that are no change.
_ROUNDING = 1e-6
_BEFORE, _MARK = "#8a94a3", "#e8204e"


@dataclass(frozen=True)
class Plot:
    """The numbers of a plot.

    :param form: ``"lines"``, ``"bars"`` or ``"dots"``.
    :param before: Of each line, bar or coordinate its values.
    :param after: Likewise.
    :param numbers: Which features or columns these are, counted from 0.
    :param of: How many there are.
    :param low: The lower end of the range.
    :param high: The upper end.
    :param length: Steps of a sequence.
    :param marked: Runs of steps that changed: first and behind the last.
    """

    form: Annotated[str, Matching("lines|bars|dots")]
    before: tuple[tuple[Number, ...], ...]
    after: tuple[tuple[Number, ...], ...]
    numbers: tuple[int, ...]
    of: int
    low: tuple[Number, Number]
    high: tuple[Number, Number]
    length: int
    marked: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        sizes = [len(values) for values in (*self.before, *self.after)]
        wanted = {"lines": len(self.numbers), "bars": 1, "dots": 2}[self.form]
        whole = len(self.before) == len(self.after) == wanted and len(set(sizes)) <= 1
        if not whole or (self.form != "lines" and sizes and sizes[0] != len(self.numbers)):
            raise ValueError("the numbers of a plot do not fit together")


def as_plot(modality: Modality, before: np.ndarray, after: np.ndarray, length: int) -> Plot:
    """The numbers of a sample before and after, as they are plotted.

    :param before: Of one sample, ``(*shape)``.
    :param after: Likewise.
    :param length: Steps of a sequence; of others what is shown of them.
    """
    form = _FORMS.get(modality.kind, "lines" if modality.variable else "bars")
    low, high = (float(np.min(modality.clip_values[0])), float(np.max(modality.clip_values[1])))
    before, after = (np.nan_to_num(values, nan=low).astype(np.float64) for values in (before, after))
    if form == "bars":
        return _bars(before.ravel(), after.ravel(), low, high)
    if form == "dots":
        return _dots(before[:length], after[:length], low, high)
    return _lines(before[:length].reshape(length, -1), after[:length].reshape(length, -1), low, high)


def svg(plot: Plot, colour: str, said: str) -> Markup:
    """The plot as inline SVG.

    :param colour: Of what is there after the attack.
    :param said: For those who do not see it.
    """
    draw = {"lines": _draw_lines, "bars": _draw_bars, "dots": _draw_dots}[plot.form]
    parts = [
        Markup('<svg class="drawn" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(_WIDTH, _HEIGHT, said),
        *draw(plot, colour),
        Markup("</svg>"),
    ]
    return Markup("").join(parts)


def caption(plot: Plot) -> str:
    """What is shown of how much."""
    what = {"lines": "features", "bars": "columns", "dots": "points"}[plot.form]
    changed = ""
    if plot.form == "lines" and plot.marked:
        steps = sum(end - start for start, end in plot.marked)
        changed = "; every step changed" if steps == plot.length else f"; {steps} of {plot.length} steps changed"
    if len(plot.numbers) >= plot.of:
        return f"{plot.of} {what}{changed}"
    which = "" if plot.form == "dots" else f", those that {'vary' if plot.before == plot.after else 'changed'} most"
    return f"{len(plot.numbers)} of {plot.of} {what}{which}{changed}"


def _lines(before: np.ndarray, after: np.ndarray, low: float, high: float) -> Plot:
    change = np.abs(after - before)
    chosen = _most(change.max(axis=0, initial=0), before.std(axis=0) if len(before) else change.sum(axis=0), _LINES)
    kept = np.unique(np.linspace(0, max(0, len(before) - 1), _STEPS).round().astype(int))[: len(before)]
    return Plot(
        "lines",
        tuple(_rounded(before[kept, number]) for number in chosen),
        tuple(_rounded(after[kept, number]) for number in chosen),
        tuple(map(int, chosen)),
        before.shape[1],
        (0, low),
        (max(1, len(before) - 1), high),
        len(before),
        _runs(change.max(axis=1, initial=0) > _ROUNDING * (high - low)),
    )


def _bars(before: np.ndarray, after: np.ndarray, low: float, high: float) -> Plot:
    chosen = _most(np.abs(after - before), np.abs(before - before.mean()), _BARS)
    return Plot(
        "bars",
        (_rounded(before[chosen]),),
        (_rounded(after[chosen]),),
        tuple(map(int, chosen)),
        len(before),
        (0, low),
        (len(chosen), high),
        len(before),
    )


def _dots(before: np.ndarray, after: np.ndarray, low: float, high: float) -> Plot:
    flat = [values.reshape(len(values), -1) for values in (before, after)]
    chosen = np.unique(np.linspace(0, max(0, len(before) - 1), _DOTS).round().astype(int))[: len(before)]
    two = [np.column_stack([values[chosen], np.zeros(len(chosen))])[:, :2] for values in flat]
    return Plot(
        "dots",
        tuple(_rounded(two[0][:, axis]) for axis in range(2)),
        tuple(_rounded(two[1][:, axis]) for axis in range(2)),
        tuple(map(int, chosen)),
        len(before),
        (low, low),
        (high, high),
        len(before),
    )


def _most(change: np.ndarray, otherwise: np.ndarray, count: int) -> np.ndarray:
    """Numbers of what changed most, ascending; where nothing did, of what varies most."""
    ranked = np.lexsort((-otherwise, -change))
    return np.sort(ranked[:count])


def _runs(marked: np.ndarray) -> tuple[tuple[int, int], ...]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marked.astype(int), [0]])))
    return tuple((int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True))


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in values)


class _Axes:
    """From values to places in the drawing."""

    def __init__(self, plot: Plot) -> None:
        self.low, self.high = plot.low, plot.high

    def x(self, value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - 6) * (value - self.low[0]) / ((self.high[0] - self.low[0]) or 1)

    def y(self, value: float) -> float:
        share = (value - self.low[1]) / ((self.high[1] - self.low[1]) or 1)
        return 6 + (_HEIGHT - _BOTTOM - 6) * (1 - share)

    def frame(self, first: str, last: str) -> list[Markup]:
        """The range at the left, and what is below the ends."""
        left, right, top, bottom = self.x(self.low[0]), self.x(self.high[0]), self.y(self.high[1]), self.y(self.low[1])
        line = Markup('<line class="axis" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
        text = Markup('<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
        return [
            line.format(left, right, bottom, bottom),
            line.format(left, left, top, bottom),
            text.format(left - 4, top + 8, "end", f"{self.high[1]:.3g}"),
            text.format(left - 4, bottom, "end", f"{self.low[1]:.3g}"),
            text.format(left, _HEIGHT - 4, "start", first),
            text.format(right, _HEIGHT - 4, "end", last),
        ]


def _draw_lines(plot: Plot, colour: str) -> list[Markup]:
    axes, half = _Axes(plot), 0.5
    parts = []
    if sum(end - start for start, end in plot.marked) < plot.length:
        for start, end in plot.marked:
            left, right = axes.x(max(0, start - half)), axes.x(min(plot.length - 1, end - half))
            rect = Markup('<rect class="marked" x="{:.1f}" y="6" width="{:.1f}" height="{}"/>')
            parts.append(rect.format(left, max(1.5, right - left), _HEIGHT - _BOTTOM - 6))
    parts += axes.frame("0", f"step {plot.length - 1}")
    for values, stroke, width in ((plot.before, _BEFORE, 1.2), (plot.after, colour, 1.6)):
        if values is plot.after and plot.after == plot.before:
            continue
        for line in values:
            steps = np.linspace(0, plot.length - 1, len(line)) if len(line) > 1 else [0.0]
            points = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in zip(steps, line, strict=True))
            shape = Markup('<polyline fill="none" stroke="{}" stroke-width="{}" points="{}"/>')
            parts.append(shape.format(stroke, width, points))
    return parts


def _draw_bars(plot: Plot, colour: str) -> list[Markup]:
    axes = _Axes(plot)
    zero = axes.y(min(max(0.0, plot.low[1]), plot.high[1]))
    wide = (_WIDTH - _LEFT - 6) / max(1, len(plot.numbers))
    rect = Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill="{}"/>')
    parts, same = [], plot.after == plot.before
    for number, (before, after) in enumerate(zip(plot.before[0], plot.after[0], strict=True)):
        left = axes.x(number)
        for place, value, fill in ((0.08, before, _BEFORE), (0.48, after, colour)):
            if same and fill == colour:
                continue
            top = axes.y(value)
            parts.append(rect.format(left + place * wide, min(top, zero), 0.4 * wide, max(0.6, abs(top - zero)), fill))
    first, last = (f"{number}" for number in (plot.numbers[0], plot.numbers[-1])) if plot.numbers else ("", "")
    return [*parts, *axes.frame(f"column {first}", last)]


def _draw_dots(plot: Plot, colour: str) -> list[Markup]:
    axes = _Axes(plot)
    dot = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{}" fill="{}"/>')
    line = Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}" stroke-width="0.7"/>')
    parts = list(axes.frame(f"{plot.low[0]:.3g}", f"{plot.high[0]:.3g}"))
    moved: Sequence[tuple[float, ...]] = list(zip(*plot.before, *plot.after, strict=True))
    for x, y, new_x, new_y in moved:
        parts.append(dot.format(axes.x(x), axes.y(y), 1.6, _BEFORE))
        if (x, y) != (new_x, new_y):
            parts.append(line.format(axes.x(x), axes.y(y), axes.x(new_x), axes.y(new_y), _MARK))
            parts.append(dot.format(axes.x(new_x), axes.y(new_y), 1.8, colour))
    return parts


_FORMS = {"sequence": "lines", "skeleton": "lines", "table": "bars", "point cloud": "dots"}
