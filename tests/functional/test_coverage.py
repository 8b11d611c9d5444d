"""The heaviest votes that few elements reach, against all sets of elements."""

from itertools import combinations, product

import numpy as np
import pytest

from art_multimodal.errors import InputError
from art_multimodal.functional import coverage
from art_multimodal.functional.coverage import largest_coverage
from art_multimodal.functional.designs import affine_plane, crossed, partition, subsets


def reached(weights, seen, chosen):
    hit = np.zeros(len(weights), dtype=bool)
    for part, elements in zip(seen, chosen, strict=True):
        hit |= part[:, list(elements)].any(axis=1)
    return int(weights[hit].sum())


def brute_force(weights, seen, budget):
    every = [combinations(range(part.shape[1]), min(r, part.shape[1])) for part, r in zip(seen, budget, strict=True)]
    return max(reached(weights, seen, chosen) for chosen in product(*every))


def worlds(kind, rng):
    if kind == "groups":
        return crossed(partition(5, 3), partition(7, 4))
    if kind == "lines and groups":
        return crossed(affine_plane(3), partition(5, 3))
    if kind == "three":
        return crossed(partition(4, 2), subsets(5, 2, 3, rng), partition(3, 3))
    return tuple(subsets(n, k, 23, rng) for n, k in [(6, 2), (5, 1), (4, 3)][: {"one": 1, "two": 2, "more": 3}[kind]])


@pytest.mark.parametrize("kind", ["one", "two", "more", "groups", "lines and groups", "three"])
def test_against_all_sets(kind, monkeypatch):
    rng = np.random.default_rng(0)
    for cells in (2**22, 40):  # at once, and in many parts
        monkeypatch.setattr(coverage, "_CELLS", cells)
        for _ in range(12):
            seen = worlds(kind, rng)
            weights = rng.integers(0, 3, size=len(seen[0]))
            budget = [int(r) for r in rng.integers(0, 4, size=len(seen))]
            best = brute_force(weights, seen, budget)
            found = largest_coverage(weights, seen, budget)
            assert found.exact and found.weight == best == reached(weights, seen, found.chosen)
            assert all(len(elements) <= r for elements, r in zip(found.chosen, budget, strict=True))
            bound = largest_coverage(weights, seen, budget, limit=0)
            assert best <= bound.weight <= weights.sum()
            assert reached(weights, seen, bound.chosen) <= best
            assert bound.exact == (reached(weights, seen, bound.chosen) == bound.weight)
            assert all(len(elements) <= r for elements, r in zip(bound.chosen, budget, strict=True))


def test_groups_of_one_modality_are_never_enumerated():
    # C(100, 50) sets; elements of one group count once.
    seen = [partition(1000, 100)]
    weights = np.arange(100)
    found = largest_coverage(weights, seen, [50])
    assert found.exact and found.weight == weights[50:].sum()
    assert found.chosen == (tuple(range(50, 100)),)
    assert largest_coverage(weights, seen, [2000]).weight == weights.sum()
    # Sets of the other modality are; with a partition in both, of the one that has fewer.
    both = largest_coverage(np.ones(400, dtype=int), crossed(partition(40, 4), partition(1000, 100)), [2, 30], limit=6)
    assert both.exact and both.weight == 400 - 2 * 70


def test_the_bound_is_near_where_sets_are_many():
    rng = np.random.default_rng(1)
    seen = [subsets(12, 3, 40, rng), subsets(9, 2, 40, rng)]
    weights = rng.integers(0, 3, size=40)
    best = largest_coverage(weights, seen, [2, 2])
    bound = largest_coverage(weights, seen, [2, 2], limit=10)
    singly = sum(np.sort(weights @ part)[-2:].sum() for part in seen)
    assert best.exact and not bound.exact
    assert best.weight <= bound.weight <= min(singly, weights.sum())


def test_weights_beyond_single_precision():
    seen = [np.eye(4, dtype=bool)]
    weights = np.array([2**24 + 1, 1, 2**30 + 1, 0])
    assert largest_coverage(weights, seen, [2]).weight == 2**24 + 2**30 + 2


def test_nothing_to_reach():
    nothing = largest_coverage(np.zeros(3, dtype=int), [np.ones((3, 2), dtype=bool)], [1])
    assert (nothing.weight, nothing.chosen, nothing.exact) == (0, ((),), True)
    assert largest_coverage(np.ones(3, dtype=int), [np.zeros((3, 2), dtype=bool)], [1]).weight == 0
    assert largest_coverage(np.ones(3, dtype=int), [np.ones((3, 2), dtype=bool)], [0], limit=0).weight == 0


@pytest.mark.parametrize(
    ("weights", "seen", "budget", "said"),
    [
        ([-1, 1], [np.ones((2, 2), dtype=bool)], [1], "whole numbers from 0"),
        ([0.5, 1], [np.ones((2, 2), dtype=bool)], [1], "whole numbers from 0"),
        ([1, 1], [np.ones((2, 2), dtype=int)], [1], r"booleans \[2, n\], not int64"),
        ([1, 1], [np.ones((3, 2), dtype=bool)], [1], r"booleans \[2, n\], not bool \(3, 2\)"),
        ([1, 1], [np.ones((2, 2), dtype=bool)], [1, 1], "1 modalities need as many budgets"),
        ([1, 1], [], [], "at least one"),
        ([1, 1], [np.ones((2, 2), dtype=bool)], [-1], "A budget must be at least 0"),
    ],
)
def test_nonsense_is_refused(weights, seen, budget, said):
    with pytest.raises(InputError, match=said):
        largest_coverage(np.array(weights), seen, budget)
