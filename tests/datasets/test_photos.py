"""Image files: which are read, and what one strange file costs."""

from __future__ import annotations

import os
import struct
import subprocess
import tracemalloc
import types
import zlib
from pathlib import Path

import numpy as np
import pytest
from forked import Forked
from photos import save_photo
from PIL import Image

from art_multimodal.datasets import UnreadableSample, photos
from art_multimodal.datasets.photos import MAX_KEPT_PIXELS, MAX_PIXELS, MAX_SIDES, read_photo
from art_multimodal.models.preprocessing import ImagePreprocessing

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n{ } loop\n"
#: Starts of formats that Pillow hands to other programs or libraries, or that are no pictures at all.
STRANGERS = {
    "eps": POSTSCRIPT,
    "dos eps": b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 30, 60) + b"\0" * 18 + POSTSCRIPT,
    "wmf": b"\xd7\xcd\xc6\x9a\0\0" + struct.pack("<hhhhH", 0, 0, 100, 100, 72) + b"\0" * 6 + b"\x01\0\t\0" + b"\0" * 60,
    "emf": b"\x01\0\0\0" + b"\0" * 36 + b" EMF" + b"\0" * 60,
    "fpx": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600,
    "grib": b"GRIB" + b"\0\0\0\1" + b"\0" * 100,
    "bufr": b"BUFR" + b"\0" * 100,
    "hdf5": b"\x89HDF\r\n\x1a\n" + b"\0" * 100,
    "psd": b"8BPS\0\1" + b"\0" * 6 + struct.pack(">HIIHH", 3, 4, 4, 8, 3) + b"\0" * 100,
    "pdf": b"%PDF-1.4\n" + b"x" * 50,
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
}


