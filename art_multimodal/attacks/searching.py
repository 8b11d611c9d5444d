"""Searches that ask a model, many side by side: what they ask goes into common batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import numpy as np

Asked = TypeVar("Asked")
Told = TypeVar("Told")
Found = TypeVar("Found")

#: A search for one sample: a generator that yields lists of questions, is sent an answer to each, and returns what it
#: found. It knows no model and no batches.
Search = Generator[Sequence[Asked], Sequence[Told], Found]


@dataclass(frozen=True)
class Answer:
    """What a classifier says about a changed sample.

    :param label: The predicted label.
    :param margin: How far the sample is from success: score of the clean label less the largest other one (targeted:
        largest other score less the target's). Negative on success.
    :param rank: Place of the clean label among the scores, 1 for the largest.
    :param decision: What the attack watches, where that is not the label.
    :param saliency: Of each point, where it was asked for: by how much the margin would fall, to first order, if it
        were removed (for one that is: by how much it has fallen).
    """

    label: int
    margin: float = 0.0
    rank: int = 1
    decision: int | None = None
    saliency: np.ndarray | None = field(default=None, compare=False, repr=False)

    @property
    def watched(self) -> int:
        """What the attack watches."""
        return self.label if self.decision is None else self.decision


class Criterion:
    """When an attack has succeeded on a sample. ``a & b`` wants both, ``a | b`` one of them."""

    #: So many other classes must score more than the clean label: margins are taken over the last of them.
    rank = 1

    def met(self, answer: Answer, clean: Answer) -> bool:
        """Whether an answer is a success.

        :param answer: To the changed sample.
        :param clean: To the intact one.
        """
        raise NotImplementedError

    def __and__(self, other: Criterion) -> Criterion:
        return _Both(self, other)

    def __or__(self, other: Criterion) -> Criterion:
        return _Either(self, other)


@dataclass(frozen=True)
class Misclassified(Criterion):
    """The predicted label is another one than that of the intact sample."""

    def met(self, answer: Answer, clean: Answer) -> bool:
        return answer.label != clean.label


@dataclass(frozen=True)
class TargetReached(Criterion):
    """The predicted label is the wanted one.

    :param label: The wanted label.
    """

    label: int

    def met(self, answer: Answer, clean: Answer) -> bool:
        return answer.label == self.label


@dataclass(frozen=True)
class RankFell(Criterion):
    """The label of the intact sample is no longer among the ``rank`` largest scores.

    :param rank: At least 1; with 1 it is misclassified.
    """

    rank: int = 5

    def met(self, answer: Answer, clean: Answer) -> bool:
        return answer.rank > self.rank


@dataclass(frozen=True)
class _Both(Criterion):
    first: Criterion
    second: Criterion

    @property
    def rank(self) -> int:  # type: ignore[override]
        return max(self.first.rank, self.second.rank)

    def met(self, answer: Answer, clean: Answer) -> bool:
        return self.first.met(answer, clean) and self.second.met(answer, clean)


@dataclass(frozen=True)
class _Either(Criterion):
    first: Criterion
    second: Criterion

    @property
    def rank(self) -> int:  # type: ignore[override]
        return min(self.first.rank, self.second.rank)

    def met(self, answer: Answer, clean: Answer) -> bool:
        return self.first.met(answer, clean) or self.second.met(answer, clean)


def criterion_for(target: int | None) -> Criterion:
    """What an attack wants that is given a wanted label, or none."""
    return Misclassified() if target is None else TargetReached(target)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One sample as a search sees it.

    :param clean: The model's answer to the intact sample.
    :param criterion: What a success is.
    """

    clean: Answer
    criterion: Criterion = Misclassified()

    def is_success(self, answer: Answer) -> bool:
        """Whether the attack has what it wants."""
        return self.criterion.met(answer, self.clean)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a search found.

    :param answer: The model's answer to it.
    :param success: Whether the attack has what it wants.
    :param queries: Evaluations of the model, the intact sample included.
    """

    answer: Answer
    success: bool
    queries: int


def run_searches(
    searches: Sequence[Search[Asked, Told, Found]],
    ask: Callable[[list[tuple[int, Asked]]], Sequence[Told]],
    at_once: int | None = None,
    done: Callable[[int], Any] = lambda count: None,
) -> list[Found]:
    """Run searches side by side until all have returned.

    :param searches: One per sample.
    :param ask: Answers questions ``(number of the search, question)``, in order.
    :param at_once: When so many questions wait, they are asked before other searches go on; ``None`` for never.
    :param done: Told how many searches have ended, whenever some have.
    :return: What each found.
    """
    found: dict[int, Found] = {}
    #: Searches that can go on, with the answers that they wait for; none at the beginning.
    ready: deque[tuple[int, Sequence[Told] | None]] = deque((number, None) for number in range(len(searches)))
    while ready:
        wanted: list[tuple[int, Sequence[Asked]]] = []
        waiting, ended = 0, len(found)
        while ready and (at_once is None or waiting < at_once):
            number, reply = ready.popleft()
            try:
                wanted.append((number, next(searches[number]) if reply is None else searches[number].send(reply)))
                waiting += len(wanted[-1][1])
            except StopIteration as stop:
                found[number] = stop.value
        done(len(found) - ended)
        questions = [(number, question) for number, asked in wanted for question in asked]
        answers = iter(ask(questions) if questions else ())
        ready.extend((number, list(islice(answers, len(asked)))) for number, asked in wanted)
    return [found[number] for number in range(len(searches))]
