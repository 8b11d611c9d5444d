"""Tables of the page on certificates: limits that the mathematics sets, and what was measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any

Table = Callable[[Iterable[str], Iterable[Iterable[object]]], str]
#: Of the published sizes: frames and audio samples of RAVDESS with what is kept, and pixels of KITTI.
_RAVDESS, _CLASSES = ((108, 5), (79380, 1000)), 8
_KITTI = ((465750, 8988), (465750, 996))
_ALPHA, _VOTES = 0.001, (100, 1000, 10000)
#: How the edits of both modalities grow together.
_WAYS = {"r1 = r2": (1, 1), "r2 = 3 r1": (1, 3), "r1 = 2 r2": (2, 1)}


def limits(table: Table) -> str:
    """The largest budgets that any model can reach, by the number of votes alone."""
    from art_multimodal.functional.certificates.confidence import one_sided_lower, pixel_p_value, published_bounds

    rows = []
    for votes in _VOTES:
        _, own, other = published_bounds([votes, *[0] * (_CLASSES - 1)], _ALPHA)
        published, one_sided = (own - other) / 2, one_sided_lower(votes, votes, _ALPHA) - 0.5
        cells = [
            f"{_shown(_last(_RAVDESS, way, lambda lost, most=published: lost < most))} \\| "
            f"{_shown(_last(_RAVDESS, way, lambda lost, most=one_sided: lost < most))}"
            for way in _WAYS.values()
        ]

        def survives(lost: Fraction, votes: int = votes) -> bool:
            from art_multimodal.functional.certificates.overlap import Overlap

            if lost >= Fraction(1, 2):
                return False
            seen = Overlap(1 - lost, 1 - lost)
            return float(pixel_p_value(votes, votes, seen)) <= _ALPHA / _KITTI[0][0]

        rows.append([f"N = {votes:,}", *cells, _shown(_last(_KITTI, (1, 2), survives))])
    exact = [_shown(_last(one, way, lambda lost: lost < Fraction(1, 2))) for one, way in _all_ways()]
    rows.append(["all votes counted", *exact])
    header = ("votes", *(f"RAVDESS, {way}" for way in _WAYS), "KITTI, r2 = 2 r1")
    return table(header, rows).replace("\\\\|", "\\|")


def _all_ways() -> list[tuple[tuple[tuple[int, int], ...], tuple[int, int]]]:
    return [*((_RAVDESS, way) for way in _WAYS.values()), (_KITTI, (1, 2))]


def _last(
    sizes: tuple[tuple[int, int], ...], way: tuple[int, int], stands: Callable[[Fraction], bool]
) -> tuple[int, int]:
    """The largest budget along a way at which something stands, given the chance that a vote sees an edit."""
    from art_multimodal.functional.certificates.overlap import overlap

    largest = (0, 0)
    for step in count(1):
        edits = (way[0] * step, way[1] * step)
        (n1, k1), (n2, k2) = sizes
        seen = overlap(n1, k1, modified=edits[0]) * overlap(n2, k2, modified=edits[1])
        if not stands(1 - seen.clean):
            return largest
        largest = edits
    raise AssertionError


def _shown(budget: tuple[int, int]) -> str:
    return f"({budget[0]}, {budget[1]})"


def hybrid(table: Table) -> str:
    """Hiding words against random words, and how many words may change at the most."""
    from art_multimodal.functional.certificates.confidence import one_sided_lower
    from art_multimodal.functional.certificates.hybrid import filter_radius, hybrid_lower, uniform_lower
    from art_multimodal.functional.certificates.overlap import bernoulli_overlap

    rows = []
    for words in (1, 2, 3, 5):
        hidden = hybrid_lower(0.9995, bernoulli_overlap(0.75, modified=words), 0.5)
        random = uniform_lower(0.9995, 0.75, 30_000, words, 0.5)
        rows.append([words, f"{random:.4g}", f"{hidden:.4g}"])
    first = table(("words changed", "random words (arXiv:2605.12876)", "hidden words (here)"), rows)
    share = one_sided_lower(10_000, 10_000, 0.01)
    limits = []
    for hide in (0.1, 0.25, 0.5):
        most = next(
            words - 1 for words in count(1) if not filter_radius(share, bernoulli_overlap(1 - hide, modified=words), 0)
        )
        limits.append([hide, most])
    return (
        first
        + "\n"
        + table(
            ("words hidden with a chance of", "words changed at the most, N = 10,000, alpha 0.01, any threshold"),
            limits,
        )
    )


def measured(results: Path, table: Table) -> str:
    """What was measured, data set by data set."""
    result: dict[str, Any] = json.loads((results / "certificates.json").read_text(encoding="utf-8"))
    parts = [result["protocol"] + "\n"]
    for one in result["problems"].values():
        parts.append(f"### {one['title']}\n")
        parts.append(f"Budgets: edits of `{one['modalities'][0]}`, edits of `{one['modalities'][1]}`.\n")
        parts.append(table(one["header"], one["rows"]))
        parts.append(_marks(one, table))
    for name in ("digits", "roads", "vote", "questions", "words"):
        if name in result:
            parts.append(f"### {result[name]['title']}\n")
            parts.append(table(result[name]["header"], result[name]["rows"]))
    parts.append(f"`{result['command']}`\n")
    return "\n".join(parts)


def _marks(one: dict[str, Any], table: Table) -> str:
    titles = {"mmcert": "MMCert, N = 100", "joint": "randomised ablation, N = 100"}
    rows: list[list[object]] = []
    for mark in one["marks"]:
        for baseline, of in mark["differences"].items():
            cells = []
            for found in of.values():
                low, high = (100 * end for end in found["ci95"])
                cells.append(f"{100 * found['value']:+.0f} [{low:+.0f}, {high:+.0f}]")
            above = sum(found["ci95"][0] > 0 for found in of.values())
            rows.append([mark["base"], titles[baseline], *cells, f"{above} of {len(of)}"])
    said = (
        "Points of certified accuracy that the partition (64 votes, worst places) has more, sample by sample. Above: "
        "at how many budgets the interval is above zero."
    )
    budgets = one["header"][4:-3]
    return f"{said}\n\n" + table(("base", "than", *budgets, "above"), rows)
