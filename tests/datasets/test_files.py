"""Photos in folders and CSV files: what is read, and what is said about what cannot be."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from photos import save_photo
from PIL import Image

from art_multimodal import InputError
from art_multimodal.datasets import UnreadableSample, open_data


def test_folder(photos: Path) -> None:
    data = open_data(f"folder:{photos}")
    assert data.class_names == ("dog", "fire truck")
    names = [data.name_of(index) for index in range(len(data))]
    assert names == ["dog/c.png", "dog/ü ✓.png", "fire_truck/a.png", "fire_truck/deep/b.png"]
    assert [data.label_of(index) for index in range(4)] == [0, 0, 1, 1]
    sample = data.read(2)
    assert (sample.name, sample.label) == ("fire_truck/a.png", 1)
    np.testing.assert_array_equal(sample.image, save_photo(photos.parent / "again.png", seed=0))
    assert sample.image.dtype == np.float32 and sample.image.shape == (3, 12, 20)


def test_folder_with_other_class_names(photos: Path) -> None:
    assert open_data(f"folder:{photos}", classes=("a hound", "an engine")).class_names == ("a hound", "an engine")
    named = open_data(f"folder:{photos}", classes=("fire_truck=an engine", "dog=a hound", "cat=unused"))
    assert named.class_names == ("a hound", "an engine")
    with pytest.raises(InputError, match="gives 3 names, but there are 2 class folders"):
        open_data(f"folder:{photos}", classes=("a", "b", "c"))
    with pytest.raises(InputError, match="names no class for the folder"):
        open_data(f"folder:{photos}", classes=("dog=a", "cat=b"))
    with pytest.raises(InputError, match="All 2 classes have the name 'a'"):
        open_data(f"folder:{photos}", classes=("a", "a"))


def test_bad_folders(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(InputError, match="There is no folder"):
        open_data(f"folder:{tmp_path / 'nowhere'}")
    (photos / "empty").mkdir()
    with pytest.raises(InputError, match=r"1 class folder\(s\) hold no images: empty"):
        open_data(f"folder:{photos}")
    flat = tmp_path / "flat"
    save_photo(flat / "a.png")
    with pytest.raises(InputError, match="has no class folders"):
        open_data(f"folder:{flat}")
    save_photo(tmp_path / "single" / "dog" / "a.png")
    with pytest.raises(InputError, match="at least two classes"):
        open_data(f"folder:{tmp_path / 'single'}")
    # "fire_truck" and "fire truck" would become the same class name.
    save_photo(tmp_path / "twice" / "fire_truck" / "a.png")
    save_photo(tmp_path / "twice" / "fire truck" / "a.png")
    with pytest.raises(
        InputError,
        match="class folders fire truck and fire_truck would have the same name. Rename one, or give --classes",
    ):
        open_data(f"folder:{tmp_path / 'twice'}")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 50, "not a readable image"),
        (b"just text", "not a readable image"),
        (None, "there is no such file"),
    ],
)
def test_one_bad_file_is_named_and_the_others_are_read(photos: Path, content: bytes | None, reason: str) -> None:
    data = open_data(f"folder:{photos}")
    victim = photos / "dog" / "c.png"
    if content is None:
        victim.unlink()
    else:
        victim.write_bytes(content)
    with pytest.raises(UnreadableSample, match=reason) as error:
        data.read(0)
    assert error.value.name == "dog/c.png"
    assert str(photos) not in error.value.reason
    assert data.read(1).image.shape == (3, 12, 20)


def test_truncated_jpeg(tmp_path: Path, photos: Path) -> None:
    whole = tmp_path / "whole.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(whole)
    (photos / "dog" / "c.png").write_bytes(whole.read_bytes()[:800])
    with pytest.raises(UnreadableSample, match="truncated"):
        open_data(f"folder:{photos}").read(0)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1", "I;16", "F"])
def test_every_kind_of_picture_becomes_rgb(tmp_path: Path, mode: str) -> None:
    grey = np.linspace(0, 255, 64, dtype=np.uint8).reshape(8, 8)
    if mode == "I;16":
        picture = Image.fromarray(grey.astype(np.uint16) * 257)
    elif mode == "F":
        picture = Image.fromarray(grey.astype(np.float32))
    else:
        picture = Image.fromarray(grey).convert("RGB").convert(mode)
    ending = "tif" if mode in ("CMYK", "F") else "png"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        picture.save(tmp_path / name / f"x.{ending}")
    image = open_data(f"folder:{tmp_path}").read(0).image
    assert image.shape == (3, 8, 8)
    tolerance = 1.0 if mode in ("1", "P") else 3 / 255
    np.testing.assert_allclose(image, np.broadcast_to(grey / 255, (3, 8, 8)), atol=tolerance)


def test_photos_are_turned_upright(tmp_path: Path) -> None:
    pixels = np.zeros((4, 10, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    exif = picture.getexif()
    exif[0x0112] = 6
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        picture.save(tmp_path / name / "x.jpg", exif=exif)
    assert open_data(f"folder:{tmp_path}").read(0).image.shape == (3, 10, 4)


def write_csv(photos: Path, text: str, encoding: str = "utf-8") -> str:
    (photos / "list.csv").write_bytes(text.encode(encoding))
    return f"csv:{photos / 'list.csv'}"


def test_csv_with_labels(photos: Path) -> None:
    spec = write_csv(photos, "label,Image\ndog,dog/c.png\nfire truck,fire_truck/a.png\ndog,dog/ü ✓.png\n", "utf-8-sig")
    data = open_data(spec)
    assert data.class_names == ("dog", "fire truck")
    assert [data.label_of(i) for i in range(3)] == [0, 1, 0]
    np.testing.assert_array_equal(data.read(1).image, save_photo(photos.parent / "again.png", seed=0))


def test_csv_with_indices_needs_class_names(photos: Path) -> None:
    spec = write_csv(photos, "image,label\ndog/c.png,1\nfire_truck/a.png,0\n")
    assert [open_data(spec, classes=("truck", "dog")).label_of(i) for i in range(2)] == [1, 0]
    with pytest.raises(InputError, match="Line 3 of list.csv: label 2 is out of range; there are 2 classes"):
        open_data(write_csv(photos, "image,label\na,1\nb,2\n"), classes=("truck", "dog"))
    with pytest.raises(InputError, match="label -1 is out of range"):
        open_data(write_csv(photos, "image,label\na,-1\nb,0\n"), classes=("truck", "dog"))
    with pytest.raises(InputError, match="label 'cat' is none of the 2 classes"):
        open_data(write_csv(photos, "image,label\na,cat\n"), classes=("truck", "dog"))


def test_csv_of_captions(photos: Path) -> None:
    data = open_data(write_csv(photos, 'image,text\ndog/c.png,"a dog, asleep"\nfire_truck/a.png,a red truck\n'))
    assert data.class_names == ("a dog, asleep", "a red truck")
    assert data.templates == ("{}",)


def test_csv_with_labels_and_texts(photos: Path) -> None:
    content = 'image,label,text\ndog/c.png,yes,"is it a dog, asleep?"\nfire_truck/a.png,no, is it a dog \n'
    data = open_data(write_csv(photos, content))
    assert data.class_names == ("no", "yes")
    assert [data.text_of(i) for i in range(2)] == ["is it a dog, asleep?", "is it a dog"]
    assert data.read(1).text == "is it a dog"
    assert data.templates != ("{}",)
    other = open_data(write_csv(photos, content.replace("asleep", "awake")))
    assert other.fingerprint() != data.fingerprint()
    without = open_data(write_csv(photos, "image,label\ndog/c.png,yes\nfire_truck/a.png,no\n"))
    assert without.text_of(0) is None and without.read(0).text is None


def test_fingerprints_without_texts_stay_what_they_were(photos: Path) -> None:
    data = open_data(write_csv(photos, "image,label\ndog/c.png,yes\nfire_truck/a.png,no\n"))
    told = b"dog/c.png\x001\x00fire_truck/a.png\x000\x00no\x00yes"
    assert data.fingerprint() == hashlib.sha256(told).hexdigest()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs the columns image and label"),
        ("image,name\na,b\n", "it has image, name"),
        ("image,label\n", "lists no images"),
        ("image,text\na.png,a cat\nb.png, \n", "Line 3 of list.csv has an empty text"),
        ("image,label,text\na.png,yes,is it\nb.png,no, \n", "Line 3 of list.csv has an empty text"),
        ("image,label,text\na.png,yes\n", "Line 2 of list.csv has an empty text"),
        ("image,label\n,cat\n", "Line 2 of list.csv has an empty image"),
        ("image,label\na.png\n", "Line 2 of list.csv has an empty label"),
        ("image,label\na.png,cat\nb.png,cat\n", "at least two classes"),
        ("image,text\na.png,a dog, asleep\n", "more fields than the header"),
        ("image,label\na.png,3\nb.png,5\n", "are numbers. Say what they stand for"),
    ],
)
def test_bad_csv(photos: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_data(write_csv(photos, text))


def test_csv_encoding_and_absence(photos: Path) -> None:
    with pytest.raises(InputError, match="not UTF-8"):
        open_data(write_csv(photos, "image,label\na,ü\n", "latin-1"))
    with pytest.raises(InputError, match="There is no file"):
        open_data(f"csv:{photos / 'nowhere.csv'}")


def test_fingerprint_knows_data_again(photos: Path) -> None:
    first = open_data(f"folder:{photos}").fingerprint()
    assert open_data(f"folder:{photos}").fingerprint() == first
    assert open_data(f"folder:{photos}", classes=("x", "y")).fingerprint() != first
    save_photo(photos / "dog" / "new.png")
    assert open_data(f"folder:{photos}").fingerprint() != first


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("photos", "has no source"),
        ("foldr:photos", "Did you mean folder"),
        ("folder:", "name nothing after the colon"),
        ("demo:digit", "Did you mean digits"),
    ],
)
def test_unknown_data(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_data(spec)


def test_links_and_hidden_folders(photos: Path) -> None:
    (photos / "dog" / "again").symlink_to(photos / "dog")
    save_photo(photos / "dog" / ".ipynb_checkpoints" / "c.png")
    save_photo(photos / "dog" / ".hidden.png")
    save_photo(photos / "dog" / "anim.gif")
    data = open_data(f"folder:{photos}")
    names = [data.name_of(index) for index in range(len(data))]
    assert names == ["dog/anim.gif", "dog/c.png", "dog/ü ✓.png", "fire_truck/a.png", "fire_truck/deep/b.png"]
