"""From the log of a certification to its numbers: pure, and the only place where they are computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from art_multimodal.estimators.certification import ABSTAINED
from art_multimodal.evaluations.certification.lines import ATTACKED, CERTIFIED, CONSTANT, MODEL, VOTE, Line, is_control
from art_multimodal.evaluations.certification.radii import radii_results
from art_multimodal.evaluations.smoothing.budgets import budget_name, grid
from art_multimodal.evaluations.smoothing.verdicts import Verdict as Said
from art_multimodal.functional.statistics import paired_difference_ci95, proportion_ci95

Budget = Mapping[str, int]
#: Edits of a modality that a plot goes on to, where more than was asked for is certified; and the most that it shows.
_FURTHER, _MOST_SHOWN = 8, 40


@dataclass
class Found:
    """What the lines of one row add up to."""

    said: dict[int, Said] = field(default_factory=dict)
    passes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, line: Line) -> None:
        """Take a line in."""
        self.seconds += line.seconds
        self.passes.update(line.passes)
        self.said.update((one.index, one) for one in line.samples)


def summarise(header: dict[str, Any], lines: Iterable[Line]) -> dict[str, Any]:
    """Compute a run's numbers.

    A sample counts as certified within a budget if its answer is right and no attack within the budget changes it.
    Accuracies are over all samples; one without an answer is not right.

    :param header: The log's header.
    :param lines: The log's lines.
    :return: ``complete``, ``skipped`` (unreadable samples), ``results`` by row with their certified accuracy by budget,
        and ``plot``.
    """
    rows = {name: Found() for name in header["rows"]}
    skipped: list[dict[str, str]] = []
    for line in lines:
        rows[line.row].add(line)
        skipped += [{"name": one.name, "reason": one.reason} for one in line.skipped]
    budgets = grid([header["budget"]["largest"]])
    labels = {index: one.label for index, one in rows[MODEL].said.items()}
    results: dict[str, Any] = {}
    for name, found in rows.items():
        if name.startswith(ATTACKED):
            continue
        results[name] = _result(found)
        if header["rows"][name]:
            covers = _covers(header, name)
            results[name]["certified"] = _certified(found, budgets, covers)
        if name.startswith(VOTE):
            results[name] |= _replaced(found, header["rows"][name])
        if name == MODEL:
            results[name] |= _by_class(found, len(header["data"]["class_names"]))
    if constants := header.get("constants"):
        results[MODEL]["radii"] = radii_results(rows[MODEL].said.values(), constants)
    certified = rows[CERTIFIED]
    results[CERTIFIED]["radius"] = _radii(certified, header["rows"][CERTIFIED])
    results[CONSTANT] = _constant(labels, budgets)
    answer = results[CONSTANT].get("answer")
    for name in (name for name in results if is_control(name)):
        control = {i: label == answer for i, label in labels.items()} if name == CONSTANT else _right(rows[name])
        results[name] |= _behind(_right(certified), control)
    for name, found in rows.items():
        if name.startswith(ATTACKED):
            results[name] = _attacked(header, name, found, certified)
    done = len(labels) + len(skipped) == header["data"]["selected"]
    for name, found in rows.items():
        right = sum(one.right for one in certified.said.values())
        done = done and len(found.said) == (right if name.startswith(ATTACKED) else len(labels))
    plot = _plot(header, rows, budgets)
    return {"complete": done, "skipped": skipped, "results": results, "plot": plot}


def _accuracy(right: int, n: int) -> dict[str, Any]:
    return {"n": n, "accuracy": right / n if n else None, "accuracy_ci95": proportion_ci95(right, n)}


def _right(found: Found) -> dict[int, bool]:
    return {index: one.right for index, one in found.said.items()}


def _result(found: Found) -> dict[str, Any]:
    n = len(found.said)
    abstained = sum(one.predicted == ABSTAINED for one in found.said.values())
    return {
        **_accuracy(sum(_right(found).values()), n),
        "abstained": abstained / n if n else None,
        "passes": {what: number / n if n else None for what, number in found.passes.items()},
        "seconds": found.seconds,
    }


def _covers(header: dict[str, Any], row: str) -> Callable[[Said, Budget], bool]:
    """Whether no attack within a budget changes an answer of a row."""
    names = header["rows"][row]
    if row.startswith(VOTE):
        # Any change of a modality counts as one of all of it.
        return lambda said, budget: said.covers(tuple(min(1, budget.get(name, 0)) for name in names))
    return lambda said, budget: said.holds_within([budget[name] for name in names], header["settings"]["edits"])


def _share(found: Found, budget: Budget, covers: Callable[[Said, Budget], bool]) -> dict[str, Any]:
    good = sum(said.right and bool(said.corners) and covers(said, budget) for said in found.said.values())
    return _accuracy(good, len(found.said))


def _certified(
    found: Found, budgets: Iterable[Budget], covers: Callable[[Said, Budget], bool]
) -> dict[str, dict[str, Any]]:
    return {budget_name(budget): _share(found, budget, covers) for budget in budgets}


def _replaced(found: Found, names: Sequence[str]) -> dict[str, Any]:
    """Of a vote: what stays right whatever becomes of one modality, a given one or any."""
    alone = [tuple(int(other == name) for other in names) for name in names]
    right = [said for said in found.said.values() if said.right and said.corners]
    n = len(found.said)
    return {
        "replaced": {
            name: _accuracy(sum(said.covers(one) for said in right), n) for name, one in zip(names, alone, strict=True)
        },
        "any_one": _accuracy(sum(all(map(said.covers, alone)) for said in right), n),
    }


def _by_class(found: Found, nb_classes: int) -> dict[str, Any]:
    guesses = [one.predicted for one in found.said.values() if one.predicted != ABSTAINED]
    truth = [one.label for one in found.said.values()]
    return {
        "prediction_counts": np.bincount(np.array(guesses, dtype=np.int64), minlength=nb_classes).tolist(),
        "label_counts": np.bincount(np.array(truth, dtype=np.int64), minlength=nb_classes).tolist(),
    }


def _radii(found: Found, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """How many elements of each modality alone may change, over the right answers."""
    right = [said for said in found.said.values() if said.right and said.corners]
    result: dict[str, dict[str, Any]] = {}
    for place, name in enumerate(names):
        radii = [max(corner[place] for corner in said.corners) for said in right]
        result[name] = {"median": float(np.median(radii)) if radii else None, "largest": max(radii, default=None)}
    return result


def _constant(labels: Mapping[int, int], budgets: Iterable[Budget]) -> dict[str, Any]:
    """The best answer that does not look: the class that is most frequent among these very samples."""
    counts = Counter(labels.values())
    answer, right = min(counts.items(), key=lambda one: (-one[1], one[0])) if counts else (None, 0)
    accuracy = _accuracy(right, len(labels))
    return {**accuracy, "answer": answer, "certified": {budget_name(budget): accuracy for budget in budgets}}


def _behind(certified: Mapping[int, bool], control: Mapping[int, bool]) -> dict[str, Any]:
    """How far a control is behind the smoothed model without any attack, on the same samples."""
    both = [index for index in certified if index in control]
    these, others = [certified[index] for index in both], [control[index] for index in both]
    return {
        "behind": (sum(these) - sum(others)) / len(both) if both else None,
        "behind_ci95": paired_difference_ci95(these, others),
    }


def _attacked(header: dict[str, Any], name: str, found: Found, certified: Found) -> dict[str, Any]:
    """What an attack leaves, beside what is certified within its budget."""
    budget = _budget_of(name)
    covers = _covers(header, CERTIFIED)
    wrong = sum(not said.right for said in certified.said.values())
    broken = [index for index, said in found.said.items() if not said.right]
    return {
        **_accuracy(len(found.said) - len(broken), len(found.said) + wrong),
        "attacked": len(found.said),
        "budget": budget,
        "certified": _share(certified, budget, covers),
        # With votes that are drawn at random a few may be; otherwise the run would have stopped.
        "broken_certificates": sum(
            bool(certified.said[i].corners) and covers(certified.said[i], budget) for i in broken if i in certified.said
        ),
        "seconds": found.seconds,
    }


def _budget_of(row: str) -> dict[str, int]:
    """The budget in the name of an attack's row."""
    parts = row.rpartition("@")[2].split(",")
    return {name: int(number) for name, _, number in (part.partition("=") for part in parts)}


