"""What the lines of one attack add up to, and accuracies of one or several attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from art_multimodal.evaluations.audit.lines import AttackLine, Line, Ranked, SampleRecord
from art_multimodal.evaluations.audit.passes import entry_of
from art_multimodal.functional.statistics import proportion_ci95

#: Of a sample in retrieval: the rank of its best caption for the image, and that of the image for each caption.
Ranks = tuple[int, ...]


@dataclass
class Row:
    """What the lines of one attack add up to."""

    correct: dict[int, bool] = field(default_factory=dict)
    #: Of samples that are wrong, which class is named.
    mistaken: dict[int, int] = field(default_factory=dict)
    ranks: dict[int, Ranks] = field(default_factory=dict)
    text_queries: dict[int, int] = field(default_factory=dict)
    broken_by: dict[int, str] = field(default_factory=dict)
    #: Of attacks that try more and more words: with how many each sample fell, and how many were tried.
    fell_at: dict[int, int] = field(default_factory=dict)
    words_tried: set[int] = field(default_factory=set)
    flags: dict[str, int] = field(default_factory=dict)
    removals: list[SampleRecord] = field(default_factory=list)
    #: Of a smoothed model: whose answer no attack within the budget changes, and to whom it gives none.
    certified: set[int] = field(default_factory=set)
    silent: set[int] = field(default_factory=set)
    not_applicable: set[int] = field(default_factory=set)
    queries: float = 0
    gradients: float = 0
    seconds: float = 0

    @property
    def asked(self) -> set[int]:
        """The samples that the attack was run on; in retrieval all, whether they were right before or not."""
        return set(self.ranks or self.correct)

    def add(self, line: Line) -> None:
        """Take a line in."""
        self.seconds += line.seconds
        if isinstance(line, AttackLine):
            self.queries += line.queries
            self.gradients += line.gradients
            self.not_applicable.update(line.not_applicable)
            for flag, number in line.flags.items():
                self.flags[flag] = self.flags.get(flag, 0) + number
        for sample in line.samples:
            self._add_sample(sample)

    def _add_sample(self, sample: SampleRecord) -> None:
        index, detail = sample.index, sample.detail
        self.correct[index] = sample.right
        if isinstance(sample.verdict, Ranked):
            self.ranks[index] = sample.verdict.ranks
        elif sample.verdict.predicted < 0:
            self.silent.add(index)
        elif not sample.right:
            self.mistaken[index] = sample.verdict.predicted
        if detail.certified:
            self.certified.add(index)
        if detail.text_queries is not None:
            self.text_queries[index] = detail.text_queries
        if detail.broken_by is not None:
            self.broken_by[index] = detail.broken_by
        if detail.fell_at is not None:
            self.fell_at[index] = detail.fell_at
        if detail.word_candidates is not None:
            self.words_tried.add(detail.word_candidates)
        if detail.share_removed is not None:
            self.removals.append(sample)


def worst_of(rows: Sequence[Row]) -> tuple[set[int], set[int]]:
    """Of several attacks together: the samples that each is done with, and those among them that survive all."""
    # One that cannot work on a sample says nothing about it.
    attacked = set.intersection(*(set(row.correct) | row.not_applicable for row in rows))
    attacked &= {index for row in rows for index in row.correct}
    return attacked, {index for index in attacked if all(row.correct.get(index, True) for row in rows)}


def outcomes_of(members: Sequence[str], rows: Mapping[str, Row], clean: Mapping[int, bool]) -> dict[int, bool]:
    """Which samples survive all of several passes, of those that all are done with.

    :param members: Names of the passes.
    :param rows: By the names of passes.
    :param clean: Of each sample whether it is right before any attack.
    """
    if all(entry_of(name).of_everyone for name in members):
        # An outage is no attack: one that was wrong before may be right.
        done = set.intersection(*(set(rows[name].correct) for name in members))
        return {index: all(rows[name].correct[index] for name in members) for index in sorted(done)}
    attacked, survived = worst_of([rows[name] for name in members])
    return {index: right and index in survived for index, right in clean.items() if not right or index in attacked}


def accuracy_of(right: int, n: int) -> dict[str, Any]:
    """An accuracy with its 95 % interval."""
    return {"n": n, "accuracy": right / n if n else None, "accuracy_ci95": proportion_ci95(right, n)}


def robustness(survived: set[int], attacked: set[int], clean: Mapping[int, bool]) -> dict[str, Any]:
    """Numbers of an attack that was run on ``attacked``, all of them right before."""
    # While a run is unfinished, right samples that were not attacked yet are left out rather than counted either way.
    n = len(attacked) + sum(not right for right in clean.values())
    fooled = len(attacked) - len(survived)
    return {
        **accuracy_of(len(survived), n),
        "attacked": len(attacked),
        "attack_success_rate": fooled / len(attacked) if attacked else None,
        "attack_success_rate_ci95": proportion_ci95(fooled, len(attacked)),
    }


def robustness_of(row: Row, clean: Mapping[int, bool]) -> dict[str, Any]:
    """Numbers of a single attack."""
    return robustness({i for i, right in row.correct.items() if right}, set(row.correct), clean)
