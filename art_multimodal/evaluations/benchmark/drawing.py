"""Drawings of a benchmark as SVG that holds nothing but numbers and escaped names: a radar, and curves over radii."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from art_multimodal.evaluations.audit.drawing.curves import curves_svg
from art_multimodal.evaluations.benchmark.measured import WORST
from art_multimodal.evaluations.benchmark.table import BenchmarkTable
from art_multimodal.shown import brief

#: Of models, in their order; then again.
COLOURS = ("#3b7dd8", "#c8452f", "#2f8f83", "#b98217", "#a02f6f", "#8a5bb8", "#3d4652", "#6a7f2b")
#: Of a drawing, in its own units: as wide as a phone.
_WIDTH, _HEIGHT, _RADIUS = 360, 300, 100
_LINE = "#d8dee6"
_LONGEST = 16
#: Fewer axes are no area.
_LEAST = 3


def colours_of(models: Sequence[str]) -> dict[str, str]:
    """Of each model its colour."""
    return {model: COLOURS[number % len(COLOURS)] for number, model in enumerate(models)}


def radar_svg(axes: Sequence[str], values: Mapping[str, Sequence[float]], colours: Mapping[str, str]) -> Markup:
    """Accuracies of several models along several axes, 0 in the middle and 1 at the rim.

    :param axes: Their names.
    :param values: By model, of each axis.
    :param colours: By model.
    """
    said = "Accuracy of each model along the axes"
    parts = [
        Markup('<svg class="curves" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(_WIDTH, _HEIGHT, said)
    ]
    rim = Markup('<polygon points="{}" fill="none" stroke="{}"/>')
    parts += [rim.format(_points([share] * len(axes)), _LINE) for share in (0.25, 0.5, 0.75, 1.0)]
    for number, name in enumerate(axes):
        x, y = _place(number, len(axes), 1.0)
        line = Markup('<line x1="{}" y1="{}" x2="{:.1f}" y2="{:.1f}" stroke="{}"/>')
        parts.append(line.format(_WIDTH // 2, _HEIGHT // 2, x, y, _LINE))
        x, y = _place(number, len(axes), 1.12)
        anchor = "middle" if abs(x - _WIDTH / 2) < 8 else "start" if x > _WIDTH / 2 else "end"
        text = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
        parts.append(text.format(x, y + 4, anchor, brief(name, _LONGEST)))
    shape = Markup(
        '<polygon points="{}" fill="{}" fill-opacity=".08" stroke="{}" stroke-width="2"><title>{}</title></polygon>'
    )
    for model, of in values.items():
        parts.append(shape.format(_points(of), colours[model], colours[model], brief(model, 80)))
    return Markup("").join([*parts, Markup("</svg>")])


def _place(number: int, axes: int, share: float) -> tuple[float, float]:
    angle = 2 * math.pi * number / axes - math.pi / 2
    return _WIDTH / 2 + share * _RADIUS * math.cos(angle), _HEIGHT / 2 + share * _RADIUS * math.sin(angle)


def _points(values: Sequence[float]) -> str:
    places = (_place(number, len(values), value) for number, value in enumerate(values))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def drawings_of(table: BenchmarkTable, budget: str) -> list[dict[str, Any]]:
    """The drawings of a budget, each with a title: those for which there is enough."""
    radii, colours, role = table.budgets[budget], colours_of(table.models), table.roles[-1]
    found = []
    column = WORST if WORST in table.columns else table.columns[-1]
    largest = radii[-1]
    by_set = {
        model: [table.find(budget, largest, model, column, data=data) for data in table.data] for model in table.models
    }
    by_column = {
        model: [table.find(budget, largest, model, one, role=role) for one in table.columns] for model in table.models
    }
    for axes, rows, title in (
        (list(table.data), by_set, f"{column}: accuracy on each data set"),
        (list(table.columns), by_column, "mean accuracy in each column"),
    ):
        whole = {model: [one.accuracy for one in row if one] for model, row in rows.items() if all(row)}
        if len(axes) >= _LEAST and whole:
            found.append({"title": title, "svg": radar_svg(axes, whole, colours), "models": list(whole)})
    if len(radii) > 1:
        curves = {model: _curve(table, budget, model, column, role) for model in table.models}
        whole_curves = {model: {"points": points} for model, points in curves.items() if points}
        if whole_curves:
            own = {model: colours[model] for model in whole_curves}
            title = f"{column}: mean accuracy over the radius"
            found.append({"title": title, "svg": curves_svg(whole_curves, own), "models": list(whole_curves)})
    return found


def _curve(table: BenchmarkTable, budget: str, model: str, column: str, role: str) -> list[dict[str, Any]]:
    """The points of a model's curve; none where one is not known."""
    radii = table.budgets[budget]
    at = [("0", 0.0, table.find(budget, radii[-1], model, "clean", role=role))]
    shares = zip(radii, table.shares[budget], strict=True)
    at += [(radius, share, table.find(budget, radius, model, column, role=role)) for radius, share in shares]
    return [
        {"radius": radius, "share": share, "accuracy": one.accuracy, "accuracy_ci95": one.ci95}
        for radius, share, one in at
        if one is not None and all(other is not None for _, _, other in at)
    ]
