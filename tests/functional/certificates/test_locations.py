"""The worst case over locations against every set of elements and every vote that these can turn."""

from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest

from art_multimodal.errors import InputError
from art_multimodal.functional.certificates.bound import margin_bound
from art_multimodal.functional.certificates.locations import Worst, worst_locations
from art_multimodal.functional.certificates.overlap import hits_overlap, overlap
from art_multimodal.functional.designs import affine_plane, all_subsets, crossed, most_hits, partition, subsets

#: Votes: for y, for l, for another class.
Y, L, OTHER = 0, 1, 2


def attacked(votes, seen, budget):
    """The least gap, by turning every vote that sees a touched element into every class, for every set of elements."""
    least = len(votes)
    for touched in product(*(combinations(range(part.shape[1]), r) for part, r in zip(seen, budget, strict=True))):
        hit = np.any([part[:, list(t)].any(axis=1) for part, t in zip(seen, touched, strict=True)], axis=0)
        turned = np.array(list(product((Y, L, OTHER), repeat=int(hit.sum()))), dtype=int)
        kept = votes[~hit]
        gaps = (turned == Y).sum(axis=1) - (turned == L).sum(axis=1) + (kept == Y).sum() - (kept == L).sum()
        least = min(least, int(gaps.min()))
    return least


def margins_of(votes):
    return (votes == Y).astype(int) - (votes == L)


@pytest.mark.parametrize(
    "masks",
    [
        crossed(partition(4, 3), partition(3, 2)),
        crossed(all_subsets(3, 1), all_subsets(2, 1)),
        crossed(partition(3, 2), partition(2, 2), partition(2, 2)),
        (all_subsets(4, 2),),
        (subsets(4, 2, 7, np.random.default_rng(0)), subsets(3, 1, 7, np.random.default_rng(1))),
    ],
    ids=["grid", "all", "three", "one", "random"],
)
def test_every_set_and_every_vote(masks):
    rng = np.random.default_rng(0)
    for budget in product(*(range(min(2, part.shape[1]) + 1) for part in masks)):
        if sum(budget) > 3:
            continue
        for _ in range(4):
            votes = rng.choice(3, p=[0.6, 0.2, 0.2], size=len(masks[0]))
            least = attacked(votes, masks, budget)
            found = worst_locations(margins_of(votes), masks, budget)
            assert found.exact and found.gap == least
            bound = worst_locations(margins_of(votes), masks, budget, limit=0)
            assert bound.gap <= least and bound.exact <= (bound.gap == least)
            # What is named leaves that gap, when all votes that see it turn.
            hit = np.any([part[:, list(t)].any(axis=1) for part, t in zip(masks, found.touched, strict=True)], axis=0)
            assert np.where(hit, -1, margins_of(votes)).sum() == least


@pytest.mark.parametrize("kind", ["all", "partition", "design"])
def test_never_looser_than_what_probabilities_say(kind):
    one, two = {
        "all": (all_subsets(6, 2), all_subsets(4, 1)),
        "partition": (partition(8, 4), partition(6, 3)),
        "design": (affine_plane(3), partition(4, 2)),
    }[kind]
    masks, rng = crossed(one, two), np.random.default_rng(1)
    tighter = 0
    for r_1, r_2 in product(range(3), range(3)):
        hits = hits_overlap(most_hits(one, r_1), len(one)) * hits_overlap(most_hits(two, r_2), len(two))
        if kind == "all":
            assert hits == overlap(6, 2, modified=r_1) * overlap(4, 1, modified=r_2)
        for share in (0.5, 0.8, 0.95, 1):
            votes = rng.choice(3, p=[share, (1 - share) / 2, (1 - share) / 2], size=len(masks[0]))
            p_y, p_l = (Fraction(int((votes == label).sum()), len(votes)) for label in (Y, L))
            found = worst_locations(margins_of(votes), masks, (r_1, r_2))
            plain = margin_bound(p_y, p_l, hits) * len(votes)
            assert found.exact and found.gap >= plain
            tighter += found.gap > plain
            if share == 1:
                assert found.gap == plain == len(votes) * (1 - 2 * (1 - hits.clean))
    assert tighter


def test_votes_that_are_spread_evenly_hold_longer():
    # Each of 20 elements is seen by 4 votes for y and 1 for l. With the margin mu = .6 the limit on the share that sees
    # a touched element is mu / (1 + mu), where probabilities allow mu / 2.
    votes = np.tile([Y, Y, Y, Y, L], 20)
    masks = np.eye(20, dtype=bool).repeat(5, axis=0)
    seen = np.tile([1, 1, 1, 1, -1], 20)

    def holds(r):
        return worst_locations(margins_of(votes), [masks], [r]).gap > 0

    assert (seen == margins_of(votes)).all()
    limit = 0.6 / 1.6
    assert [r for r in range(21) if holds(r)][-1] == int(20 * limit) == 7
    plain = [
        r for r in range(21) if margin_bound(Fraction(4, 5), Fraction(1, 5), hits_overlap(most_hits(masks, r), 100)) > 0
    ]
    assert plain[-1] == 5


def test_grids_of_partitions_are_exact_where_sets_are_many():
    rng = np.random.default_rng(2)
    masks = crossed(partition(16, 16), partition(12, 12))
    margins = rng.choice([-1, 0, 1], p=[0.1, 0.2, 0.7], size=192)
    found = worst_locations(margins, masks, (6, 3), limit=300)
    assert found.exact  # C(12, 3) = 220 sets of columns, then the rows that cost most
    loss = (margins + 1).reshape(16, 12)
    least = min(
        margins.sum() - loss[:, list(columns)].sum() - np.sort(np.delete(loss, columns, axis=1).sum(axis=1))[-6:].sum()
        for columns in combinations(range(12), 3)
    )
    assert found.gap == least
    bound = worst_locations(margins, masks, (6, 3), limit=100)
    assert bound.gap <= least
    assert bound.gap >= margins.sum() - np.sort(loss.sum(axis=1))[-6:].sum() - np.sort(loss.sum(axis=0))[-3:].sum()


def test_nothing_touched_and_all_touched():
    masks = crossed(partition(4, 2), partition(4, 2))
    assert worst_locations(np.array([1, 1, 0, -1]), masks, (0, 0)) == Worst(1, ((), ()), True)
    assert worst_locations(np.array([1, 1, 0, -1]), masks, (4, 0)).gap == -4


@pytest.mark.parametrize("margins", [[0.5, 1, 0, 0], [2, 0, 0, 0], [[1, 0, 0, 0]], [True, False, True, True]])
def test_margins_are_whole_numbers(margins):
    with pytest.raises(InputError, match="Margins of votes must be whole numbers"):
        worst_locations(np.array(margins), crossed(partition(4, 2), partition(4, 2)), (1, 1))


def test_shapes_must_match():
    with pytest.raises(InputError, match=r"must be booleans \[3, n\]"):
        worst_locations(np.array([1, 1, 1]), [partition(4, 2)], (1,))
