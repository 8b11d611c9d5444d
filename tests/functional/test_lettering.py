"""Words as pixels: they fit, nothing is cut off, and what cannot be written is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from art_multimodal.errors import InputError
from art_multimodal.functional.lettering import (
    LEAST_SIZE,
    _padding,
    lettering,
    load_font,
    missing_letters,
    write,
)

WORDS = ["dog", "I", "great white shark", "Wijfgjp", "seven", "(a)", "-", "American Staffordshire terrier", "x" * 300]


@given(
    word=st.one_of(
        st.sampled_from(WORDS), st.text("abcdefgjpqyABQ ,.", min_size=1).filter(lambda text: bool(text.strip()))
    ),
    height=st.integers(1, 80),
    width=st.integers(1, 80),
    share=st.floats(0.01, 1),
)
def test_it_fits_and_has_room_around_the_letters(word, height, width, share) -> None:
    most = int(share * height * width)
    letters = lettering(word, height, width, most)
    if letters is None:
        return
    rows, columns = letters.shape
    assert letters.dtype == np.uint8 and rows <= height and columns <= width and rows * columns <= most
    assert letters.max() > 0
    assert letters[[0, -1]].max() == 0 and letters[:, [0, -1]].max() == 0  # nothing is cut off at the edge
    np.testing.assert_array_equal(letters, lettering(word, height, width, most))


@pytest.mark.parametrize("word", ["dog", "Wijfgjp", "great white shark"])
@pytest.mark.parametrize("shape", [(64, 64), (224, 224), (2000, 3000), (300, 40), (30, 500)])
def test_it_is_as_large_as_it_can_be(word, shape) -> None:
    """A tenth of any ordinary image is nearly filled, unless a side ends first."""
    most = int(0.2 * shape[0] * shape[1])
    rows, columns = lettering(word, *shape, most).shape
    assert rows * columns >= 0.75 * most or rows >= 0.9 * shape[0] or columns >= 0.8 * shape[1]


def test_the_letters_are_all_there() -> None:
    """The same ink as on a canvas without an edge."""
    letters = lettering("Wijfgjp", 60, 200, 12000)
    for size in np.arange(30, 60, 0.01):
        canvas = Image.new("L", (600, 300), 0)
        ImageDraw.Draw(canvas).text((200, 150), "Wijfgjp", fill=255, font=load_font(float(size)), anchor="ls")
        ink = np.asarray(canvas)
        if ink.any():
            box = Image.fromarray(ink).getbbox()
            mine = Image.fromarray(letters).getbbox()
            if np.array_equal(ink[box[1] : box[3], box[0] : box[2]], letters[mine[1] : mine[3], mine[0] : mine[2]]):
                return
    pytest.fail("no size of the whole word has this ink")


def test_a_long_name_is_broken_where_that_makes_it_larger() -> None:
    one_line = lettering("greatxwhitexshark", 224, 224, 5017)
    broken = lettering("great white shark", 224, 224, 5017)
    assert one_line.shape[0] < 30 < 60 < broken.shape[0]
    assert lettering("  great   white shark ", 224, 224, 5017).tolist() == broken.tolist()
    assert lettering(" ".join(["word"] * 500), 224, 224, 5017) is None


def test_letters_that_would_be_too_small_are_not_written() -> None:
    assert lettering("eight", 32, 32, 20) is None
    assert lettering("eight", 32, 32, 60, least_size=1) is not None
    assert lettering("i", 8, 8, 64).shape[0] >= LEAST_SIZE


@pytest.mark.parametrize("word", ["", "  ", "\n"])
def test_nothing_to_write(word) -> None:
    with pytest.raises(InputError, match="nothing to write"):
        lettering(word, 32, 32, 500)


@pytest.mark.parametrize(
    ("word", "missing"),
    [
        ("dog", ""),
        ("Ab9 (z), -!'\"%", ""),
        ("café", "é"),
        ("кот", "кот"),
        ("a猫b猫", "猫"),
        ("x\x00\ud800", "\x00\ud800"),
    ],
)
def test_letters_that_the_built_in_font_lacks(word, missing) -> None:
    assert missing_letters(word) == missing
    if missing:
        with pytest.raises(InputError, match="has no letters for"):
            lettering(word, 100, 100, 5000)


def test_another_font_has_other_letters(tmp_path) -> None:
    font = pytest.importorskip("matplotlib.font_manager").findfont("DejaVu Sans")
    assert missing_letters("кот café", font) == ""
    assert missing_letters("猫", font) == "猫"
    assert lettering("кот", 50, 50, 1000, font).max() > 100
    (tmp_path / "no.ttf").write_text("no font")
    with pytest.raises(InputError, match="cannot be read as a font"):
        load_font(10.0, str(tmp_path / "no.ttf"))
    with pytest.raises(InputError, match="cannot be read as a font"):
        load_font(10.0, str(tmp_path / "missing.ttf"))


def test_writing_mixes_the_colours_by_how_much_is_covered() -> None:
    image = np.random.default_rng(0).random((3, 9, 7), dtype=np.float32)
    before = image.copy()
    letters = np.array([[0, 255], [51, 204]], dtype=np.uint8)
    text = np.array([0.2, 1, 0], dtype=np.float32).reshape(3, 1, 1)
    patch = np.array([0.7, 0, 1], dtype=np.float32).reshape(3, 1, 1)
    write(image, letters, 6, 5, text, patch)
    covered = np.array([[0, 1], [0.2, 0.8]])
    np.testing.assert_allclose(image[:, 6:8, 5:7], text * covered + patch * (1 - covered), atol=1e-6)
    image[:, 6:8, 5:7] = before[:, 6:8, 5:7]
    np.testing.assert_array_equal(image, before)


def test_padding_is_a_pixel_at_least() -> None:
    assert _padding(5) == 1 and _padding(100) == 12
