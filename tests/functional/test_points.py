"""Geometry of removal, against brute force."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from art_multimodal.functional.points import Box, Costs, Cube, Layout, Removal
from art_multimodal.texts import without_words

sizes = st.integers(1, 60)
#: Grids of one, two and three point axes.
grids = st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Layout, list[Box]]:
    """A sample of up to three modalities, and boxes in it."""
    layout = Layout(tuple(draw(st.lists(grids, min_size=1, max_size=3))), draw(st.integers(0, 5)))
    boxes = []
    for _ in range(draw(st.integers(1, 5))):
        number = draw(st.integers(0, len(layout.shapes) - 1))
        shape = layout.shapes[number]
        start = tuple(draw(st.integers(0, size - 1)) for size in shape)
        extent = tuple(draw(st.integers(1, size - first)) for size, first in zip(shape, start, strict=True))
        boxes.append(Box(start, extent, number))
    return layout, boxes


def points_of(boxes: list[Box]) -> set[tuple]:
    """Every point of boxes, by brute force."""
    return {(box.modality, *point) for box in boxes for point in product(*(range(s.start, s.stop) for s in box.slices))}


@given(layouts(), st.data())
def test_the_union_counts_once(case: tuple[Layout, list[Box]], data: st.DataObject) -> None:
    layout, boxes = case
    words = tuple(data.draw(st.sets(st.integers(0, layout.words - 1)))) if layout.words else ()
    removal = Removal(tuple(boxes), words + words)
    expected = points_of(boxes)
    assert removal.numbers(layout) == len(expected)
    assert removal.points(layout) == len(expected) + len(words)
    masks = layout.grids(removal.mask(layout))
    assert {(number, *map(int, point)) for number, mask in enumerate(masks) for point in np.argwhere(mask)} == expected
    assert Costs.of_points(layout).of(removal, layout) == len(expected) + len(words)
    # With costs of one's own, each point of a modality the same.
    each = data.draw(st.lists(st.sampled_from([0.25, 1.0, 3.0]), min_size=len(masks), max_size=len(masks)))
    costs = Costs(np.repeat(each, layout.sizes), np.full(layout.words, 0.5), 1.0)
    assert costs.of(removal, layout) == sum(each[number] for number, *_ in expected) + 0.5 * len(words)
    assert costs.of(Removal(tuple(boxes[:1])), layout) == sum(each[number] for number, *_ in points_of(boxes[:1]))


@given(layouts())
def test_the_parts_cover_every_cube_and_the_root_covers_the_grid(case: tuple[Layout, list[Box]]) -> None:
    layout = case[0]
    for root, shape in zip(layout.roots(), layout.shapes, strict=True):
        box = root.clipped(shape)
        assert box == Box((0,) * len(shape), shape, root.modality)
        level = [root]
        while any(cube.is_divided for cube in level):
            level = [part for cube in level for part, _ in cube.parts_inside(shape)]
            covered = np.zeros(shape, dtype=bool)
            for cube in level:
                clipped = cube.clipped(shape)
                assert clipped is not None
                covered[clipped.slices] = True
            assert covered.all()


@pytest.mark.parametrize("axes", [1, 2, 3])
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
def test_sides_of_the_blocks(side: int, sides: list[int], axes: int) -> None:
    cube, found = Cube.root((side,) * axes), []
    while cube.is_divided:
        parts = cube.parts()
        assert len(parts) == 2**axes
        cube = parts[-1]
        found.append(cube.side)
    assert found == sides


def test_quadrants_come_in_the_published_order() -> None:
    quadrants = Cube.root((224, 224)).parts()
    assert [q.start for q in quadrants] == [(0, 0), (112, 0), (0, 112), (112, 112)]


@given(st.text(max_size=40), st.sets(st.integers(0, 8)))
def test_words_are_deleted_by_index(text: str, indices: set[int]) -> None:
    expected = [word for index, word in enumerate(text.split()) if index not in indices]
    result = without_words(text, indices)
    assert result.split() == expected
    if not indices:
        assert result == text


@given(layouts(), st.integers(0, 100), st.sets(st.integers(0, 3)))
def test_masks_survive_packing_and_joining(case: tuple[Layout, list[Box]], seed: int, words: set[int]) -> None:
    layout, boxes = case
    rng = np.random.default_rng(seed)
    masks = [rng.random(layout.size) < density for density in (0.3, 0.05)]
    first, second = (Removal.of_mask(mask, tuple(words)) for mask in masks)
    np.testing.assert_array_equal(first.mask(layout), masks[0])
    joined = first | second | Removal((boxes[0],))
    union = masks[0] | masks[1]
    layout.grids(union)[boxes[0].modality][boxes[0].slices] = True
    np.testing.assert_array_equal(joined.mask(layout), union)
    assert joined.points(layout) == union.sum() + len(words)
    assert first.touches_numbers == bool(masks[0].any())


@pytest.mark.parametrize("each", [(1.0,), (0.37,), (0.5, 0.25)])
def test_what_a_room_affords_is_counted(each: tuple[float, ...]) -> None:
    rng = np.random.default_rng(0)
    numbers = np.repeat(np.array(each), 12)
    costs = Costs(numbers, np.zeros(0), float(numbers.sum()))
    assert (costs.of_each is None) == (len(each) > 1)
    for room in (-1.0, 0.0, 1e-12, *rng.uniform(0, numbers.sum() + 1, 40)):
        order = rng.permutation(len(numbers))[: rng.integers(1, len(numbers) + 1)]
        counted = 0
        while counted < len(order) and numbers[order[: counted + 1]].sum() < room:
            counted += 1
        assert costs.affordable(order, float(room)) == counted
