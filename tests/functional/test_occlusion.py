"""Geometry of removal, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from art_multimodal.functional.occlusion import (
    Block,
    Removal,
    fill_removed,
    quadtree_root,
    without_words,
)

sizes = st.integers(1, 60)


@st.composite
def image_and_blocks(draw: st.DrawFn) -> tuple[int, int, list[Block]]:
    height, width = draw(sizes), draw(sizes)
    blocks = []
    for _ in range(draw(st.integers(1, 5))):
        row, column = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        blocks.append(Block(row, column, draw(st.integers(1, height - row)), draw(st.integers(1, width - column))))
    return height, width, blocks


@given(image_and_blocks(), st.sets(st.integers(0, 9)), st.integers(10, 20))
def test_share_counts_the_union_once(case: tuple[int, int, list[Block]], words: set[int], total_words: int) -> None:
    height, width, blocks = case
    pixels = {
        (row, column)
        for b in blocks
        for row in range(b.row, b.row + b.height)
        for column in range(b.column, b.column + b.width)
    }
    removal = Removal(tuple(blocks), tuple(words) + tuple(words))
    assert removal.pixels(height, width) == len(pixels)
    assert removal.share(height, width, total_words) == pytest.approx(
        (len(pixels) + len(words)) / (height * width + total_words)
    )


@given(image_and_blocks())
def test_fill_touches_exactly_the_blocks(case: tuple[int, int, list[Block]]) -> None:
    height, width, blocks = case
    image = np.random.default_rng(0).random((3, height, width), dtype=np.float32)
    filled = image.copy()
    fill = np.array([2, 3, 4], dtype=np.float32).reshape(3, 1, 1)
    fill_removed(filled, Removal(tuple(blocks)), fill)
    mask = Removal(tuple(blocks)).mask(height, width)
    np.testing.assert_array_equal(filled[:, ~mask], image[:, ~mask])
    assert (filled[:, mask] == fill[:, :, 0]).all()


@given(sizes, sizes)
def test_four_quadrants_cover_every_square_and_the_root_covers_the_image(height: int, width: int) -> None:
    root = quadtree_root(height, width)
    block = root.clipped(height, width)
    assert block == Block(0, 0, height, width)
    level = [root]
    while any(square.is_divided for square in level):
        level = [quadrant for square in level for quadrant in square.quadrants()]
        covered = np.zeros((height, width), dtype=bool)
        for square in level:
            if clipped := square.clipped(height, width):
                covered[clipped.slices] = True
        assert covered.all()


@pytest.mark.parametrize(
    ("side", "sides"),
    [
        (224, [112, 56, 28, 14, 7]),
        (336, [168, 84, 42, 21, 11]),
        (32, [16, 8, 4, 2, 1]),
        (8, [4, 2, 1]),
        (1, []),
        (33, [17, 9, 5, 3, 2]),
    ],
)
def test_sides_of_the_blocks(side: int, sides: list[int]) -> None:
    square, found = quadtree_root(side, side), []
    while square.is_divided:
        square = square.quadrants()[-1]
        found.append(square.side)
    assert found == sides


def test_quadrants_come_in_the_published_order() -> None:
    quadrants = quadtree_root(224, 224).quadrants()
    assert [(q.row, q.column) for q in quadrants] == [(0, 0), (112, 0), (0, 112), (112, 112)]


@given(st.text(max_size=40), st.sets(st.integers(0, 8)))
def test_words_are_deleted_by_index(text: str, indices: set[int]) -> None:
    expected = [word for index, word in enumerate(text.split()) if index not in indices]
    result = without_words(text, indices)
    assert result.split() == expected
    if not indices:
        assert result == text


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 100), st.sets(st.integers(0, 3)))
def test_masks_survive_packing_and_joining(height: int, width: int, seed: int, words: set[int]) -> None:
    rng = np.random.default_rng(seed)
    masks = [rng.random((height, width)) < density for density in (0.3, 0.05)]
    first, second = (Removal.of_mask(mask, tuple(words)) for mask in masks)
    np.testing.assert_array_equal(first.mask(height, width), masks[0])
    joined = first | second | Removal((Block(0, 0, 1, 1),))
    union = masks[0] | masks[1]
    union[0, 0] = True
    np.testing.assert_array_equal(joined.mask(height, width), union)
    assert joined.points(height, width) == union.sum() + len(words)
    assert first.touches_image == bool(masks[0].any())
    image = rng.random((3, height, width), dtype=np.float32)
    filled = image.copy()
    fill_removed(filled, joined, np.full((3, 1, 1), 2, np.float32))
    assert ((filled == 2).all(axis=0) == union).all()
    np.testing.assert_array_equal(filled[:, ~union], image[:, ~union])
