"""Masks of smoothed classifiers: what they hold, and how many of them few elements reach."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy.stats import chisquare

from art_multimodal.errors import InputError
from art_multimodal.functional.certificates.overlap import hits_overlap, overlap
from art_multimodal.functional.designs import (
    affine_plane,
    all_subsets,
    crossed,
    cycled,
    most_hits,
    partition,
    subsets,
    window_hits,
)


@pytest.mark.parametrize(("n", "k"), [(1, 0), (1, 1), (5, 2), (6, 6), (8, 3)])
def test_all_subsets_stand_once(n, k):
    masks = all_subsets(n, k)
    assert masks.shape == (comb(n, k), n) and masks.dtype == bool
    assert [tuple(np.flatnonzero(mask)) for mask in masks] == list(combinations(range(n), k))
    for r in range(n + 1):
        assert hits_overlap(most_hits(masks, r), len(masks)) == overlap(n, k, modified=r)


@pytest.mark.parametrize("layout", ["interleaved", "contiguous"])
@pytest.mark.parametrize("shape", [1, 7, 12, (1, 9), (9, 1), (4, 6), (7, 7), (5, 8)])
def test_groups_hold_each_element_once(shape, layout):
    n = int(np.prod(shape))
    for groups in range(1, n + 1):
        masks = partition(shape, groups, layout)
        assert masks.shape == (groups, n)
        assert (masks.sum(axis=0) == 1).all()
        assert set(masks.sum(axis=1)) <= {n // groups, -(-n // groups)}
        assert [most_hits(masks, r) for r in range(4)] == [min(r, groups) for r in range(4)]
        if groups > 1:
            assert hits_overlap(most_hits(masks, 1), groups) == overlap(groups, 1, modified=1)


def test_layouts_of_a_line():
    assert partition(7, 3).argmax(axis=0).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert partition(7, 3, "contiguous").argmax(axis=0).tolist() == [0, 0, 0, 1, 1, 2, 2]


def test_layouts_of_a_grid():
    # Rectangles where sides divide; and each of as many groups once in every patch.
    blocks = partition((8, 12), 6, "contiguous").argmax(axis=0).reshape(8, 12)
    assert all(len(set(blocks[i : i + 4, j : j + 4].ravel())) == 1 for i in (0, 4) for j in (0, 4, 8))
    spread = partition((8, 12), 16).argmax(axis=0).reshape(8, 12)
    assert all(len(set(spread[i : i + 4, j : j + 4].ravel())) == 16 for i in range(5) for j in range(9))
    # Elsewhere blocks are in one piece: each next to another one of its group.
    odd = partition((7, 11), 5, "contiguous").argmax(axis=0).reshape(7, 11)
    padded = np.pad(odd, 1, constant_values=-1)
    beside = [padded[1 + i : 8 + i, 1 + j : 12 + j] == odd for i, j in [(0, 1), (1, 0), (0, -1), (-1, 0)]]
    assert np.any(beside, axis=0).all()


@pytest.mark.parametrize("q", [2, 3, 5, 7])
def test_any_two_points_are_on_one_line(q):
    lines = affine_plane(q)
    assert lines.shape == (q * q + q, q * q)
    common = lines.T.astype(int) @ lines
    assert (np.diag(common) == q + 1).all()
    assert (common[~np.eye(q * q, dtype=bool)] == 1).all()
    assert (lines.sum(axis=1) == q).all()
    for r in (1, 2):
        assert hits_overlap(most_hits(lines, r), len(lines)) == overlap(q * q, q, modified=r)


def test_the_design_of_49_patches():
    # Shares of all C(49, 7) subsets, of the lines, and of one partition.
    assert comb(49, 7) == 85_900_584
    assert [round(1 - float(overlap(49, 7, modified=r).clean), 4) for r in (1, 2, 3)] == [0.1429, 0.2679, 0.3769]
    assert [most_hits(affine_plane(7), r) for r in (1, 2, 3)] == [8, 15, 22]
    assert [round(r / 7, 4) for r in (1, 2, 3)] == [0.1429, 0.2857, 0.4286]
    # Where sets are too many to try them, a bound: no less than what is reached.
    assert 22 <= most_hits(affine_plane(7), 3, limit=100) <= 24


def test_random_subsets_are_uniform():
    masks = subsets(5, 2, 20_000, np.random.default_rng(0))
    assert (masks.sum(axis=1) == 2).all()
    _, counts = np.unique(masks, axis=0, return_counts=True)
    assert len(counts) == 10 and chisquare(counts).pvalue > 1e-3
    assert (subsets(5, 2, 7, np.random.default_rng(3)) == subsets(5, 2, 7, np.random.default_rng(3))).all()
    assert subsets(4, 0, 2, np.random.default_rng(0)).sum() == 0 and subsets(4, 4, 2, np.random.default_rng(0)).all()


def test_combinations_of_modalities():
    one, two = partition(4, 2), partition(6, 3)
    first, second = crossed(one, two)
    assert [(i.tolist(), j.tolist()) for i, j in zip(first, second, strict=True)] == [
        (i.tolist(), j.tolist()) for i in one for j in two
    ]
    for r_1, r_2 in [(0, 1), (1, 0), (1, 1), (1, 2), (2, 1)]:
        both = overlap(2, 1, modified=r_1) * overlap(3, 1, modified=r_2)
        assert hits_overlap(most_hits([first, second], (r_1, r_2)), 6) == both
    # Side by side: what the groups of either modality reach may add up, and no more.
    one, two = cycled(partition(12, 4), partition(18, 6))
    assert len(one) == len(two) == 12
    for r_1, r_2 in [(1, 0), (0, 1), (1, 1), (2, 2), (4, 1)]:
        assert most_hits([one, two], (r_1, r_2)) <= 12 * r_1 / 4 + 12 * r_2 / 6
    assert most_hits([one, two], (1, 1)) == 5
    # 52 groups of pixels of one sensor beside 468 of another: all-agree votes hold to (21, 42), and no further.
    sensors = cycled(np.eye(52, dtype=bool), np.eye(468, dtype=bool))
    assert [most_hits(sensors, (r, 2 * r)) for r in (21, 22)] == [231, 242]
    assert 2 * 231 < len(sensors[0]) == 468 < 2 * 242
    assert [len(part) for part in cycled(partition(12, 4), partition(18, 6), votes=7)] == [7, 7]


def test_a_sticker_reaches_what_it_touches():
    rng = np.random.default_rng(0)
    masks = subsets(30, 6, 11, rng)
    for side in (1, 2, 4, 9):
        windows = [
            masks.reshape(11, 5, 6)[:, i : i + side, j : j + side].any(axis=(1, 2)).sum()
            for i in range(5)
            for j in range(6)
        ]
        assert window_hits(masks, (5, 6), side) == max(windows)
    # 8 x 8 blocks of 4 x 4: a sticker of 5 x 5 touches four blocks and 25 interleaved groups.
    assert window_hits(partition((32, 32), 64, "contiguous"), (32, 32), 5) == 4
    assert window_hits(partition((32, 32), 64), (32, 32), 5) == 25


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: all_subsets(3, 4), "Cannot keep 4 of 3"),
        (lambda: all_subsets(100, 50), "more than 10.12 subsets of 50 of 100"),
        (lambda: all_subsets(49, 7), "85,900,584 subsets"),
        (lambda: partition(3, 4), "Cannot make 4 groups of 3 elements"),
        (lambda: partition(3, 0), "Number of groups must be at least 1"),
        (lambda: partition((2, 3, 4), 2), "a height and a width, not 3 sides"),
        (lambda: partition(4, 2, "interleave"), "Did you mean interleaved"),
        (lambda: affine_plane(6), "a prime number of points"),
        (lambda: affine_plane(1), "q must be at least 2"),
        (lambda: subsets(3, 1, -1, np.random.default_rng(0)), "count must be at least 0"),
        (lambda: window_hits(partition(6, 2), (2, 2), 1), "have 4 columns"),
        (lambda: most_hits(partition(6, 2), -1), "A budget must be at least 0"),
    ],
)
def test_nonsense_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()
