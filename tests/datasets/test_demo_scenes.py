"""The captioned scenes: always the same, no two of the same objects, captions that say what is there."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from art_multimodal import InputError
from art_multimodal.datasets import open_captioned, open_data
from art_multimodal.demo import scenes_data
from art_multimodal.demo.scene_captions import (
    _FRAMES,
    _MEDIA,
    _PLACES,
    _QUALITIES,
    _VERBS,
    HELD_OUT_WORDINGS,
    LONGEST_CAPTION,
    held_out_caption,
    random_caption,
    word_objects,
)
from art_multimodal.demo.scenes import COLOURS, NOTHING, SHAPES, kind_name, place_objects
from art_multimodal.demo.scenes_data import ScenesData, object_sets
from art_multimodal.language.words import ProtectedWords, words_of


@pytest.fixture(scope="module")
def data() -> ScenesData:
    return ScenesData()


def named(caption: str) -> list[str]:
    """The objects that a caption names, in its order; shares nothing with how captions are made."""
    words = [word.text.lower() for word in words_of(caption)]
    return [f"{colour} {shape}" for colour, shape in pairwise(words) if colour in COLOURS and shape in SHAPES]


def facts(caption: str) -> int:
    """How many colours and shapes a caption names."""
    return sum(word.text.lower() in (*COLOURS, *SHAPES) for word in words_of(caption))


def test_two_hundred_images_with_two_captions(data) -> None:
    assert len(data) == 200 == len({data.name_of(i) for i in range(200)})
    assert all(len(data.captions_of(i)) == 2 for i in range(200))
    assert data.image(7).shape == (3, 32, 32) and data.image(7).dtype == np.float32
    assert data.images.min() >= 0 and data.images.max() <= 1


def test_opened_by_name(data) -> None:
    opened = open_captioned("demo:scenes")
    assert isinstance(opened, ScenesData) and opened.fingerprint() == data.fingerprint()
    with pytest.raises(InputError, match="has captions and no labels.*Use demo:digits or demo:shapes"):
        open_data("demo:scenes")


def test_the_data_are_always_the_same(data) -> None:
    # Drawn anew, and not from what was kept.
    scenes_data._drawn.cache_clear()
    again = ScenesData()
    np.testing.assert_array_equal(again.images, data.images)
    assert again.fingerprint() == data.fingerprint()
    assert data.captions_of(0) == (
        "there is a yellow circle, a yellow triangle, and a green circle in this photo.",
        "this stamp depicts a yellow circle, a yellow triangle, and a green circle.",
    )
    # Loosely: another generator or another seed moves this far more than another machine's rounding.
    assert [float(image.mean()) for image in data.images[:4]] == pytest.approx([0.795, 0.742, 0.554, 0.678], abs=2e-3)


def test_no_two_scenes_have_the_same_objects(data) -> None:
    sets = [frozenset(name for name, _, _ in data.scenes.objects(i)) for i in range(len(data))]
    assert len(set(sets)) == len(data)
    assert {len(objects) for objects in sets} == {1, 2, 3}


def test_captions_name_the_objects_and_nothing_else(data) -> None:
    for i in range(len(data)):
        there = [name for name, _, _ in data.scenes.objects(i)]
        for caption in data.captions_of(i):
            assert sorted(named(caption)) == sorted(there)
            assert facts(caption) == 2 * len(there)
    orders = [[named(caption) for caption in data.captions_of(i)] for i in range(len(data))]
    assert any(first != second for first, second in orders)


def test_every_set_once() -> None:
    sets = object_sets()
    assert sets.shape == (12 + 66 + 220, 3)
    assert len({frozenset(row.tolist()) - {NOTHING} for row in sets}) == len(sets)


def test_placed_objects_keep_apart() -> None:
    rng = np.random.default_rng(5)
    kinds = np.repeat(object_sets()[-40:], 10, axis=0)
    centres = place_objects(kinds, rng).centres
    assert centres.shape == (400, 3, 2) and centres.dtype == np.float32
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert (np.abs(centres[:, first] - centres[:, second]) > 6).all()
    # Any object may stand anywhere.
    places = np.rint((centres[:, 0] - 16) / 10).astype(int)
    assert {tuple(place) for place in places.tolist()} == {(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)}


def test_captions_of_training_state_only_what_is_true() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for row in np.repeat(object_sets(), 3, axis=0):
        kinds = row[row != NOTHING].tolist()
        caption = random_caption(kinds, rng)
        seen.add(caption)
        assert sorted(named(caption)) == sorted(kind_name(kind) for kind in kinds)
        assert facts(caption) == 2 * len(kinds)
        assert len(caption) <= LONGEST_CAPTION
        counted = {"one": 1, "two": 2, "three": 3}
        words = [word.text.lower() for word in words_of(caption)]
        said = [counted[first] for first, second in pairwise(words) if second.startswith("object") and first in counted]
        assert set(said) <= {len(kinds)}
    assert len(seen) > 850


def test_objects_in_words() -> None:
    rng = np.random.default_rng(0)
    one = {word_objects([0], rng) for _ in range(50)}
    assert {"a red circle", "the red circle", "one red circle"} <= one
    two = {word_objects([0, 6], rng) for _ in range(400)}
    assert {"a red circle and a blue square", "a blue square with a red circle"} <= two
    three = {word_objects([0, 6, 9], rng) for _ in range(2000)}
    assert {
        "a red circle, a blue square and a green triangle",
        "the green triangle, the red circle, and the blue square",
    } <= three


def test_held_out_wordings_are_new() -> None:
    learnt = {word.text for text in (*_FRAMES, *_MEDIA, *_PLACES, *_QUALITIES, *_VERBS) for word in words_of(text)}
    for wording in HELD_OUT_WORDINGS:
        assert wording not in _FRAMES
        assert {word.text for word in words_of(wording)} - learnt, wording
    rng = np.random.default_rng(0)
    longest = max((held_out_caption([3, 7, 11], rng) for _ in range(500)), key=len)
    assert len(longest.encode()) <= 126


def test_colours_shapes_and_numbers_are_protected(data) -> None:
    assert set(data.protected_words) == {*COLOURS, *SHAPES, "one", "two", "three"}
    free = []
    for i in range(len(data)):
        for caption in data.captions_of(i):
            words = words_of(caption)
            taken = ProtectedWords(data.protected_words).among(words)
            left = {word.text.lower() for index, word in enumerate(words) if index not in taken}
            assert left.isdisjoint((*COLOURS, *SHAPES, "one", "two", "three"))
            free.append(len(left))
    # What is left to an attack: hardly ever nothing, mostly several words.
    assert np.mean(np.array(free) == 0) < 0.03 and np.mean(free) > 4


def test_the_other_demos_protect_what_changes_their_answers() -> None:
    assert open_data("demo:digits").protected_words == tuple("0123456789")
    shapes = open_data("demo:shapes").protected_words
    assert set(shapes) == {*COLOURS, *SHAPES, *["left", "right", "above", "over", "higher", "below", "under", "lower"]}