def _plot(header: dict[str, Any], rows: Mapping[str, Found], budgets: Sequence[Budget]) -> dict[str, Any]:
    """Certified accuracy over one modality or two, as a plot shows it: those that most edits are asked of."""
    names, largest = header["rows"][CERTIFIED], header["budget"]["largest"]
    axes = sorted(sorted(names, key=lambda name: -largest[name])[:2], key=names.index)
    ends = {}
    for name in axes:
        place = names.index(name)
        reached = [corner[place] for one in rows[CERTIFIED].said.values() if one.right for corner in one.corners]
        ends[name] = min(_MOST_SHOWN, max(largest[name], min(_FURTHER, max(reached, default=0) + 1)))
    points = grid([ends])
    shown = [name for name in rows if header["rows"][name] and not name.startswith(ATTACKED)]
    shares = {}
    for row in shown:
        covers = _covers(header, row)
        full = ({**dict.fromkeys(names, 0), **point} for point in points)
        shares[row] = [_share(rows[row], point, covers)["accuracy"] for point in full]
    labels = Counter(one.label for one in rows[MODEL].said.values())
    constant = max(labels.values(), default=0) / max(1, labels.total())
    return {"axes": axes, "ends": ends, "shares": {**shares, CONSTANT: [constant] * len(points)}}
