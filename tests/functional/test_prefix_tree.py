"""Prefix trees hold every text from its beginning to its end, and every common beginning once."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from art_multimodal.functional.prefix_tree import prefix_trees

TEXTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=12)


def padded(texts):
    """Rows of tokens with something else behind their ends, and the ends."""
    tokens = torch.full((len(texts), max(map(len, texts)) + 1), 1)
    for row, text in enumerate(texts):
        tokens[row, : len(text)] = torch.tensor(text)
    return tokens, torch.tensor([len(text) - 1 for text in texts])


@given(TEXTS, st.integers(1, 40))
def test_every_text_can_be_read_off_its_tree(texts, most):
    trees = list(prefix_trees(*padded(texts), most))
    assert sorted(row for tree in trees for row in tree.texts.tolist()) == list(range(len(texts)))
    for tree in trees:
        for row, end in zip(tree.texts.tolist(), tree.ends.tolist(), strict=True):
            path = tree.ancestors[end].nonzero().flatten()
            path = path[tree.positions[path].argsort()]
            assert tree.positions[path].tolist() == list(range(len(texts[row])))
            assert tree.ids[path].tolist() == texts[row]


@given(TEXTS, st.integers(1, 40))
def test_a_tree_holds_each_beginning_once_and_no_more_than_allowed(texts, most):
    trees = list(prefix_trees(*padded(texts), most))
    for tree in trees:
        inside = [texts[row] for row in tree.texts.tolist()]
        beginnings = {tuple(text[:end]) for text in inside for end in range(1, len(text) + 1)}
        assert len(tree.ids) == len(tree.positions) == len(beginnings)
        assert len(beginnings) <= most or len({tuple(text) for text in inside}) == 1
        # Whatever stands before a token stands before what follows it.
        assert (tree.ancestors.int() @ tree.ancestors.int() > 0).equal(tree.ancestors)
        assert tree.ancestors.diagonal().all()
    if most >= sum(map(len, texts)):
        assert len(trees) == 1


def test_no_texts_need_no_tree():
    assert list(prefix_trees(torch.zeros(0, 4, dtype=torch.long), torch.zeros(0, dtype=torch.long), 8)) == []


@given(TEXTS, st.integers(1, 40), st.integers(1, 9))
def test_windows_let_every_token_attend_to_its_ancestors_and_nothing_else(texts, most, rows):
    for tree in prefix_trees(*padded(texts), most):
        windows = tree.windows(rows)
        count, size, keys = windows.allowed.shape
        assert windows.keys.shape == (count, keys) and size == min(rows, len(tree.ids))
        # Besides the window's own tokens, those before the first of them.
        assert keys <= size + max(map(len, texts)) - 1
        for place in range(count * size):
            allowed = windows.allowed[place // size, place % size]
            found = windows.keys[place // size][allowed].tolist()
            if place < len(tree.ids):
                assert sorted(found) == tree.ancestors[place].nonzero().flatten().tolist()
            else:
                assert found
