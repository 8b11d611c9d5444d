"""Captioned images: the contract, and CSV files with a row per caption."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from photos import save_photo
from PIL import Image

from art_multimodal import InputError
from art_multimodal.datasets import CaptionedImages, UnreadableSample, open_captioned, open_data


class Listed(CaptionedImages):
    """Names and captions without images."""

    def __init__(self, *entries: tuple[str, tuple[str, ...]]) -> None:
        self.entries = entries

    def __len__(self) -> int:
        return len(self.entries)

    def name_of(self, index: int) -> str:
        return self.entries[index][0]

    def captions_of(self, index: int) -> tuple[str, ...]:
        return self.entries[index][1]

    def image(self, index: int) -> np.ndarray:
        raise AssertionError("no image is to be read")


def write_csv(photos: Path, text: str, encoding: str = "utf-8") -> str:
    (photos / "captions.csv").write_bytes(text.encode(encoding))
    return f"csv:{photos / 'captions.csv'}"


def test_no_word_is_protected_unless_the_data_say_so(photos: Path) -> None:
    assert Listed(("a", ("a cat",))).protected_words == ()
    assert open_captioned(write_csv(photos, "image,text\ndog/c.png,a red dog\n")).protected_words == ()


def test_fingerprints_tell_names_captions_and_their_order_apart() -> None:
    one = Listed(("a", ("x", "y")), ("b", ("z",)))
    assert one.fingerprint() == Listed(("a", ("x", "y")), ("b", ("z",))).fingerprint()
    assert one.fingerprint() == hashlib.sha256(b"a\x002\x00x\x00y\x00b\x001\x00z\x00").hexdigest()
    others = [
        Listed(("a", ("y", "x")), ("b", ("z",))),
        Listed(("b", ("z",)), ("a", ("x", "y"))),
        Listed(("a", ("x",)), ("b", ("z",))),
        Listed(("a", ("x", "y", "b", "z"))),
        Listed(("a", ("x",)), ("y", ("b", "z"))),
        Listed(("c", ("x", "y")), ("b", ("z",))),
    ]
    assert len({data.fingerprint() for data in (one, *others)}) == 7
    assert Listed(("\ud800", ("\ud800",))).fingerprint()


def test_rows_of_one_file_are_one_image_with_several_captions(photos: Path) -> None:
    rows = (
        'dog/c.png,"a dog, asleep"',
        "fire_truck/a.png,  a red truck ",
        "./dog/c.png,a brown dog",
        " dog/c.png ,a brown dog ",
        "dog//c.png,A brown dog",
        "dog/ü ✓.png,a brown dog",
    )
    data = open_captioned(write_csv(photos, "\n".join(("Image, text", *rows)) + "\n", "utf-8-sig"))
    assert len(data) == 3
    assert [data.name_of(i) for i in range(3)] == ["dog/c.png", "fire_truck/a.png", "dog/ü ✓.png"]
    assert [data.captions_of(i) for i in range(3)] == [
        ("a dog, asleep", "a brown dog", "A brown dog"),
        ("a red truck",),
        ("a brown dog",),
    ]
    image = data.image(1)
    np.testing.assert_array_equal(image, save_photo(photos.parent / "again.png", seed=0))
    assert image.dtype == np.float32 and image.shape == (3, 12, 20)


def test_absolute_paths_other_columns_and_a_transform(photos: Path) -> None:
    rows = f"1,a dog,{photos / 'dog' / 'c.png'},dog\n2,a truck,fire_truck/a.png,truck\n"
    spec = write_csv(photos, "id,text,image,label\n" + rows)
    data = open_captioned(spec, transform=lambda photo: photo.resize((5, 4), Image.Resampling.NEAREST))
    assert [data.captions_of(i) for i in range(2)] == [("a dog",), ("a truck",)]
    assert data.image(0).shape == data.image(1).shape == (3, 4, 5)


def test_the_same_file_is_read_as_labelled_and_as_captioned(photos: Path) -> None:
    spec = write_csv(photos, "image,text\ndog/c.png,a dog\nfire_truck/a.png,a truck\ndog/c.png,a hound\n")
    labelled, captioned = open_data(spec), open_captioned(spec)
    assert (len(labelled), len(captioned)) == (3, 2)
    np.testing.assert_array_equal(labelled.image(2), captioned.image(0))


def test_nothing_is_read_before_it_is_asked_for(photos: Path) -> None:
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 50)
    data = open_captioned(write_csv(photos, "image,text\nnowhere.png,a cat\nbroken.png,a cow\ndog/c.png,a dog\n"))
    assert data.captions_of(0) == ("a cat",) and data.fingerprint()
    for index, reason in ((0, "there is no such file"), (1, "not a readable image")):
        with pytest.raises(UnreadableSample, match=reason) as error:
            data.image(index)
        assert error.value.name == data.name_of(index)
    assert data.image(2).shape == (3, 12, 20)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "captions.csv needs the columns image and text; it has none"),
        ("image,label\na.png,cat\n", "needs the columns image and text; it has image, label"),
        ("picture,text\na.png,a cat\n", "it has picture, text"),
        ("image,text\n", "lists no images"),
        ("image,text\na.png,a cat\nb.png, \n", "Line 3 of captions.csv has an empty text"),
        ("image,text\na.png\n", "Line 2 of captions.csv has an empty text"),
        ("image,text\n ,a cat\n", "Line 2 of captions.csv has an empty image"),
        ("image,text\na.png,a dog, asleep\n", "more fields than the header"),
    ],
)
def test_bad_csv(photos: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_captioned(write_csv(photos, text))


def test_csv_encoding_and_absence(photos: Path) -> None:
    with pytest.raises(InputError, match="not UTF-8"):
        open_captioned(write_csv(photos, "image,text\na,ü\n", "latin-1"))
    with pytest.raises(InputError, match="There is no file"):
        open_captioned(f"csv:{photos / 'nowhere.csv'}")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("folder:photos", r"folder:photos have no captions.*csv:PATH, a file with the columns image and text"),
        ("demo:digits", r"demo:digits has no captions.*Use demo:scenes or csv:PATH"),
        ("demo:shapes", "demo:shapes has no captions"),
        ("demo:scene", "Did you mean scenes"),
        ("csv:", "name nothing after the colon"),
        ("captions.csv", "has no source"),
        ("cvs:captions.csv", "Did you mean csv"),
    ],
)
def test_data_without_captions(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_captioned(spec)
