"""Ranks and recall against brute force and closed forms; the contrastive loss against one written down per pair."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from art_multimodal.errors import InputError
from art_multimodal.functional import retrieval
from art_multimodal.functional.contrastive import contrastive_cross_entropy
from art_multimodal.functional.retrieval import best_ranks, check_ks, cosine_ranks, recall_at
from art_multimodal.functional.statistics import proportion_ci95


def slow_rank(scores: list[float], relevant: list[bool]) -> int:
    """Sort the items, irrelevant ones first among equals, and count to the first relevant one."""
    order = sorted(range(len(scores)), key=lambda item: (-scores[item], relevant[item]))
    return 1 + next(place for place, item in enumerate(order) if relevant[item])


# Few distinct scores, so that ties are common.
tables = st.tuples(st.integers(1, 6), st.integers(1, 7)).flatmap(
    lambda shape: st.tuples(
        *(
            st.lists(st.lists(entry, min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0])
            for entry in (st.sampled_from([-1.0, 0.0, 0.5, 0.75]), st.booleans())
        )
    )
)


@given(tables)
def test_ranks_are_those_of_sorting(table):
    scores, relevant = table
    for row in relevant:
        row[0] |= not any(row)
    expected = [slow_rank(*query) for query in zip(scores, relevant, strict=True)]
    assert best_ranks(torch.tensor(scores), torch.tensor(relevant)).tolist() == expected


def test_ties_count_against_the_model():
    constant, relevant = torch.zeros(5, 5), torch.eye(5, dtype=torch.bool)
    assert best_ranks(constant, relevant).tolist() == [5] * 5
    assert best_ranks(constant, torch.ones(5, 5, dtype=torch.bool)).tolist() == [1] * 5
    assert best_ranks(torch.full((1, 3), -torch.inf), torch.tensor([[False, True, False]])).tolist() == [3]


@pytest.mark.parametrize("at_once", [1, 7, 50, 2**23])
@pytest.mark.parametrize("form", [np.asarray, torch.from_numpy, csr_array])
def test_ranks_by_cosine_in_chunks(monkeypatch, at_once, form):
    rng = np.random.default_rng(0)
    queries, gallery = rng.normal(size=(9, 5)), rng.normal(size=(12, 5)) * rng.uniform(0.1, 10, size=(12, 1))
    relevant = rng.random((9, 12)) < 0.2
    relevant[:, 3] |= ~relevant.any(axis=1)
    expected = []
    for query, wanted in zip(queries, relevant, strict=True):
        cosines = [query @ item / math.dist(query, 0 * query) / math.dist(item, 0 * item) for item in gallery]
        expected.append(slow_rank(cosines, wanted.tolist()))
    monkeypatch.setattr(retrieval, "_SCORES_AT_ONCE", at_once)
    ranks = cosine_ranks(torch.from_numpy(queries).float(), torch.from_numpy(gallery).float(), form(relevant))
    assert ranks.dtype == np.int64
    np.testing.assert_array_equal(ranks, expected)


@pytest.mark.parametrize("count", [2, 3, 17, 64, 129])
def test_equal_features_tie_wherever_they_stand(count):
    # Matrix products add up in another order at their borders: in float32 some of these would win by a rounding.
    generator = torch.Generator().manual_seed(count)
    queries, item = torch.randn(40, 512, generator=generator), torch.randn(1, 512, generator=generator)
    for place in (0, count // 2, count - 1):
        relevant = np.zeros((40, count), dtype=bool)
        relevant[:, place] = True
        assert set(cosine_ranks(queries, item.repeat(count, 1), relevant)) == {count}


def test_ranks_refuse_what_means_nothing():
    features = torch.eye(3)
    with pytest.raises(InputError, match=r"shape \(3, 2\), but there are 3 queries and 3 items"):
        cosine_ranks(features, features, np.ones((3, 2), dtype=bool))
    relevant = np.eye(3, dtype=bool)
    relevant[1] = False
    for form in (np.asarray, torch.from_numpy, csr_array):
        with pytest.raises(InputError, match="Query 1 has no relevant item"):
            cosine_ranks(features, features, form(relevant))
    with pytest.raises(InputError, match="Query 1 has no relevant item"):
        best_ranks(features, torch.from_numpy(relevant))
    with pytest.raises(InputError, match="NaN"):
        cosine_ranks(features * torch.nan, features, np.eye(3, dtype=bool))
    with pytest.raises(InputError, match="one shape"):
        best_ranks(features, torch.ones(3, 2, dtype=torch.bool))
    assert cosine_ranks(features[:0], features, np.zeros((0, 3), dtype=bool)).shape == (0,)


def test_recall_counts_and_has_intervals():
    shares, intervals = recall_at(np.array([1, 2, 2, 5, 11]), (1, 2, 10, 100))
    assert shares == {1: 0.2, 2: 0.6, 10: 0.8, 100: 1.0}
    assert intervals == {k: proportion_ci95(count, 5) for k, count in ((1, 1), (2, 3), (10, 4), (100, 5))}


@pytest.mark.parametrize("ks", [(), (0,), (1, -1), (1.5,), (True,), ("1",)])
def test_ks_are_whole_numbers(ks):
    with pytest.raises(InputError, match="ks must be whole numbers"):
        check_ks(ks)


# The loss


def slow_loss(logits: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """In float64, one probability at a time."""
    losses = []
    for pair in range(len(logits)):
        parts = []
        for scores, wanted in ((logits[pair], positives[pair]), (logits[:, pair], positives[:, pair])):
            total = math.fsum(math.exp(score) for score in scores)
            chosen = [-math.log(math.exp(scores[item]) / total) for item in np.flatnonzero(wanted)]
            parts.append(math.fsum(chosen) / len(chosen))
        losses.append(sum(parts) / 2)
    return np.array(losses)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_contrastive_loss_is_the_one_written_down(count):
    rng = np.random.default_rng(count)
    logits, positives = rng.normal(size=(count, count)) * 3, rng.random((count, count)) < 0.4
    np.fill_diagonal(positives, True)
    loss = contrastive_cross_entropy(torch.from_numpy(logits), torch.from_numpy(positives))
    np.testing.assert_allclose(loss.numpy(), slow_loss(logits, positives), rtol=1e-12, atol=1e-12)


def test_contrastive_loss_in_closed_form():
    even = contrastive_cross_entropy(torch.zeros(4, 4), torch.eye(4, dtype=torch.bool))
    torch.testing.assert_close(even, torch.full((4,), math.log(4)))
    # Everything belongs together: the uniform answer is the best, and its loss is the entropy of the target.
    torch.testing.assert_close(
        contrastive_cross_entropy(torch.zeros(4, 4), torch.ones(4, 4, dtype=torch.bool)), torch.full((4,), math.log(4))
    )
    certain = contrastive_cross_entropy(1000 * torch.eye(3), torch.eye(3, dtype=torch.bool))
    torch.testing.assert_close(certain, torch.zeros(3))
