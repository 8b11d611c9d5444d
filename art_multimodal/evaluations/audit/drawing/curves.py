"""Curves of accuracy over the radius, as SVG that holds nothing but numbers and escaped names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

#: Of a drawing, in its own units: as wide as a phone, so that letters there are as large as they are written.
_LEFT, _TOP, _BOTTOM, _WIDTH, _PLOT_HEIGHT = 44, 10, 40, 360, 220
_LINE = "#d8dee6"
#: Names of radii below the axis, where they have room.
_ROOM, _LONGEST_NAME = 46.0, 9
_DASHES = ("", "6 3", "2 3", "8 3 2 3")


def curves_svg(curves: Mapping[str, Mapping[str, Any]], colours: Mapping[str, str]) -> Markup:
    """Accuracy of several rows over the share of the largest radius, with 95 % intervals.

    :param curves: By row, from the summary.
    :param colours: By row; rows of one colour differ in their dashes.
    """
    parts = [
        Markup('<svg class="curves" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            _WIDTH, _TOP + _PLOT_HEIGHT + _BOTTOM, "Accuracy over the radius of attacks, with 95 percent intervals"
        )
    ]
    for tick in (0, 25, 50, 75, 100):
        y = _height(tick / 100)
        parts.append(
            Markup('<line x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}" stroke="{}"/>').format(_LEFT, _WIDTH - 8, y, y, _LINE)
        )
        parts.append(_text(_LEFT - 5, y + 4, f"{tick} %", "end"))
    parts += _axis(next(iter(curves.values()))["points"])
    dashes = dashes_of(colours)
    # Intervals of several rows at one radius stand side by side.
    for number, (row, curve) in enumerate(curves.items()):
        shift = 3.0 * (number - (len(curves) - 1) / 2)
        parts += _curve(row, curve["points"], colours[row], dashes[row], shift)
    return Markup("").join([*parts, Markup("</svg>")])


def dashes_of(colours: Mapping[str, str]) -> dict[str, str]:
    """Of each row the dashes of its line."""
    seen: dict[str, int] = {}
    found = {}
    for row, colour in colours.items():
        found[row] = _DASHES[seen.get(colour, 0) % len(_DASHES)]
        seen[colour] = seen.get(colour, 0) + 1
    return found


def _axis(points: Sequence[Mapping[str, Any]]) -> list[Markup]:
    """Names of the radii: the first and the last, and of the others those that have room."""
    *others, largest = points[1:]
    below = _TOP + _PLOT_HEIGHT + 15
    parts = [_text(_LEFT, below, points[0]["radius"], "middle"), _text(_WIDTH - 8, below, _named(largest), "end")]
    # From the right, since radii are often doubled.
    taken = _WIDTH - 8 - _ROOM / 2
    for point in reversed(others):
        x = _place(point["share"])
        if taken - x >= _ROOM and x - _LEFT >= _ROOM / 2:
            parts.append(_text(x, below, _named(point), "middle"))
            taken = x
    parts.append(_text((_LEFT + _WIDTH) / 2, below + 18, "radius that attacks may use", "middle"))
    return parts


def _named(point: Mapping[str, Any]) -> str:
    """A short radius by its name, a long one by its share of the largest."""
    return point["radius"] if len(point["radius"]) <= _LONGEST_NAME else f"{point['share']:.2g}"


def _curve(row: str, points: Sequence[Mapping[str, Any]], colour: str, dashes: str, shift: float) -> list[Markup]:
    known = [(point, _place(point["share"])) for point in points if point["accuracy"] is not None]
    path = " ".join(f"{x:.1f},{_height(point['accuracy']):.1f}" for point, x in known)
    parts = [
        Markup(
            '<polyline points="{}" fill="none" stroke="{}" stroke-width="2.2" stroke-dasharray="{}">'
            "<title>{}</title></polyline>"
        ).format(path, colour, dashes or "none", row)
    ]
    for point, place in known:
        low, high = point["accuracy_ci95"]
        x = min(max(place + shift, _LEFT), _WIDTH - 8.0)
        parts.append(
            Markup('<line x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}" stroke="{}" stroke-opacity=".55"/>').format(
                x, x, _height(low), _height(high), colour
            )
        )
        parts.append(
            Markup('<circle cx="{:.1f}" cy="{:.1f}" r="2.6" fill="{}"/>').format(
                place, _height(point["accuracy"]), colour
            )
        )
    return parts


def _place(share: float) -> float:
    return _LEFT + share * (_WIDTH - 8 - _LEFT)


def _height(accuracy: float) -> float:
    return _TOP + _PLOT_HEIGHT * (1 - accuracy)


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)
