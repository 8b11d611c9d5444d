"""Small worlds in which every attacked input is tried, for thousands of random base classifiers.

A view is what a base classifier gets to see. ``P[x, v]`` says how often input x is shown as view v, in whole numbers;
a base classifier is a label for each view, so that all probabilities are ratios of whole numbers.
"""

from fractions import Fraction
from functools import cache
from itertools import combinations, product

import numpy as np
import pytest

from art_multimodal.functional.certificates.bound import holds, holds_majority, margin_bound
from art_multimodal.functional.certificates.locations import worst_locations
from art_multimodal.functional.certificates.overlap import (
    bernoulli_overlap,
    hits_overlap,
    overlap,
    worst_edits,
)
from art_multimodal.functional.designs import affine_plane, all_subsets, crossed, cycled, most_hits, partition

CLASSES = 3


@cache
def decided(most, next_, total, seen):
    """Whether so many votes for two classes are certified, and the bound of the margin."""
    p_y, p_l = Fraction(most, total), Fraction(next_, total)
    certified = all(holds(p_y, p_l, one) for one in seen)
    # The majority form certifies nothing else.
    assert certified or not all(holds_majority(p_y, one) for one in seen)
    return certified, float(min(margin_bound(p_y, p_l, one) for one in seen))


class World:
    """Base classifiers for a world, and how they vote on each input.

    A part of them are made for a pair of inputs: what only the second one shows is said to be another class, so that
    the bound is reached.

    :param shown: ``P``, ``[X, views]``.
    :param classifiers: Number of base classifiers.
    """

    def __init__(self, shown, classifiers, seed=0):
        rng = np.random.default_rng(seed)
        self.shown, self.total = shown, shown.sum(axis=1)
        # From classifiers that say one class almost always to those that say anything.
        sure = rng.beta(4, 1, (classifiers, 1))
        self.labels = np.where(
            rng.random((classifiers, shown.shape[1])) < sure, 0, rng.integers(1, CLASSES, (classifiers, shown.shape[1]))
        )
        clean, attacked = rng.integers(len(shown), size=(2, classifiers // 2))
        self.labels[: classifiers // 2] *= rng.integers(2, size=(classifiers // 2, 1))
        self.labels[: classifiers // 2][(shown[clean] == 0) & (shown[attacked] > 0)] = 1
        self.counts = np.stack([(self.labels == label) @ shown.T for label in range(CLASSES)], axis=2)
        order = np.sort(self.counts, axis=2)
        self.top, self.first, self.second = self.counts.argmax(axis=2), order[:, :, -1], order[:, :, -2]
        # A tie is a loss.
        self.says = np.where(self.first > self.second, self.top, -1)

    def least(self, x, reach):
        """For each base classifier the least margin of its class of x over all inputs in reach; whether all keep it."""
        others = self.counts[:, reach]
        top = self.top[:, x, None]
        own = np.take_along_axis(others, top[:, :, None], axis=2)[:, :, 0]
        best = np.where(np.arange(CLASSES) == top[:, :, None], -1, others).max(axis=2)
        margin = (own - best) / np.maximum(self.total[reach], 1)
        return margin.min(axis=1), (self.says[:, reach] == top).all(axis=1)

    def check(self, reach, overlaps):
        """Compare what is certified with every attacked input.

        :param reach: Which inputs the attacker makes of which, ``[X, X]``.
        :param overlaps: Of each input the overlaps of all edits to consider, none where it is not classified at all.
        :return: Number of certificates, number of wrong ones, and the least slack of the bound.
        """
        made = wrong = 0
        slack = np.inf
        for x, seen in enumerate(overlaps):
            if not seen:
                continue
            pairs = np.stack([self.first[:, x], self.second[:, x]], axis=1).astype(int)
            distinct, place = np.unique(pairs, axis=0, return_inverse=True)
            found = np.array([decided(*map(int, pair), int(self.total[x]), seen) for pair in distinct])[place.ravel()]
            certified, bounds = found[:, 0] > 0, found[:, 1]
            margin, stays = self.least(x, reach[x])
            made += certified.sum()
            wrong += (certified & ~stays).sum()
            if self.total[reach[x]].all():
                slack = min(slack, (margin - bounds).min())
        return int(made), int(wrong), slack


def hidden_in_place(inputs, masks, weights):
    """How often inputs ``[X, n]`` are shown with all but the elements of masks ``[V, n]`` hidden, and which votes."""
    shown = np.where(masks[None], inputs[:, None], -1).reshape(-1, inputs.shape[1])
    views, place = np.unique(shown, axis=0, return_inverse=True)
    place = place.reshape(len(inputs), len(masks))
    counts = np.zeros((len(inputs), len(views)))
    np.add.at(counts, (np.arange(len(inputs))[:, None], place), weights[None])
    return counts, place


def masks_of(sampler, sizes, kept):
    """Masks of each modality, weights of votes, and the overlap of a budget."""
    if sampler == "bernoulli":  # each element kept with probability 1/3
        every = np.array(list(product([False, True], repeat=sum(sizes))))
        parts = np.split(every, np.cumsum(sizes)[:-1], axis=1)
        return parts, 2.0 ** (~every).sum(axis=1), lambda *r: bernoulli_overlap(Fraction(1, 3), modified=sum(r))
    if sampler == "joint":
        every = all_subsets(sum(sizes), sum(kept))
        parts = np.split(every, np.cumsum(sizes)[:-1], axis=1)
        return parts, np.ones(len(every)), lambda *r: overlap(sum(sizes), sum(kept), modified=sum(r))
    if sampler == "independent":
        parts = crossed(*(all_subsets(n, k) for n, k in zip(sizes, kept, strict=True)))
        return parts, np.ones(len(parts[0])), lambda *r: joined(map(overlap, sizes, kept, r))
    if sampler == "partition":  # ``kept`` are numbers of groups
        parts = crossed(*(partition(n, groups) for n, groups in zip(sizes, kept, strict=True)))
        return parts, np.ones(len(parts[0])), lambda *r: joined(map(overlap, kept, (1, 1), r))
    if sampler == "design":
        parts = crossed(affine_plane(2), partition(sizes[1], kept[1]))
    else:  # groups side by side
        parts = cycled(*(partition(n, groups) for n, groups in zip(sizes, kept, strict=True)))
    return parts, np.ones(len(parts[0])), lambda *r: hits_overlap(most_hits(list(parts), r), len(parts[0]))


def joined(overlaps):
    first, *others = overlaps
    for other in others:
        first = first * other
    return first


@pytest.mark.parametrize(
    ("sampler", "sizes", "kept", "values", "classifiers"),
    [
        ("independent", (3, 2), (1, 1), (3, 2), 200),
        ("independent", (4, 2), (2, 1), (2, 2), 200),
        ("independent", (2, 2, 2), (1, 1, 1), (2, 2, 2), 200),
        ("joint", (4, 2), (2, 1), (2, 2), 200),
        ("bernoulli", (3, 2), (1, 1), (2, 2), 200),
        ("partition", (5, 2), (3, 2), (2, 2), 200),
        ("partition", (4, 2), (4, 2), (2, 2), 200),
        ("design", (4, 3), (2, 3), (2, 2), 200),
        ("cycled", (4, 3), (4, 3), (2, 2), 200),
    ],
)
def test_every_modified_input(sampler, sizes, kept, values, classifiers):
    # Every combination of values of elements is an input.
    alphabets = [range(v) for n, v in zip(sizes, values, strict=True) for _ in range(n)]
    inputs = np.array(list(product(*alphabets)))
    parts, weights, overlap_of = masks_of(sampler, sizes, kept)
    shown, place = hidden_in_place(inputs, np.concatenate(parts, axis=1), weights)
    world = World(shown, classifiers)
    edges = np.cumsum(sizes)[:-1]
    differ = np.split(inputs[:, None] != inputs[None], edges, axis=2)
    distances = [part.sum(axis=2) for part in differ]
    made = 0
    slacks = []
    for budget in product(*(range(min(n, 2) + 1) for n in sizes)):
        reach = np.all([d <= r for d, r in zip(distances, budget, strict=True)], axis=0)
        seen = overlap_of(*budget)
        number, wrong, slack = world.check(reach, [(seen,)] * len(inputs))
        assert not wrong
        made += number
        if any(budget):
            slacks.append(slack)
        if sampler in ("partition", "design", "cycled", "independent"):
            made += check_locations(world, place, parts, budget, reach, seen)
    assert made > 3_000
    # The bound is never above what attacks leave, and attacks reach it.
    assert min(slacks) > -1e-12
    assert min(slacks) < 1e-12


def check_locations(world, place, parts, budget, reach, seen, samples=12):
    """Fixed votes: what the worst locations certify stays, too, and is no less than what probabilities certify."""
    rng = np.random.default_rng(list(budget))
    made = 0
    for _ in range(samples):
        b, x = int(rng.integers(len(world.labels))), int(rng.integers(len(place)))
        y, votes = world.top[b, x], world.labels[b, place[x]]
        others = [label for label in range(CLASSES) if label != y]
        gaps = [worst_locations((votes == y).astype(int) - (votes == other), parts, budget).gap for other in others]
        margin, stays = world.least(x, reach[x])
        assert margin[b] * len(votes) >= min(gaps) - 1e-9
        plain = margin_bound(*(Fraction(int(part[b, x]), len(votes)) for part in (world.first, world.second)), seen)
        assert min(gaps) >= plain * len(votes)
        if min(gaps) > 0:
            assert stays[b]
            made += 1
    return made


def strings(values, longest):
    return [s for n in range(longest + 1) for s in product(range(values), repeat=n)]


def common(words):
    """Lengths of longest common subsequences of all pairs, ``[X, X]``."""
    longest = max(map(len, words))
    rows, columns = (
        np.array([[*word, *[pad] * (longest - len(word))] for word in words], dtype=int) for pad in (-1, -2)
    )
    table = np.zeros((longest + 1, longest + 1, len(words), len(words)), dtype=int)
    for i, j in product(range(longest), repeat=2):
        same = rows[:, None, i] == columns[None, :, j]
        table[i + 1, j + 1] = np.maximum(table[i, j + 1], table[i + 1, j])
        table[i + 1, j + 1] = np.where(same, table[i, j] + 1, table[i + 1, j + 1])
    return table[longest, longest]


def gaps_closed(words, kept, keep=None):
    """How often words are shown as what is left of them, in order: ``kept`` elements, or each by one chance in four."""
    views, rows = {}, []
    for word in words:
        row = {}
        for size in range(len(word) + 1) if keep else [kept]:
            weight = 3 ** (len(word) - size) if keep else 1
            for left in combinations(word, size):
                row[views.setdefault(left, len(views))] = row.get(views.setdefault(left, len(views)), 0) + weight
        rows.append(row)
    shown = np.zeros((len(words), len(views)))
    for x, row in enumerate(rows):
        shown[x, list(row)] = list(row.values())
    return shown


@pytest.mark.parametrize("sampler", ["one of", "two of", "each by chance"])
@pytest.mark.parametrize("edits", ["any", "modify", "add", "delete", ("added", "deleted")])
def test_every_word_of_every_length(sampler, edits):
    """Words beside a modality of two elements whose values alone may change."""
    keep = Fraction(1, 4) if sampler == "each by chance" else None
    kept, longest = {"one of": (1, 4), "two of": (2, 5), "each by chance": (0, 3)}[sampler]
    words = strings(2, longest)
    beside = np.array(list(product(range(2), repeat=2)))
    other, _ = hidden_in_place(beside, np.eye(2, dtype=bool), np.ones(2))
    world = World(np.kron(gaps_closed(words, kept, keep), other), 80)
    same, lengths = common(words), np.array([len(word) for word in words])
    gone, new = lengths[:, None] - same, lengths[None] - same
    allowed = {
        "any": np.maximum(gone, new),  # pairs of a gone and a new element are modifications
        "modify": np.where(gone == new, gone, 99),
        "add": np.where(gone == 0, new, 99),
        "delete": np.where(new == 0, gone, 99),
    }.get(edits, gone + new)
    made = changed = 0
    slacks = []
    for radius, modified in product(range(3), range(2)):
        within = (beside[:, None] != beside[None]).sum(axis=2) <= modified
        reach = np.kron(allowed <= radius, within).astype(bool)
        overlaps = []
        for n in np.repeat(lengths, len(beside)):
            if n < kept:
                overlaps.append(())
                continue
            each = [bernoulli_overlap(keep, *e) if keep else overlap(n, kept, *e) for e in worst_edits(radius, edits)]
            overlaps.append(tuple(one * overlap(2, 1, modified=modified) for one in each))
        number, wrong, slack = world.check(reach, overlaps)
        assert not wrong
        made += number
        if radius:
            slacks.append(slack)
            changed += number
    assert -1e-12 < min(slacks) < 1e-12
    assert made > 1_000 and changed > 100
