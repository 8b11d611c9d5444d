"""Of each class how many samples stay right, and what attacks make the model take them for. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from art_multimodal.evaluations.audit.lines import CLEAN
from art_multimodal.evaluations.audit.rows import Row, outcomes_of
from art_multimodal.functional.statistics import proportion_ci95

#: Pairs of classes that are kept of a row, the most frequent ones.
MOST_CONFUSIONS = 50
#: Classes, and pairs of classes, that pages show.
_SHOWN_CLASSES, _SHOWN_CONFUSIONS = 20, 10


def by_class(
    nb_classes: int,
    labels: Mapping[int, int],
    predictions: Mapping[int, int],
    rows: Mapping[str, Row],
    members: Mapping[str, Sequence[str]],
) -> dict[str, dict[str, Any]]:
    """Accuracy of each class and the confusions behind it, row by row.

    Over the samples that the row counts, so that the classes add up to the row: one that is wrong before an attack is
    wrong under it. Confusions are what the row itself does: without an attack all mistakes, under one those about
    samples that were right before. Of several attacks together a sample counts once, as the class that the first of
    them to mislead the model leads to.

    >>> from art_multimodal.evaluations.audit.rows import Row
    >>> clean, pgd = Row(correct={0: True, 1: True}), Row(correct={0: False, 1: True}, mistaken={0: 1})
    >>> found = by_class(2, {0: 0, 1: 1}, {0: 0, 1: 1}, {"clean": clean, "pgd": pgd}, {"image": ["pgd"]})
    >>> found["image"]["accuracy"], found["image"]["confusions"]
    ([0.0, 1.0], [{'label': 0, 'predicted': 1, 'count': 1}])

    :param nb_classes: K.
    :param labels: The class of each sample, by its place in the data.
    :param predictions: What the model says before any attack.
    :param rows: Of each pass, and ``clean``.
    :param members: The passes that each row of the report stands for.
    :return: By row lists of length K, in the order of the classes: ``n``, ``accuracy``, ``accuracy_ci95``, where there
        is no sample ``None``; ``mistaken``: samples behind the confusions; and ``confusions``: the
        :data:`MOST_CONFUSIONS` most frequent, each with ``label``, ``predicted`` and ``count``.
    """
    clean = rows[CLEAN].correct
    wrong = {index: predictions[index] for index, right in clean.items() if not right}
    found = {CLEAN: _of_row(nb_classes, labels, clean, wrong)}
    for row, passes in members.items():
        outcomes = outcomes_of(passes, rows, clean)
        misled = {index: _first(passes, rows, index) for index, right in outcomes.items() if not right and clean[index]}
        found[row] = _of_row(nb_classes, labels, outcomes, misled)
    return found


def _first(passes: Sequence[str], rows: Mapping[str, Row], index: int) -> int:
    """What the first of several attacks that mislead the model about a sample makes it say."""
    return next(rows[name].mistaken[index] for name in passes if index in rows[name].mistaken)


def _of_row(
    nb_classes: int, labels: Mapping[int, int], outcomes: Mapping[int, bool], mistaken: Mapping[int, int]
) -> dict[str, Any]:
    there, right = [0] * nb_classes, [0] * nb_classes
    for index, is_right in outcomes.items():
        there[labels[index]] += 1
        right[labels[index]] += is_right
    pairs = Counter((labels[index], predicted) for index, predicted in mistaken.items())
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