def png(path: Path, width: int, height: int, rows: int = 0) -> Path:
    """A PNG that declares a size, and has so many rows of it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress((b"\0" + b"\x80" * width) * rows)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    return path


def reason_of(path: Path, transform=None) -> str:
    with pytest.raises(UnreadableSample) as error:
        read_photo(path, path.name, transform)
    assert error.value.name == path.name and "\n" not in str(error.value)
    return error.value.reason


@pytest.mark.parametrize("kind", STRANGERS)
def test_formats_that_are_not_named_are_not_opened(tmp_path: Path, kind: str, monkeypatch) -> None:
    def canary(*arguments, **options):
        raise AssertionError("another program is started")

    for place, name in ((subprocess, "Popen"), (os, "system"), (os, "posix_spawn")):
        monkeypatch.setattr(place, name, canary)
    path = tmp_path / "cat.png"
    path.write_bytes(STRANGERS[kind])
    reason = reason_of(path)
    assert "AssertionError" not in reason
    assert ("PostScript, which is not read" in reason) == ("eps" in kind)


def test_postscript_is_what_pillow_alone_would_open(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(POSTSCRIPT)
    with Image.open(path) as opened:
        assert opened.format == "EPS"


@pytest.mark.parametrize(
    ("width", "height", "reason"),
    [
        (1, 1_000_000, "one side is more than 100 times the other"),
        (1_000_000, 1, "one side is more than 100 times the other"),
        (3, 3 * MAX_SIDES + 1, "one side is more than 100 times the other"),
        (10_000, 10_000, "are more than the 89,478,485 that are read"),
        (60_000, 60_000, "DecompressionBombError"),
        (5_001, 5_000, "leave out --native-size"),
    ],
)
def test_sizes_are_judged_before_anything_is_decoded(tmp_path: Path, width: int, height: int, reason: str) -> None:
    path = png(tmp_path / "large.png", width, height)
    assert reason in reason_of(path)  # what is imported on the first time is not the image's
    tracemalloc.start()
    try:
        reason_of(path)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


def test_the_limits_themselves_are_let_through(tmp_path: Path) -> None:
    assert MAX_PIXELS == Image.MAX_IMAGE_PIXELS and MAX_KEPT_PIXELS < MAX_PIXELS
    assert read_photo(png(tmp_path / "a.png", 3 * MAX_SIDES, 3, rows=3), "a", None).shape == (3, 3, 300)
    small = read_photo(png(tmp_path / "b.png", 5_001, 5_000, rows=5_000), "b", lambda photo: photo.resize((4, 4)))
    assert small.shape == (3, 4, 4)
    with pytest.raises(UnreadableSample, match="at their own size: reduce it$"):
        read_photo(tmp_path / "b.png", "b", lambda photo: photo)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\n <html lang=en>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40, "pip install art-multimodal[heic]"),
        (b"GIF89a" + b"\0" * 3, "not a readable image"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 30, "not a readable image"),
        (b"just text", "not a readable image of a supported format (JPEG, PNG"),
    ],
)
def test_what_a_file_is_instead(tmp_path: Path, content: bytes, reason: str, monkeypatch) -> None:
    monkeypatch.setattr(photos, "heif_reader", lambda: None)
    path = tmp_path / "cat.jpg"
    path.write_bytes(content)
    assert reason in reason_of(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    assert reason_of(tmp_path / "none.png") == "there is no such file"
    assert "too long" in reason_of(tmp_path / ("x" * 300 + ".png"))
    assert "null" in reason_of(tmp_path / "a\0b.png")
    assert reason_of(tmp_path) == "it is a folder"
    os.mkfifo(tmp_path / "pipe.png")
    assert reason_of(tmp_path / "pipe.png") == "it is no regular file"
    assert reason_of(Path("/dev/zero")) == "it is no regular file"


def test_names_are_shown_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "two\nlines\x1b[2J.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 40)
    with pytest.raises(UnreadableSample) as error:
        read_photo(path, path.name, None)
    assert str(error.value).startswith(r"two\nlines\x1b[2J.png: ") and "\x1b" not in error.value.reason


def test_frames_palettes_and_values(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for ending in ("gif", "webp", "png", "tif"):
        frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:])
        image = read_photo(tmp_path / f"a.{ending}", "a", None)
        np.testing.assert_allclose(image[:, 0, 0], [1, 0, 0], atol=0.05)
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 0, 255, 0])
    palette.save(tmp_path / "p.png", transparency=b"\xff\x00")
    np.testing.assert_array_equal(read_photo(tmp_path / "p.png", "p", None)[:, 0, 0], [0, 1, 0])
    Image.fromarray(np.full((4, 4), np.nan, dtype=np.float32)).save(tmp_path / "nan.tif")
    assert "not finite" in reason_of(tmp_path / "nan.tif")
    save_photo(tmp_path / "j.jp2", size=(16, 12))
    assert read_photo(tmp_path / "j.jp2", "j", None).shape == (3, 12, 16)


def test_heic_is_read_where_its_reader_is_there(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40)
    sizes = iter([(6, 4), (10_000, 10_000)])
    reader = types.SimpleNamespace(HeifImageFile=lambda path: Image.new("RGB", next(sizes), "lime"))
    monkeypatch.setattr(photos, "heif_reader", lambda: reader)
    np.testing.assert_array_equal(read_photo(path, "a", None)[:, 0, 0], [0, 1, 0])
    assert "are more than" in reason_of(path)
    assert ".heic" in photos.endings_read()


def test_heic_for_real(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    pixels = np.zeros((64, 96, 3), dtype=np.uint8)
    pixels[:, :, 1] = 200
    heif.from_pillow(Image.fromarray(pixels)).save(tmp_path / "a.heic")
    image = read_photo(tmp_path / "a.heic", "a", None)
    assert image.shape == (3, 64, 96)
    np.testing.assert_allclose(image[:, 5, 5], np.array([0, 200, 0]) / 255, atol=0.03)


def test_nothing_heavy_is_imported_for_heic(tmp_path: Path) -> None:
    code = "import art_multimodal.datasets, sys; print('pillow_heif' in sys.modules)"
    said = Forked(tmp_path, "-c", code)
    assert said.wait() == 0 and said.stdout.strip() == "False"


@pytest.mark.parametrize("size", [(20, 24), (24, 20), (20, 20), (33, 20), (33, 40)])
def test_numbers_that_need_no_resize_are_what_pillow_makes_of_them(size: tuple[int, int], monkeypatch) -> None:
    """Pixels of an array pass Pillow only where the model's transform would change them; what comes out is the same."""
    preprocess = ImagePreprocessing((20, 20), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = np.asarray(preprocess.reduce_photo(Image.fromarray(pixels)), dtype=np.float32).transpose(2, 0, 1) / 255
    # A transform of which nothing is known, and a view whose rows stand apart.
    apart = np.repeat(pixels, 2, axis=1)[:, ::2]
    for transform in (preprocess.reduce_photo, lambda photo: preprocess.reduce_photo(photo)):
        found = photos.read_pixels(apart, "x", transform)
        assert found.dtype == np.float32 and found.flags.c_contiguous
        np.testing.assert_array_equal(found, expected.astype(np.float32))
    plain = photos.read_pixels(pixels, "x", None)
    np.testing.assert_array_equal(plain, pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255))
    if min(size) <= 20:
        monkeypatch.setattr(Image, "fromarray", None)
        np.testing.assert_array_equal(photos.read_pixels(pixels, "x", preprocess.reduce_photo), plain)
