"""Differences that the page speaks of, each on the same samples and with its interval: papers' claims, and demands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.fusions.cells import NOISE
from benchmarks.robust_training.statistics import Share

#: Of one contender a cell for each seed, by the name of the contender.
Cells = dict[str, list[dict[str, np.ndarray]]]
Radii = dict[str, tuple[float, float, float]]
#: Fusions whose papers promise more under noise than this one keeps.
WEIGHING, STATIC = ("qmf", "mla"), "late"
PLAIN, HARDENED = "concat", "concat, most-vulnerable, large"
#: Whose differences to the demands are told.
CANDIDATES = (
    *("median", "consensus", "consensus, most-vulnerable, large"),
    *("late, most-vulnerable, large", "orthogonal, most-vulnerable, large", HARDENED),
)
#: Of single-source accuracy, the share of an oracle's that is demanded.
KEPT = 0.9
SAID = {
    "noise": (
        "Weighing by quality against static late fusion under noise: differences in points, the mean over which "
        f"modality is noisy, standard deviations {', '.join(map(str, NOISE))} of its range."
    ),
    "schedules": (
        "`concat` trained on the modality that is most vulnerable, less the same trained on all at once (joint) or on "
        "one after the other (in-turn), at equal cost in steps: differences in points, at the radius of training and "
        "at the largest."
    ),
    "demands": (
        "What was demanded of a fusion with its training, at the least radius at which an attack on one modality "
        f"leaves `{PLAIN}` less than half of its clean accuracy: differences in points. *Oracle*: accuracy under "
        f"attack on a modality, less {KEPT:.0%} of what is right without it, of the worst modality. *Clean*: less that "
        f"of `{PLAIN}`. *Noise*, *missing*, *small*: less the best of the table under each (small: attacks on one "
        f"modality at the smallest radius). *Joint*: less that of `{HARDENED}`. A demand is missed for certain where "
        "an interval lies below 0; of *clean* below -2."
    ),
}


def single(name: str, radii: tuple[float, ...], number: int) -> tuple[str, ...]:
    """Attacks on a modality up to a radius: who may go farther may stay nearer."""
    return tuple(f"single/{name}/{radius:.4g}" for radius in radii[: number + 1])


def any_single(radii: Radii, number: int) -> tuple[str, ...]:
    """Attacks on whichever modality, up to a radius."""
    return tuple(condition for name, of in radii.items() for condition in single(name, of, number))


def joint(number: int) -> tuple[str, ...]:
    """Attacks on all modalities, up to a radius."""
    return tuple(f"joint/{smaller}" for smaller in range(number + 1))


def share_of(cells: list[dict[str, np.ndarray]], *names: str) -> Share:
    """The share of samples that are right in all of some conditions."""
    return _share(np.array([np.all([cell[name] for name in names], axis=0) for cell in cells], dtype=float))


def mean_of(cells: list[dict[str, np.ndarray]], *names: str) -> Share:
    """The share of samples that are right, the mean over some conditions."""
    return _share(np.array([np.mean([cell[name] for name in names], axis=0) for cell in cells]))


def _share(right: np.ndarray) -> Share:
    seeds = (right.mean(axis=1),) if len(right) > 1 else ()
    return Share((right.mean(axis=0),), seeds, np.array([]))


def noise(cells: Cells, radii: Radii) -> dict[str, list[dict[str, Any]]]:
    """By the name of a fusion, and level by level, what it keeps under noise less what :data:`STATIC` keeps."""
    if STATIC not in cells:
        return {}
    return {
        name: [_difference(mean_of, cells[name], cells[STATIC], [f"noise/{of}/{at}" for of in radii]) for at in NOISE]
        for name in WEIGHING
        if name in cells
    }


def schedules(cells: Cells, radii: Radii) -> dict[str, list[dict[str, Any]]]:
    """By the other schedule: clean, single source and joint at the middle radius, and both at the largest."""
    own = cells.get("concat, most-vulnerable")
    if own is None:
        return {}
    columns = [("clean",), any_single(radii, 1), joint(1), any_single(radii, 2), joint(2)]
    return {
        name: [_difference(share_of, own, cells[f"concat, {name}"], column) for column in columns]
        for name in ("joint", "in-turn")
        if f"concat, {name}" in cells
    }


def demands(cells: Cells, radii: Radii) -> dict[str, Any]:
    """At which radius, and by the name of a candidate the difference to each demand."""
    if PLAIN not in cells or HARDENED not in cells:
        return {}
    half = share_of(cells[PLAIN], "clean").value / 2
    fallen = [number for number in range(3) if share_of(cells[PLAIN], *any_single(radii, number)).value < half]
    if not fallen:
        return {}
    number = fallen[0]
    compared = [
        *([f"noise/{of}/{level}" for of in radii] for level in NOISE),
        [f"missing/{of}" for of in radii],
    ]
    found = {}
    for name in (one for one in CANDIDATES if one in cells):
        own = cells[name]
        oracle = [_against_oracle(own, of, single(of, its, number)) for of, its in radii.items()]
        # Of the levels of noise the one at which it is behind most.
        behind = [_behind(mean_of, cells, name, column) for column in compared]
        found[name] = {
            "oracle": min(oracle, key=lambda one: one["value"]),
            "clean": _difference(share_of, own, cells[PLAIN], ("clean",)),
            "noise": min(behind[: len(NOISE)], key=lambda one: one["value"]),
            "missing": behind[-1],
            "small": _behind(share_of, cells, name, any_single(radii, 0)),
            "joint": _difference(share_of, own, cells[HARDENED], joint(number)),
        }
    return {"radius": number, "values": found}


def _against_oracle(cells: list[dict[str, np.ndarray]], modality: str, attacked: tuple[str, ...]) -> dict[str, Any]:
    without = share_of(cells, f"missing/{modality}")
    demanded = replace(
        without,
        groups=tuple(KEPT * group for group in without.groups),
        seeds=tuple(KEPT * seeds for seeds in without.seeds),
    )
    return {"modality": modality, **(share_of(cells, *attacked) - demanded).estimate()}


def _behind(measure: Any, cells: Cells, name: str, conditions: Any) -> dict[str, Any]:
    """How much more the best of all has; 0 of the best itself."""
    best = max(cells, key=lambda one: measure(cells[one], *conditions).value)
    return {"best": best, **_difference(measure, cells[name], cells[best], conditions)}


def _difference(measure: Any, own: Any, other: Any, conditions: Any) -> dict[str, Any]:
    return (measure(own, *conditions) - measure(other, *conditions)).estimate()
