"""Of each class how many samples stay right, and what attacks make the model take them for. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from art_multimodal.evaluations.audit.columns import Column
from art_multimodal.evaluations.audit.lines import CLEAN
from art_multimodal.evaluations.audit.rows import Row, outcomes_of
from art_multimodal.functional.statistics import proportion_ci95

#: Pairs of classes that are kept of a row, the most frequent ones.
MOST_CONFUSIONS = 50
#: Classes, and pairs of classes, that pages show.
_SHOWN_CLASSES, _SHOWN_CONFUSIONS = 20, 10


def by_class(
    nb_classes: int, rows: Mapping[str, Row], members: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Any]]:
    """Accuracy of each class and the confusions behind it, row by row.

    Over the samples that the row counts, so that the classes add up to the row: one that is wrong before an attack is
    wrong under it. Confusions are what the row itself does: without an attack all mistakes, under one those about
    samples that were right before. Of several attacks together a sample counts once, as the class that the first of
    them to mislead the model leads to.

    >>> from art_multimodal.evaluations.audit.outcomes import rows_of
    >>> rows, clean = rows_of(log.header, log.lines())
    >>> found = by_class(len(log.header["data"]["class_names"]), rows, {"image": log.header["attacks"]})
    >>> list(found), sum(found["image"]["n"]) == len(clean)
    (['clean', 'image'], True)

    :param nb_classes: K.
    :param rows: Of each pass, and ``clean``.
    :param members: The passes that each row of the report stands for.
    :return: By row lists of length K, in the order of the classes: ``n``, ``accuracy``, ``accuracy_ci95``, where there
        is no sample ``None``; ``mistaken``: samples behind the confusions; and ``confusions``: the
        :data:`MOST_CONFUSIONS` most frequent, each with ``label``, ``predicted`` and ``count``.
    """
    clean, labels = rows[CLEAN].correct, rows[CLEAN].labels.dense
    found = {CLEAN: _of_row(nb_classes, labels, clean, rows[CLEAN].mistaken)}
    for row, passes in members.items():
        outcomes = outcomes_of(passes, rows, clean)
        misled = outcomes.there & ~outcomes.dense & clean.dense
        found[row] = _of_row(nb_classes, labels, outcomes, _first([rows[name].mistaken for name in passes], misled))
    return found


def _first(mistaken: Sequence[Column[int]], misled: np.ndarray) -> Column[int]:
    """What the first of several attacks that mislead the model about a sample makes it say.

    :param misled: Samples that one of them does ``(N,)``.
    """
    said = np.select([one.there for one in mistaken], [one.dense for one in mistaken])
    return Column(mistaken[0].samples, np.where(misled, said, 0), misled)


def _of_row(nb_classes: int, labels: np.ndarray, outcomes: Column[bool], mistaken: Column[int]) -> dict[str, Any]:
    there = np.bincount(labels[outcomes.there], minlength=nb_classes).tolist()
    right = np.bincount(labels[outcomes.dense], minlength=nb_classes).tolist()
    both = np.stack([labels[mistaken.there], mistaken.dense[mistaken.there]])
    kinds, counts = np.unique(both, axis=1, return_counts=True)
    pairs = dict(zip(map(tuple, kinds.T.tolist()), counts.tolist(), strict=True))
    # Equally frequent ones in the order of the classes, whatever the order of the samples.
    frequent = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:MOST_CONFUSIONS]
    return {
        "n": there,
        "accuracy": [hits / n if n else None for hits, n in zip(right, there, strict=True)],
        "accuracy_ci95": [_ci95(hits, n) for hits, n in zip(right, there, strict=True)],
        "mistaken": len(mistaken),
        "confusions": [{"label": a, "predicted": b, "count": count} for (a, b), count in frequent],
    }


@cache
def _ci95(hits: int, n: int) -> tuple[float, float] | None:
    """Few counts are different: classes of a data set have as many samples."""
    return proportion_ci95(hits, n)


def shown_classes(report: Mapping[str, Any], row: str | None) -> list[dict[str, Any]]:
    """The classes that a page shows: those that a row leaves the least of, of many the worst ones.

    :param report: What ``report.json`` holds, of a classifier.
    :param row: Under attack; ``None`` where there is none, and the accuracy without an attack counts.
    :return: Each with ``name``, ``n``, ``predicted`` (before any attack), ``clean`` and ``attacked`` (accuracy and
        interval), and ``taken_for``: what the row makes the model take it for most often, with the count.
    """
    of_clean = report["by_class"][CLEAN]
    under = report["by_class"][row] if row else None
    names, counts = report["data"]["class_names"], report["results"][CLEAN]["prediction_counts"]
    most: dict[int, dict[str, Any]] = {}
    for one in (under or of_clean)["confusions"]:
        most.setdefault(one["label"], {"name": names[one["predicted"]], "count": one["count"]})
    classes = [
        {
            "place": place,
            "name": name,
            "n": of_clean["n"][place],
            "predicted": counts[place],
            "clean": _share(of_clean, place),
            "attacked": None if under is None else _share(under, place),
            "taken_for": most.get(place),
        }
        for place, name in enumerate(names)
    ]
    return sorted(classes, key=_badness)[:_SHOWN_CLASSES]


def _badness(one: Mapping[str, Any]) -> tuple[float, ...]:
    """Sorts the worst class to the front; those without samples come last, the ones that are predicted first."""
    shares = [share["accuracy"] for share in (one["attacked"], one["clean"]) if share is not None]
    known = [2.0 if share is None else share for share in shares]
    return (not one["n"], *known, *[0.0] * (2 - len(known)), -one["n"], -one["predicted"], one["place"])


def _share(row: Mapping[str, Any], place: int) -> dict[str, Any]:
    return {key: row[key][place] for key in ("n", "accuracy", "accuracy_ci95")}


def shown_confusions(report: Mapping[str, Any], row: str) -> list[dict[str, Any]]:
    """The most frequent confusions of a row with the names of the classes.

    :param report: What ``report.json`` holds, of a classifier.
    """
    names = report["data"]["class_names"]
    return [
        {"name": names[one["label"]], "taken_for": names[one["predicted"]], "count": one["count"]}
        for one in report["by_class"][row]["confusions"][:_SHOWN_CONFUSIONS]
    ]
