"""The closed form by hand, at exact ties, and reached by classifiers."""

from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest

from art_multimodal.errors import InputError
from art_multimodal.functional.certificates.bound import (
    gap_bound,
    holds,
    holds_above,
    holds_gap,
    holds_majority,
    majority_bound,
    margin_bound,
)
from art_multimodal.functional.certificates.overlap import UNTOUCHED, Overlap, overlap


def test_six_votes_by_hand():
    def left(r_1, r_2):
        return overlap(3, 1, modified=r_1) * overlap(2, 1, modified=r_2)

    assert [left(1, 0).clean, left(0, 1).clean, left(1, 1).clean] == [Fraction(2, 3), Fraction(1, 2), Fraction(1, 3)]
    assert holds(1, 0, left(1, 0))
    # Three of six votes change: a tie.
    assert margin_bound(1, 0, left(0, 1)) == 0
    assert not holds(1, 0, left(0, 1))
    assert not holds_majority(1, left(0, 1))


def test_a_tie_is_a_tie_in_floats_too():
    # .8 - .2 = 2 (1 - .7) would hold or not by the last bit.
    tie = Overlap(Fraction(7, 10), Fraction(7, 10))
    assert not holds(Fraction(4, 5), Fraction(1, 5), tie)
    assert holds(Fraction(4, 5) + Fraction(1, 10**30), Fraction(1, 5), tie)
    # As fractions, these floats are: .8 just above, .2 just above by a quarter of that.
    assert holds(0.8, 0.2, tie) == (Fraction(0.8) - Fraction(0.2) > Fraction(3, 5))
    third = Overlap(Fraction(2, 3), Fraction(2, 3))
    for p in np.nextafter(5 / 6, [0, 5 / 6, 1]):
        assert holds_majority(float(p), third) == (Fraction(float(p)) > Fraction(5, 6))
        assert holds_gap(2 * float(p) - 1, third) == (Fraction(2 * float(p) - 1) > Fraction(2, 3))


def test_floats_and_fractions_agree():
    rng = np.random.default_rng(0)
    for _ in range(500):
        a, b, c = (Fraction(int(value), 1000) for value in rng.integers(1, 1001, size=3))
        p_y, p_l, seen = max(a, 1 - a), min(b, min(a, 1 - a)), Overlap(c, Fraction(int(rng.integers(0, 1001)), 1000))
        exact, rounded = margin_bound(p_y, p_l, seen), margin_bound(float(p_y), float(p_l), seen)
        assert isinstance(exact, Fraction)
        assert abs(exact - rounded) < 1e-13 * max(1, seen.attacked / seen.clean)
        if exact:
            assert holds(float(p_y), float(p_l), seen) == holds(p_y, p_l, seen) == (exact > 0)
        assert holds_majority(p_y, seen) == (majority_bound(p_y, seen) > Fraction(1, 2))
        assert holds_above(p_y, Fraction(1, 3), seen) == (majority_bound(p_y, seen) > Fraction(1, 3))


def test_bounds_grow_with_both_overlaps():
    grid = [Fraction(i, 12) for i in range(13)]
    for p_y, p_l in [(1, 0), (Fraction(9, 10), Fraction(1, 10)), (Fraction(3, 5), Fraction(1, 5)), (0, 1)]:
        for bound in (lambda o, p_y=p_y, p_l=p_l: margin_bound(p_y, p_l, o), lambda o, p_y=p_y: majority_bound(p_y, o)):
            table = np.array([[bound(Overlap(s, t)) for t in grid] for s in grid])
            assert (np.diff(table, axis=0) >= 0).all()
            assert (np.diff(table, axis=1) >= 0).all()


def test_what_is_known_of_one_number_alone_is_weaker():
    rng = np.random.default_rng(2)
    for _ in range(300):
        p_y = Fraction(int(rng.integers(0, 101)), 100)
        p_l = (1 - p_y) * Fraction(int(rng.integers(0, 11)), 10)
        seen = Overlap(Fraction(int(rng.integers(1, 13)), 12), Fraction(int(rng.integers(0, 13)), 12))
        assert -1 <= gap_bound(p_y - p_l, seen) <= margin_bound(p_y, p_l, seen) <= 1
        assert margin_bound(p_y, 1 - p_y, seen) <= margin_bound(p_y, p_l, seen)
        assert holds_majority(p_y, seen) == holds(p_y, 1 - p_y, seen)
        assert holds(p_y, p_l, seen) == holds_gap(p_y - p_l, seen)


def test_nothing_holds_where_all_is_touched():
    nothing = Overlap(0, 0)
    assert (margin_bound(1, 0, nothing), majority_bound(1, nothing), gap_bound(1, nothing)) == (-1, 0, -1)
    assert not holds(1, 0, nothing) and not holds_majority(1, nothing) and not holds_gap(1, nothing)
    assert holds(0.6, 0.4, UNTOUCHED) and not holds(0.5, 0.5, UNTOUCHED)


def test_every_number_of_votes_is_reached_by_a_classifier():
    # 5 of 10 draws see the element that is modified. All numbers of votes for y and l (of 3 classes) on clean draws;
    # the votes that change are those for y first, and on attacked draws they are for l.
    n, k = 5, 2
    draws = [0 in kept for kept in combinations(range(n), k)]
    seen, hidden = sum(draws), len(draws) - sum(draws)
    bound = overlap(n, k, modified=1)
    for y, l in product(range(len(draws) + 1), repeat=2):  # noqa: E741
        if y + l <= len(draws):
            least = max(y - seen, 0) - (min(l, hidden) + seen)
            assert margin_bound(Fraction(y, len(draws)), Fraction(l, len(draws)), bound) == Fraction(least, len(draws))


def test_positions_must_not_be_seen_where_elements_are_added():
    """One element in front shifts all others. A classifier that sees positions knows every one of them as new."""
    n, clean, attacked = 6, [0, 1, 2, 3, 4, 5], [9, 0, 1, 2, 3, 4, 5]

    def votes(elements):
        return Fraction(sum(element == position for position, element in enumerate(elements)), len(elements))

    assert votes(clean) == 1 and votes(attacked) == 0
    bound = overlap(n, 1, added=1)
    assert margin_bound(1, 0, bound) == Fraction(5, 7)
    # With gaps closed it sees one element and not where it stood: the bound holds.
    assert Fraction(sum(element <= 5 for element in attacked), 7) == majority_bound(1, bound) == Fraction(6, 7)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: holds(1.01, 0, UNTOUCHED), "p_y must lie from 0 to 1, not at 1.01"),
        (lambda: holds(1, -0.01, UNTOUCHED), "p_l must lie from 0 to 1"),
        (lambda: margin_bound(float("nan"), 0, UNTOUCHED), "p_y must lie from 0 to 1, not at nan"),
        (lambda: majority_bound("all", UNTOUCHED), "p_y must be a number from 0 to 1, not all"),
        (lambda: gap_bound(-1.5, UNTOUCHED), "gap must lie from -1 to 1"),
        (lambda: holds_above(1, 2, UNTOUCHED), "threshold must lie from 0 to 1"),
    ],
)
def test_nonsense_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()
