"""The security curve: what attacks leave within each radius of a run, and the area under it. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from art_multimodal.evaluations.audit.columns import Column
from art_multimodal.evaluations.audit.lines import CLEAN
from art_multimodal.evaluations.audit.passes import Pass
from art_multimodal.evaluations.audit.radii import name_of
from art_multimodal.evaluations.audit.rows import Row, count, robustness, share_right, worst_of, wrong_in


@dataclass(frozen=True)
class RunRadius:
    """A radius of a run.

    :param name: As reports call it.
    :param eps: Of images, in the units of [0, 1].
    :param balls: Of each modality, where there are several.
    :param key: In names of passes: empty for the largest.
    """

    name: str
    eps: float
    balls: Mapping[str, float]
    key: str

    def share_of(self, largest: RunRadius, modality: str) -> float:
        """How large it is, the largest being 1: of one modality, or the mean over all that have one.

        :param modality: Its name, or that of a row about several.
        """
        if not self.balls:
            return self.eps / largest.eps
        names = [modality] if modality in self.balls else list(self.balls)
        return float(np.mean([self.balls[name] / largest.balls[name] for name in names]))


def radii_of(header: Mapping[str, Any]) -> list[RunRadius]:
    """The radii of a run, ascending; a single one where there are no others."""
    budget = header["budget"]
    largest = {**budget, "name": name_of(header["settings"]["eps"], budget["norm"])}
    return [
        RunRadius(
            one["name"],
            one["eps"],
            {name: ball["eps"] for name, ball in one.get("modalities", {}).items()},
            "" if one is largest else one["name"],
        )
        for one in (*header.get("smaller", ()), largest)
    ]


def curves_of(
    header: Mapping[str, Any], rows: Mapping[str, Row], groups: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Any]]:
    """Of each row of a report that a radius binds, its curve.

    At each radius a row that stands for several attacks counts those within it, and those that no radius binds. At
    radius 0 it counts the latter alone, and where there are none it is the accuracy before any attack: of an attack
    that changes words besides an upper bound of what it leaves there.

    :param rows: Of each pass, and ``clean``.
    :param groups: Of each row that stands for several, its passes within the largest radius.
    :return: By row ``points``, ascending, each with the name of the ``radius``, its ``share`` of the largest, ``n``,
        ``accuracy``, ``attacked``, ``attack_success_rate`` and intervals; and ``area``: under the accuracy over the
        shares, in [0, 1], by trapezoids. ``None`` where something was not evaluated.
    """
    curves = {}
    for row, members in {**{name: [name] for name in header["attacks"]}, **groups}.items():
        found = points_of_row(header, rows, row, [Pass.of(name) for name in members])
        if found:
            curves[row] = {"area": area_under([(one["share"], one["accuracy"]) for one in found]), "points": found}
    return curves


def points_of_row(
    header: Mapping[str, Any], rows: Mapping[str, Row], row: str, members: Sequence[Pass]
) -> list[dict[str, Any]]:
    """The points of a row's curve; none where no radius binds it.

    :param members: What counts for it, within the largest radius.
    """
    *smaller, largest = radii_of(header)
    bound = [one for one in members if any(one.within(rows, radius.key) != one for radius in smaller)]
    if not bound:
        return []
    clean, free = rows[CLEAN].correct, [rows[one.name] for one in members if one not in bound]
    modality = row.partition("@")[2] or row
    at_nothing = _left(free, clean) if free else _before(clean)
    points = [{"radius": "0", "share": 0.0, **at_nothing}]
    for radius in (*smaller, largest):
        within = [rows[one.within(rows, radius.key).name] for one in bound]
        points.append(
            {"radius": radius.name, "share": radius.share_of(largest, modality), **_left([*within, *free], clean)}
        )
    return points


def _left(rows: Sequence[Row], clean: Column[bool]) -> dict[str, Any]:
    attacked, survived = worst_of(rows)
    return robustness(count(survived), count(attacked), wrong_in(clean))


def _before(clean: Column[bool]) -> dict[str, Any]:
    right = count(clean.dense)
    none = {"attacked": right, "attack_success_rate": 0.0 if right else None, "attack_success_rate_ci95": None}
    return {**share_right(clean), **none}


def drawn(report: Mapping[str, Any]) -> list[str]:
    """Rows whose curves are drawn: those that stand for several attacks, and of an attack without one its own."""
    stood_for = {report["results"][row]["modality"] for row in report["curves"] if row in report["attacks"]}
    groups = [row for row in report["curves"] if row not in report["attacks"]]
    return groups + [
        row
        for row in report["curves"]
        if row in report["attacks"] and report["results"][row]["modality"] in stood_for - {*groups}
    ]


def area_under(points: Sequence[tuple[float, float | None]]) -> float | None:
    """The area under a curve, by trapezoids: in [0, 1] where it goes from 0 to 1 and all values lie in [0, 1].

    :param points: (Share of the largest radius, accuracy), ascending.
    :return: ``None`` where an accuracy is not known.
    """
    if any(value is None for _, value in points):
        return None
    shares, values = np.array(points, dtype=float).T
    return float(min(1.0, np.trapezoid(values, shares)))
