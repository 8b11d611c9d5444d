"""Overlaps against binomials, draws one by one, and every mixture of edits."""

from fractions import Fraction
from itertools import combinations, product
from math import comb

import numpy as np
import pytest

from art_multimodal.errors import InputError
from art_multimodal.functional.certificates.bound import majority_bound, margin_bound
from art_multimodal.functional.certificates.overlap import (
    UNTOUCHED,
    Edits,
    Overlap,
    bernoulli_overlap,
    hits_overlap,
    overlap,
    worst_edits,
)


def test_running_products_are_ratios_of_binomials():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        n = int(rng.integers(1, 200))
        k = int(rng.integers(0, n + 1))
        modified = int(rng.integers(0, n + 1))
        deleted = int(rng.integers(0, n - modified + 1))
        added = int(rng.integers(0, 20))
        left, after = n - modified - deleted, n + added - deleted
        found = overlap(n, k, modified, deleted, added)
        if after < k:
            assert found == Overlap(0, 0)
        else:
            assert found.clean == Fraction(comb(left, k), comb(n, k))
            assert found.attacked == Fraction(comb(left, k), comb(after, k))


def test_draws_one_by_one():
    # The elements 0 and 1 are modified, 2 is deleted, two are added.
    n, k = 6, 2
    clean = [set(kept) <= {3, 4, 5} for kept in combinations(range(n), k)]
    attacked = [set(kept) <= {3, 4, 5} for kept in combinations([0, 1, 3, 4, 5, "new", "newer"], k)]
    found = overlap(n, k, modified=2, deleted=1, added=2)
    assert found.clean == Fraction(sum(clean), len(clean))
    assert found.attacked == Fraction(sum(attacked), len(attacked))


def test_published_sizes():
    ravdess = overlap(108, 5, modified=8) * overlap(79_380, 1_000, modified=8)
    assert round(float(ravdess.clean), 4) == 0.6103
    pixels = 375 * 1242
    kitti = overlap(pixels, 8_988, modified=16) * overlap(pixels, 996, modified=32)
    assert round(float(kitti.clean), 6) == 0.683658


def test_where_everything_is_touched():
    assert overlap(3, 1, modified=3) == overlap(3, 1, modified=7) == Overlap(0, 0)
    assert overlap(3, 1, deleted=2, added=4).clean == Fraction(1, 3)
    # Too few are left to draw from.
    assert overlap(3, 2, deleted=2) == Overlap(0, 0)
    assert overlap(3, 2, deleted=5, added=1) == Overlap(0, 0)
    # All were deleted and others added: what is drawn is new.
    assert overlap(3, 2, deleted=5, added=2) == Overlap(0, 0)
    # Nothing is kept, so nothing is seen.
    assert overlap(3, 0, modified=3) == overlap(0, 0, added=2) == overlap(3, 0, deleted=9) == UNTOUCHED
    assert overlap(4, 4, modified=0) == UNTOUCHED
    assert overlap(4, 4, modified=1) == Overlap(0, 0)


@pytest.mark.parametrize("keep", [Fraction(1, 3), 0.25, 0, 1, np.float32(0.5)])
def test_elements_kept_each_with_a_probability(keep):
    hidden = 1 - Fraction(float(keep)) if not isinstance(keep, Fraction) else 1 - keep
    assert bernoulli_overlap(keep, modified=1, deleted=2, added=3) == Overlap(hidden**3, hidden**4)
    assert bernoulli_overlap(keep) == UNTOUCHED


@pytest.mark.parametrize("edits", ["modify", "delete", "add", "any", ("deleted", "added")])
def test_worst_edits_are_worse_than_all_others(edits):
    allowed = {"modify": "m", "delete": "d", "add": "a", "any": "mda"}.get(edits, "da")
    rng = np.random.default_rng(1)
    other = overlap(5, 2, modified=1)
    for n, radius in product(range(1, 8), range(4)):
        for k in range(n + 1):
            all_edits = [
                Edits(m, d, a)
                for m, d, a in product(range(radius + 1), repeat=3)
                if m + d + a <= radius
                and (not m or "m" in allowed)
                and (not d or "d" in allowed)
                and (not a or "a" in allowed)
            ]
            for join in (UNTOUCHED, other):
                for sampler in (lambda e, n=n, k=k: overlap(n, k, *e), lambda e, k=k: bernoulli_overlap(k / 8, *e)):
                    every = [sampler(e) * join for e in all_edits]
                    worst = [sampler(e) * join for e in worst_edits(radius, edits)]
                    p_y = Fraction(int(rng.integers(50, 101)), 100)
                    p_l = (1 - p_y) * Fraction(int(rng.integers(0, 5)), 4)
                    assert min(majority_bound(p_y, o) for o in worst) == min(majority_bound(p_y, o) for o in every)
                    assert min(margin_bound(p_y, p_l, o) for o in worst) == min(
                        margin_bound(p_y, p_l, o) for o in every
                    )


def test_numbers_of_numpy_are_numbers():
    assert overlap(np.int64(6), np.int32(1), modified=np.uint8(2)) == overlap(6, 1, modified=2)
    assert hits_overlap(np.int64(8), 56).clean == Fraction(6, 7)
    assert Overlap(0.5, 1) == Overlap(Fraction(1, 2), Fraction(1))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: overlap(3, 4), "Cannot keep 4 of 3 elements"),
        (lambda: overlap(3, -1), "k must be at least 0, not -1"),
        (lambda: overlap(3, 1, modified=-1), "modified must be at least 0"),
        (lambda: overlap(3.0, 1), "n must be a whole number, not 3.0"),
        (lambda: bernoulli_overlap(1.5), "keep must lie from 0 to 1, not at 1.5"),
        (lambda: bernoulli_overlap("half"), "keep must be a number"),
        (lambda: bernoulli_overlap(float("nan")), "keep must lie from 0 to 1, not at nan"),
        (lambda: hits_overlap(4, 3), "hits must be at most 3, not 4"),
        (lambda: Overlap(Fraction(3, 2), 1), "Overlap.clean must lie from 0 to 1"),
        (lambda: worst_edits(1, "delet"), "Did you mean delete"),
        (lambda: worst_edits(1, ["deletion"]), "Did you mean deleted"),
        (lambda: worst_edits(1, []), "No kind of edit is named"),
        (lambda: worst_edits(-1), "radius must be at least 0"),
    ],
)
def test_nonsense_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()


def test_an_overlap_is_multiplied_by_overlaps_alone():
    with pytest.raises(TypeError):
        _ = UNTOUCHED * 2
