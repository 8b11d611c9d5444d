"""What the lines of one attack add up to, and accuracies of one or several attacks."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from art_multimodal.evaluations.audit.columns import Column, Samples
from art_multimodal.evaluations.audit.lines import AttackLine, CleanLine, Line, Ranked, SampleRecord
from art_multimodal.evaluations.audit.passes import entry_of
from art_multimodal.functional.statistics import proportion_ci95

#: Of a sample in retrieval: the rank of its best caption for the image, and that of the image for each caption.
Ranks = tuple[int, ...]


class Removal(NamedTuple):
    """What was removed from a sample that the model is misled about.

    :param place: Of the sample in the data.
    :param share: Of all points.
    :param pixels: Removed pixels, or other points of numbers.
    :param words: Removed words.
    :param removed: Of samples of several modalities, which share of the points of each, by name.
    """

    place: int
    share: float
    pixels: int
    words: int
    removed: Mapping[str, float] | None


class Row:
    """What the lines of one attack add up to.

    :param samples: Those of the run: rows of one run share them, so that their columns fit together.
    """

    def __init__(self, samples: Samples) -> None:
        self.samples = samples
        self.correct: Column[bool] = samples.column(bool)
        #: Of a naive attack on a defence at test time, of all samples, those that are wrong before among them.
        self.published: Column[bool] = samples.column(bool)
        #: Of the line before any attack: the true classes.
        self.labels: Column[int] = samples.column(np.int32)
        #: Of samples that are wrong, which class is named.
        self.mistaken: Column[int] = samples.column(np.int32)
        self.ranks: Column[Ranks] = samples.column(object)
        self.text_queries: Column[int] = samples.column(np.int64)
        self.broken_by: Column[str] = samples.column(object)
        #: Of attacks that try more and more words: with how many each sample fell, and how many were tried at least.
        self.fell_at: Column[int] = samples.column(np.int64)
        self.words_tried: int | None = None
        self.flags: dict[str, int] = {}
        self.removals: list[Removal] = []
        #: Of a smoothed model: whose answer no attack within the budget changes, and to whom it gives none.
        self.certified: Column[bool] = samples.column(bool)
        self.silent: Column[bool] = samples.column(bool)
        self.not_applicable: Column[bool] = samples.column(bool)
        self.queries: float = 0
        self.gradients: float = 0
        self.seconds: float = 0

    @property
    def asked(self) -> np.ndarray:
        """The samples that the attack was run on ``(N,)``; in retrieval all, whether they were right before or not."""
        return (self.ranks or self.correct).there

    def add(self, line: Line) -> None:
        """Take a line in."""
        self.seconds += line.seconds
        self.queries += line.queries
        self.gradients += line.gradients
        if isinstance(line, AttackLine):
            for index in line.not_applicable:
                self.not_applicable.put(self.samples.number(index), True)
            for flag, count in line.flags.items():
                self.flags[flag] = self.flags.get(flag, 0) + count
        for sample in line.samples:
            number = self.samples.number(sample.index)
            self._add_sample(number, sample)
            if isinstance(line, CleanLine) and not isinstance(sample.verdict, Ranked):
                self.labels.put(number, sample.verdict.label)

    def _add_sample(self, number: int, sample: SampleRecord) -> None:
        detail = sample.detail
        self.correct.put(number, sample.right)
        if isinstance(sample.verdict, Ranked):
            self.ranks.put(number, sample.verdict.ranks)
        elif sample.verdict.predicted < 0:
            self.silent.put(number, True)
        elif not sample.right:
            self.mistaken.put(number, sample.verdict.predicted)
        if detail.certified:
            self.certified.put(number, True)
        if detail.text_queries is not None:
            self.text_queries.put(number, detail.text_queries)
        if detail.broken_by is not None:
            # Every line has a string of its own.
            self.broken_by.put(number, sys.intern(detail.broken_by))
        if detail.fell_at is not None:
            self.fell_at.put(number, detail.fell_at)
        if (tried := detail.word_candidates) is not None:
            self.words_tried = tried if self.words_tried is None else min(tried, self.words_tried)
        if detail.share_removed is not None and not sample.right:
            counts = detail.pixels or 0, detail.words or 0
            self.removals.append(Removal(sample.index, detail.share_removed, *counts, detail.removed))


def count(samples: np.ndarray) -> int:
    """How many samples are marked ``(N,)``."""
    return int(np.count_nonzero(samples))


def in_all(marks: Iterable[np.ndarray]) -> np.ndarray:
    """The samples that all mark, at least one: booleans ``(N,)`` of each."""
    return reduce(np.logical_and, marks)


def in_any(marks: Iterable[np.ndarray]) -> np.ndarray:
    """The samples that one of several marks, likewise."""
    return reduce(np.logical_or, marks)


def worst_of(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Of several attacks together: the samples that each is done with, and those among them that survive all."""
    # One that cannot work on a sample says nothing about it.
    done = in_all(row.correct.there | row.not_applicable.there for row in rows)
    attacked = done & in_any(row.correct.there for row in rows)
    return attacked, attacked & in_all(row.correct.dense | ~row.correct.there for row in rows)


def outcomes_of(members: Sequence[str], rows: Mapping[str, Row], clean: Column[bool]) -> Column[bool]:
    """Which samples survive all of several passes, of those that all are done with.

    :param members: Names of the passes.
    :param rows: By the names of passes.
    :param clean: Of each sample whether it is right before any attack.
    """
    if all(entry_of(name).of_everyone for name in members):
        # An outage is no attack: one that was wrong before may be right.
        return right_in_all([rows[name] for name in members])
    attacked, survived = worst_of([rows[name] for name in members])
    return Column(clean.samples, clean.dense & survived, clean.there & (attacked | ~clean.dense))


def right_in_all(rows: Sequence[Row]) -> Column[bool]:
    """Of samples that all of several passes are done with, which are right in each."""
    # Where a sample is not there it is not right.
    right, there = in_all(row.correct.dense for row in rows), in_all(row.correct.there for row in rows)
    return Column(rows[0].samples, right, there)


def accuracy_of(right: int, n: int) -> dict[str, Any]:
    """An accuracy with its 95 % interval."""
    return {"n": n, "accuracy": right / n if n else None, "accuracy_ci95": proportion_ci95(right, n)}


def share_right(outcomes: Column[bool]) -> dict[str, Any]:
    """The accuracy over all samples of a column."""
    return accuracy_of(count(outcomes.dense), len(outcomes))


def robustness(survived: int, attacked: int, wrong: int) -> dict[str, Any]:
    """Numbers of an attack.

    :param survived: Samples that are right under it.
    :param attacked: Samples that it was run on, all of them right before.
    :param wrong: Samples that were wrong before.
    """
    # While a run is unfinished, right samples that were not attacked yet are left out rather than counted either way.
    fooled = attacked - survived
    return {
        **accuracy_of(survived, attacked + wrong),
        "attacked": attacked,
        "attack_success_rate": fooled / attacked if attacked else None,
        "attack_success_rate_ci95": proportion_ci95(fooled, attacked),
    }


def robustness_of(row: Row, clean: Column[bool]) -> dict[str, Any]:
    """Numbers of a single attack."""
    return robustness(count(row.correct.dense), len(row.correct), wrong_in(clean))


def wrong_in(clean: Column[bool]) -> int:
    """How many samples are wrong before any attack."""
    return len(clean) - count(clean.dense)
