"""Which few elements are seen by the heaviest votes: maximum coverage with a budget for each of several modalities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, islice
from math import comb, prod
from typing import Any

import numpy as np

from art_multimodal.errors import InputError, check_count

#: Cells of a table of sets and votes that is held at once.
_CELLS = 2**22
#: Sets that are tried at the most.
LIMIT = 500_000


@dataclass(frozen=True)
class Coverage:
    """The largest weight of votes that some elements reach.

    :param weight: Of the votes that see a chosen element: the largest there is, or an upper bound of it.
    :param chosen: Of each modality the elements, in rising order; fewer than the budget where more reach nothing new.
    :param exact: Whether ``chosen`` reach ``weight``. If not, they are a good choice, and no other reaches more than
        ``weight``.
    """

    weight: int
    chosen: tuple[tuple[int, ...], ...]
    exact: bool


@dataclass(frozen=True)
class _Columns:
    """Elements of one modality that differ in who sees them.

    :param seen: Of each element which votes see it, ``[U, V]``, as numbers that a product takes.
    :param first: Of each the index that it has among all elements.
    :param budget: How many of them may be chosen.
    """

    seen: np.ndarray
    first: np.ndarray
    budget: int

    @property
    def sets(self) -> int:
        return comb(len(self.seen), self.budget)

    @property
    def apart(self) -> bool:
        """Whether no vote sees two of them: what they reach is then a sum."""
        return bool((self.seen.sum(axis=0) <= 1).all())


def largest_coverage(
    weights: np.ndarray, seen: Sequence[np.ndarray], budget: Sequence[int], limit: int = LIMIT
) -> Coverage:
    """The elements that the heaviest votes see, no more of each modality than its budget.

    All sets are tried where these are few. Where no vote sees two elements of some modality (or elements that the same
    votes see), as with groups of a partition, only the sets of the other modalities are: of this one the best elements
    are then those that reach the most of what is left. Where there are too many sets, elements are chosen greedily, and
    the weight is the bound of submodular functions: what a set reaches, and the most that any elements could add to it
    one by one.

    >>> weights, seen = np.array([3, 2, 2]), np.array([[1, 0], [0, 1], [0, 1]], dtype=bool)
    >>> largest_coverage(weights, [seen], budget=[1])
    Coverage(weight=4, chosen=((1,),), exact=True)

    :param weights: Of each vote, whole numbers from 0, ``[V]``.
    :param seen: Of each modality which vote sees which element, booleans ``[V, n_i]``.
    :param budget: Of each modality how many elements may be chosen; more than there are count as all.
    :param limit: Sets that are tried at the most.
    :raises InputError: If shapes, budgets or weights are no such.
    """
    weights, seen = _checked(weights, seen, budget)
    # Of votes without weight nothing depends; products of floats are exact below 2^24 or 2^53.
    some = weights > 0
    kind = np.float32 if weights.sum() < 2**24 else np.float64
    weights = weights[some].astype(kind)
    columns = [_distinct(part[some], number, kind) for part, number in zip(seen, budget, strict=True)]
    order = sorted(range(len(columns)), key=lambda i: (columns[i].apart, columns[i].sets))
    last = columns[order[-1]]
    tried = prod(columns[i].sets for i in order[:-1]) * (1 if last.apart else last.sets)
    if tried <= limit:
        weight, picks = _best([columns[i] for i in order], weights)
        chosen = [picks[order.index(i)] for i in range(len(columns))]
        exact = True
    else:
        weight, chosen, exact = _greedy(columns, weights)
    found = tuple(tuple(sorted(one.first[list(pick)].tolist())) for one, pick in zip(columns, chosen, strict=True))
    return Coverage(weight, found, exact)


def _checked(
    weights: np.ndarray, seen: Sequence[np.ndarray], budget: Sequence[int]
) -> tuple[np.ndarray, list[np.ndarray]]:
    weights, parts = np.asarray(weights), [np.asarray(part) for part in seen]
    if weights.ndim != 1 or weights.dtype.kind not in "iub" or (weights.astype(int) < 0).any():
        raise InputError(f"Weights of votes must be whole numbers from 0, [V], not {weights.dtype} {weights.shape}.")
    if not parts or len(budget) != len(parts):
        raise InputError(f"{len(parts)} modalities need as many budgets, at least one, not {len(budget)}.")
    for part in parts:
        if part.dtype != bool or part.ndim != 2 or len(part) != len(weights):
            raise InputError(f"Who sees what must be booleans [{len(weights)}, n], not {part.dtype} {part.shape}.")
    for number in budget:
        check_count("A budget", int(number), least=0)
    return weights.astype(np.int64), parts


def _distinct(seen: np.ndarray, budget: int, kind: type) -> _Columns:
    """Elements that some vote sees, one of those that the same votes see."""
    packed = np.packbits(seen, axis=0).T
    _, first = np.unique(packed, axis=0, return_index=True) if packed.size else (None, np.zeros(0, dtype=int))
    first = np.sort(first[seen[:, first].any(axis=0)])
    return _Columns(seen[:, first].T.astype(kind), first, min(int(budget), len(first)))


def _best(columns: Sequence[_Columns], weights: np.ndarray) -> tuple[int, list[tuple[int, ...]]]:
    """The best of all sets of all modalities; of the last one its sets, or its best elements where these are apart."""
    *others, last = columns
    least, picks = np.inf, []
    for sets, unseen in _unseen(others, len(weights)):
        left = unseen * weights
        if last.apart:
            reached = left @ last.seen.T
            tops = np.argsort(-reached, axis=1, kind="stable")[:, : last.budget]
            rest = left.sum(axis=1) - np.take_along_axis(reached, tops, axis=1).sum(axis=1)
            here = int(rest.argmin())
            if rest[here] < least:
                least, picks = rest[here], [*(one[here] for one in sets), tops[here]]
            continue
        for (mine,), hidden in _unseen([last], len(weights), rows=len(left)):
            rest = left @ hidden.T
            here, there = (int(place) for place in np.unravel_index(int(rest.argmin()), rest.shape))
            if rest[here, there] < least:
                least, picks = rest[here, there], [*(one[here] for one in sets), mine[there]]
    return int(weights.sum() - least), [tuple(pick.tolist()) for pick in picks]


def _unseen(columns: Sequence[_Columns], votes: int, rows: int = 1) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
    """All sets, some at once: of each modality its elements ``[c, budget]``, and which votes see none, ``[c, V]``.

    :param rows: Of a table that has a column for each of the sets.
    """
    if not columns:
        yield [], np.ones((1, votes), dtype=np.float32)
        return
    *others, last = columns
    for before, unseen in _unseen(others, votes):
        at_once = max(1, _CELLS // max(unseen.size, rows, 1))
        for mine in _sets(len(last.seen), last.budget, at_once):
            hidden = np.ones((len(mine), votes), dtype=last.seen.dtype)
            for element in mine.T:
                hidden *= 1 - last.seen[element]
            both = (unseen[:, None] * hidden).reshape(-1, votes)
            yield [*(np.repeat(one, len(mine), axis=0) for one in before), np.tile(mine, (len(unseen), 1))], both


def _sets(n: int, size: int, at_once: int) -> Iterator[np.ndarray]:
    every = combinations(range(n), size)
    while some := list(islice(every, at_once)):
        yield np.fromiter(chain.from_iterable(some), dtype=int, count=len(some) * size).reshape(len(some), size)


def _greedy(columns: Sequence[_Columns], weights: np.ndarray) -> tuple[int, list[tuple[int, ...]], bool]:
    """A bound of what any choice reaches, a choice, and whether it reaches the bound."""
    left, total = weights.copy(), int(weights.sum())
    chosen: list[list[int]] = [[] for _ in columns]
    bound = total
    while True:
        gains = [one.seen @ left for one in columns]
        reached = total - int(left.sum())
        more = sum(int(_largest(gain, one.budget).sum()) for gain, one in zip(gains, columns, strict=True))
        bound = min(bound, reached + more)
        open_ = [i for i, one in enumerate(columns) if len(chosen[i]) < one.budget and gains[i].max() > 0]
        if not open_:
            return bound, [tuple(pick) for pick in chosen], reached == bound
        best = max(open_, key=lambda i: gains[i].max())
        chosen[best].append(int(gains[best].argmax()))
        left = left * (1 - columns[best].seen[chosen[best][-1]])


def _largest(values: Any, count: int) -> np.ndarray:
    return np.partition(values, len(values) - count)[len(values) - count :] if count else values[:0]
