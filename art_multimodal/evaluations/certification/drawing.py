"""The staircase: certified accuracy over budgets, as SVG that holds nothing but numbers and escaped names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from art_multimodal.evaluations.certification.lines import CERTIFIED, VOTE, is_control

_RECTANGLE = Markup('<rect x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}" {}/>')
#: Of a drawing, in its own units.
_LEFT, _TOP, _BOTTOM, _WIDTH, _PLOT_HEIGHT = 46, 8, 44, 360, 220
#: More cells in a row leave no room for their numbers.
_MOST_NUMBERS = 10
_SMOOTHED, _BEATEN, _CONTROL, _VOTE, _LINE = "#3b7dd8", "#5b6675", "#c8452f", "#1d7a3e", "#d8dee6"
#: Beyond this share a cell is too dark for dark numbers.
_DARK = 0.85


def staircase(plot: dict[str, Any], asked: Sequence[dict[str, int]]) -> Markup:
    """The plot of a report as inline SVG: cells over two modalities, or lines over one.

    :param plot: From the summary.
    :param asked: The budgets that were asked for, by modality; cells are outlined.
    """
    return _cells(plot, asked) if len(plot["axes"]) == 2 else _lines(plot)


def _cells(plot: dict[str, Any], asked: Sequence[dict[str, int]]) -> Markup:
    across, up = plot["axes"]
    columns, rows = plot["ends"][across] + 1, plot["ends"][up] + 1
    size = (_WIDTH - _LEFT - 8) / columns
    high = min(size, 40.0)
    height = _TOP + rows * high + _BOTTOM
    controls = [shares for row, shares in plot["shares"].items() if is_control(row)]
    outlined = {(budget[across], budget[up]) for budget in asked}
    parts = [_open(height, f"Certified accuracy over edits of {across} and of {up}")]
    for column in range(columns):
        for row in range(rows):
            place = column * rows + row
            share = plot["shares"][CERTIFIED][place] or 0.0
            x, y = _LEFT + column * size, _TOP + (rows - 1 - row) * high
            # What a control certifies, too, is no achievement of the model's.
            beaten = any((other[place] or 0.0) >= share for other in controls)
            shade = Markup('fill="{}" fill-opacity="{:.3f}" stroke="{}"').format(
                _BEATEN if beaten else _SMOOTHED, share, _LINE
            )
            parts.append(_RECTANGLE.format(x, y, size, high, shade))
            if columns <= _MOST_NUMBERS:
                kind = "light" if share > _DARK else "cell"
                parts.append(_tick(x + size / 2, y + high / 2 + 4, f"{100 * share:.0f}", "middle", kind))
    for column, row in sorted(outlined):
        if column < columns and row < rows:
            place = (_LEFT + column * size, _TOP + (rows - 1 - row) * high)
            parts.append(_RECTANGLE.format(*place, size, high, Markup('class="asked"')))
    bottom = _TOP + rows * high
    every = -(-columns // _MOST_NUMBERS)
    for column in range(0, columns, every):
        parts.append(_tick(_LEFT + (column + 0.5) * size, bottom + 14, str(column), "middle"))
    every = -(-rows // _MOST_NUMBERS)
    for row in range(0, rows, every):
        parts.append(_tick(_LEFT - 6, bottom - (row + 0.5) * high + 4, str(row), "end"))
    parts.append(_tick((_LEFT + _WIDTH) / 2, bottom + 34, f"edited elements of {across}", "middle", "axis"))
    middle = _TOP + rows * high / 2
    parts.append(
        Markup('<text class="axis" transform="translate(12 {:.2f}) rotate(-90)" text-anchor="middle">{}</text>').format(
            middle, f"of {up}"
        )
    )
    return _closed(parts)


def _lines(plot: dict[str, Any]) -> Markup:
    (across,) = plot["axes"]
    steps = plot["ends"][across] + 1
    size, bottom = (_WIDTH - _LEFT - 8) / steps, _TOP + _PLOT_HEIGHT
    parts = [_open(bottom + _BOTTOM, f"Certified accuracy over edits of {across}")]
    for tick in (0, 25, 50, 75, 100):
        y = bottom - _PLOT_HEIGHT * tick / 100
        parts.append(
            Markup('<line x1="{}" x2="{}" y1="{:.2f}" y2="{:.2f}" stroke="{}"/>').format(_LEFT, _WIDTH, y, y, _LINE)
        )
        parts.append(_tick(_LEFT - 6, y + 4, f"{tick} %", "end"))
    for row, shares in plot["shares"].items():
        path = "".join(
            f"{'M' if not step else 'L'}{_LEFT + step * size:.2f} {bottom - _PLOT_HEIGHT * (share or 0.0):.2f}"
            f"H{_LEFT + (step + 1) * size:.2f}"
            for step, share in enumerate(shares)
        )
        dashed = Markup(' stroke-dasharray="5 3"') if row != CERTIFIED else ""
        parts.append(
            Markup('<path d="{}" fill="none" stroke="{}" stroke-width="2"{}><title>{}</title></path>').format(
                path, colour_of(row), dashed, row
            )
        )
    every = -(-steps // _MOST_NUMBERS)
    for step in range(0, steps, every):
        parts.append(_tick(_LEFT + (step + 0.5) * size, bottom + 14, str(step), "middle"))
    parts.append(_tick((_LEFT + _WIDTH) / 2, bottom + 34, f"edited elements of {across}", "middle", "axis"))
    return _closed(parts)


def colour_of(row: str) -> str:
    """Of a row's line."""
    return _VOTE if row.startswith(VOTE) else _CONTROL if is_control(row) else _SMOOTHED


def _open(height: float, said: str) -> Markup:
    return Markup('<svg class="staircase" viewBox="0 0 {} {:.2f}" role="img" aria-label="{}">').format(
        _WIDTH, height, said
    )


def _tick(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> Markup:
    return Markup('<text class="{}" x="{:.2f}" y="{:.2f}" text-anchor="{}">{}</text>').format(kind, x, y, anchor, text)


def _closed(parts: Sequence[Markup]) -> Markup:
    return Markup("").join([*parts, Markup("</svg>")])
