"""The one array of image-text pairs, and the checks on images."""

from __future__ import annotations

import numpy as np
import pytest
from art.data_generators import NumpyDataGenerator
from hypothesis import given
from hypothesis import strategies as st

from art_multimodal.errors import InputError
from art_multimodal.pairs import check_images, image_text_pairs, is_pairs


def make(n: int = 5) -> tuple[np.ndarray, list[str]]:
    images = np.arange(n * 3 * 2 * 2, dtype=np.float32).reshape(n, 3, 2, 2) / (n * 12)
    return images, [f"text {i}" for i in range(n)]


def test_fields_and_zero_copy_view() -> None:
    images, texts = make()
    pairs = image_text_pairs(images, texts)
    assert is_pairs(pairs)
    assert pairs.shape == (5,)
    assert list(pairs["text"]) == texts
    np.testing.assert_array_equal(pairs["image"], images)
    pairs["image"][2] = 0.5
    assert (pairs[2]["image"] == 0.5).all()


@given(st.permutations(range(5)))
def test_text_follows_its_image_through_indexing_copying_and_joining(order: list[int]) -> None:
    images, texts = make()
    pairs = np.concatenate([image_text_pairs(images, texts)[order].copy(), image_text_pairs(images, texts)])
    for row, source in enumerate([*order, *range(5)]):
        assert pairs["text"][row] == texts[source]
        np.testing.assert_array_equal(pairs["image"][row], images[source])


def test_arts_generator_keeps_pairs_together() -> None:
    images, texts = make(8)
    labels = np.eye(8, dtype=np.float32)
    seen = 0
    generator = NumpyDataGenerator(image_text_pairs(images, texts), labels, batch_size=4, shuffle=True)
    for _ in range(4):
        batch, y = generator.get_batch()
        for pair, label in zip(batch, y, strict=True):
            index = int(label.argmax())
            assert pair["text"] == texts[index]
            np.testing.assert_array_equal(pair["image"], images[index])
            seen += 1
    assert seen == 16


def test_arithmetic_on_pairs_raises_instead_of_losing_the_text() -> None:
    pairs = image_text_pairs(*make())
    with pytest.raises(TypeError):
        pairs + 1  # type: ignore[operator]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a"] * 4, "5 images and 4 texts"),
        (["a", "b", " ", "d", "e"], "Text 2 is empty"),
        (["a", "b", "c", None, "e"], "Text 3 must be a string"),
        ("abcde", "5 images and 1 texts"),
    ],
)
def test_bad_texts(texts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        image_text_pairs(make()[0], texts)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.full((2, 3, 4, 4), 255, dtype=np.uint8), "Divide them by 255"),
        (np.full((2, 3, 4, 4), -0.5), r"must lie in \[0, 1\]"),
        (np.full((2, 3, 4, 4), 1.01), r"must lie in \[0, 1\]"),
        (np.zeros((2, 4, 4, 3)), "channels seem to come last"),
        (np.zeros((2, 1, 4, 4)), "must have shape"),
        (np.zeros((3, 4, 4)), "must have shape"),
        (np.zeros((2, 3, 0, 4)), "must have shape"),
        (np.array(["a"]), "array of numbers"),
        (np.zeros((2, 3, 4, 4), dtype=complex), "array of numbers"),
    ],
)
def test_bad_images(images: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_images(images)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_image_that_is_not_finite_is_named(value: float) -> None:
    images = np.zeros((4, 3, 2, 2))
    images[2, 1, 0, 0] = value
    with pytest.raises(InputError, match="Image 2 holds NaN or infinite"):
        check_images(images)


def test_good_images_become_contiguous_float32() -> None:
    checked = check_images(np.zeros((2, 4, 4, 3)).transpose(0, 3, 1, 2))
    assert checked.dtype == np.float32
    assert checked.flags.c_contiguous
    assert check_images(np.zeros((0, 3, 4, 4))).shape == (0, 3, 4, 4)
