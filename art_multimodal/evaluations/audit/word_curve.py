"""What ``worst_text`` leaves as more words may stand in each place: one number would say little about a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from art_multimodal.evaluations.audit.columns import Column
from art_multimodal.evaluations.audit.rendering import number, percent
from art_multimodal.evaluations.audit.rows import count

#: The row that has a curve.
CURVED = "worst_text"


def survivors(correct: Column[bool], fell_at: Column[int], point: int) -> int:
    """How many samples are right when so many words compete for each place.

    What was misled by no number of words alone (two changes one after the other) is counted as misled at every point,
    so points never rise.

    :param correct: Of each sample whether it is right at the last point.
    :param fell_at: Of each the smallest number of words that misled the model.
    """
    return count(correct.dense | (correct.there & (fell_at.dense > point)))


def points_of(sizes: Sequence[int], tried: int | None) -> list[tuple[int, int]]:
    """(Words of the point, words that were tried): nothing behind the first point that could not be tried as a whole.

    :param sizes: Of the points, ascending.
    :param tried: Words that were tried for each place at least; ``None`` where there were no places.
    """
    points = []
    for size in sizes:
        points.append((size, size if tried is None else min(size, tried)))
        if points[-1][1] < size:
            break
    return points


def points_in_words(row: Mapping[str, Any], report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Of each point of a row's curve what was tried, and the accuracy: ``("against 10 words", "48.0 %")``."""
    sizes = report["budget"]["word_curve"]
    said = []
    for point in row["word_curve"]:
        if point["tried"] < point["words"]:
            what = f"against the {number(point['tried'])} likeliest of {number(point['words'])} words"
        elif point["words"] == sizes[-1]:
            what = f"against any of the language model's {number(sizes[-1])}"
        else:
            what = f"against {number(point['words'])} words"
        said.append((what, percent(point["accuracy"])))
    return said
