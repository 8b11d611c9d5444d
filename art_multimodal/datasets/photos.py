"""Image files: which formats and sizes are read, and how they become arrays."""

from __future__ import annotations

import stat
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from art_multimodal.shown import brief, shown

#: Changes a decoded photo before it becomes an array, to the model's size for example.
PhotoTransform = Callable[[Image.Image], Image.Image]

#: Formats that are read, and no others: Pillow goes by content, and hands PostScript, for example, to another program.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
#: Endings of files that count as images.
ENDINGS = tuple(
    ".jpg .jpeg .jpe .jfif .png .webp .bmp .gif .tif .tiff .ppm .pgm .pbm .pnm .jp2 .j2k .avif".split()  # noqa: SIM905
)
#: Read where the extra ``heic`` is installed.
HEIF_ENDINGS = (".heic", ".heif", ".hif")

#: Most pixels that are decoded: one GiB as a float32 image, which is what Pillow takes for a decompression bomb.
MAX_PIXELS = 2**30 // 12
#: Most pixels of an image that is attacked at its own size, where every step takes several copies in float32.
MAX_KEPT_PIXELS = 25_000_000
#: Most times that one side may be the other: an image is enlarged until its shorter side fits a model.
MAX_SIDES = 100

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
#: How files begin that are met under the name of an image, and what they are.
_STRANGERS = (
    (b"%!PS", "PostScript, which is not read"),
    (b"\xc5\xd0\xd3\xc6", "PostScript, which is not read"),
    (b"%PDF", "a PDF document, not an image"),
    (b"version https://git-lfs", "a Git LFS pointer, not the image itself: run git lfs pull"),
    (b"<svg", "an SVG drawing, which is not read"),
    (b"<?xml", "an XML document, not an image"),
    (b"<!doctype", "a web page, not an image: the download went wrong"),
    (b"<html", "a web page, not an image: the download went wrong"),
    (b"PK\x03\x04", "a ZIP archive, not an image"),
)


class UnreadableSample(Exception):
    """A sample that cannot be read; the others can.

    >>> str(UnreadableSample("photos/cat/1.jpg", "no image"))
    'photos/cat/1.jpg: no image'

    :param name: Names the sample.
    :param reason: What is wrong with it.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{brief(name)}: {reason}")
        self.name = name
        self.reason = reason


@cache
def heif_reader() -> Any:
    """The module that reads HEIC, of the extra ``heic``; ``None`` if it is not installed."""
    try:
        import pillow_heif
    except ImportError:
        return None
    return pillow_heif


def endings_read() -> tuple[str, ...]:
    """Endings of files that count as images on this machine, in lower case."""
    return ENDINGS + (HEIF_ENDINGS if heif_reader() else ())


def absence(path: Path) -> str | None:
    """Why a file cannot be an image, found without opening it; ``None`` where it may be one."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return "there is no such file"
    except (OSError, ValueError) as error:
        # Names of 300 characters, names with a NUL byte, folders without permission.
        return f"it cannot be read ({getattr(error, 'strerror', None) or error})"
    if stat.S_ISDIR(found.st_mode):
        return "it is a folder"
    if not stat.S_ISREG(found.st_mode):
        return "it is no regular file"
    return None if found.st_size else "the file is empty"


def read_photo(path: Path, name: str, transform: PhotoTransform | None, channels: int | None = 3) -> np.ndarray:
    """Decode an image file: ``float32`` ``(3, H, W)`` in [0, 1], turned upright, in RGB; the first of several frames.

    Sizes are judged as the file declares them, before anything is decoded.

    :param transform: Applied to the decoded image; ``None`` keeps its size.
    :param channels: 1 for a grey picture, whose 16 bits are kept; ``None`` for as many as it has, 1 or 3. No transform
        is applied to a grey one.
    :raises UnreadableSample: If it is missing, empty, damaged, too large, of a format that is not in :data:`FORMATS`,
        or coloured where one channel is wanted.
    """
    reason = absence(path)
    if reason is not None:
        raise UnreadableSample(name, reason)
    return _decoded(path, name, transform, channels)


def read_photo_bytes(content: bytes, name: str, transform: PhotoTransform | None) -> np.ndarray:
    """Decode an image file that is in memory already, as :func:`read_photo` decodes one on disk.

    :raises UnreadableSample: If it is empty, or as there.
    """
    if not content:
        raise UnreadableSample(name, "the file is empty")
    return _decoded(content, name, transform, 3)


def read_pixels(pixels: np.ndarray, name: str, transform: PhotoTransform | None) -> np.ndarray:
    """An image of numbers as :func:`read_photo` gives one: ``float32`` ``(3, H, W)`` in [0, 1].

    :param pixels: ``uint8`` ``(H, W, 3)``.
    :raises UnreadableSample: If the transform fails.
    """
    if transform is not None and not _leaves_alone(transform, *pixels.shape[:2]):
        photo = Image.fromarray(np.ascontiguousarray(pixels))
        try:
            photo = transform(photo)
        except Exception as error:  # as above
            raise UnreadableSample(name, f"it cannot be resized ({type(error).__name__})") from None
        pixels = np.asarray(photo)
    return np.divide(pixels.transpose(2, 0, 1), np.float32(255), order="C")


def _leaves_alone(transform: PhotoTransform, height: int, width: int) -> bool:
    """Whether a transform is known to return a photo of this size as it is: its object says so by ``reduces``."""
    reduces = getattr(getattr(transform, "__self__", None), "reduces", None)
    return reduces is not None and not reduces(height, width)


def _decoded(source: Path | bytes, name: str, transform: PhotoTransform | None, channels: int | None) -> np.ndarray:
    """Decode a file on disk, or its content."""
    head = b""
    try:
        with _stream_of(source) as stream:
            head = stream.read(64)
        with _opened(source, head) as opened:
            reason = _too_large(*opened.size, kept=transform is None)
            if reason is not None:
                raise UnreadableSample(name, reason)
            upright = ImageOps.exif_transpose(opened)
            if channels != 3 and (grey := _grey_levels(upright)) is not None:
                return grey
            photo = _in_rgb(upright)
        if transform is not None:
            photo = transform(photo)
            reason = _too_large(*photo.size, kept=True, reduced=True)
            if reason is not None:
                raise UnreadableSample(name, reason)
        pixels = np.asarray(photo, dtype=np.float32)
    except UnreadableSample:
        raise
    except UnidentifiedImageError:
        raise UnreadableSample(name, _stranger(head)) from None
    except Exception as error:  # PIL raises OSError, SyntaxError, ValueError, DecompressionBombError, ...
        said = " ".join(str(error).split())
        said = shown(said.replace(str(source), source.name) if isinstance(source, Path) else said)
        raise UnreadableSample(name, f"not a readable image ({type(error).__name__}: {said[:120]})") from None
    if channels == 1:
        if (pixels != pixels[..., :1]).any():
            raise UnreadableSample(name, "a coloured picture, where one channel is needed: save it in grey")
        pixels = pixels[..., :1]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)) / np.float32(255)


def _stream_of(source: Path | bytes) -> IO[bytes]:
    return BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _opened(source: Path | bytes, head: bytes) -> Image.Image:
    """Open an image file of one of the formats; nothing is decoded yet."""
    file = BytesIO(source) if isinstance(source, bytes) else source
    if _is_heif(head) and (reader := heif_reader()) is not None:
        return reader.HeifImageFile(file)
    return Image.open(file, formats=_formats())


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    # How Pillow was built decides on the last ones.
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _grey_levels(photo: Image.Image) -> np.ndarray | None:
    """Levels ``(1, H, W)`` in [0, 1] of a grey picture; ``None`` for others."""
    if photo.mode in ("1", "L"):
        return np.asarray(photo.convert("L"), dtype=np.float32)[None] / np.float32(255)
    if not photo.mode.startswith(("I", "F")):
        return None
    levels = np.asarray(photo, dtype=np.float32)[None]
    levels = levels if photo.mode == "F" else levels / np.float32(65535)
    return levels if levels.min(initial=0) >= 0 and levels.max(initial=0) <= 1 else None


def in_eight_bits(values: np.ndarray) -> np.ndarray:
    """Pixels as a picture keeps them: values in [0, 1], clipped there, in 255 steps; uint8 of the same shape."""
    return np.round(values.clip(0, 1) * 255).astype(np.uint8)


def _in_rgb(photo: Image.Image) -> Image.Image:
    if photo.mode == "F":
        values = np.asarray(photo)
        if not np.isfinite(values).all():
            raise ValueError("some of its values are not finite")
        if values.max(initial=0) <= 1:
            photo = Image.fromarray(in_eight_bits(values))
    if photo.mode.startswith("I"):
        # 16-bit grey: convert("RGB") would clip at 255 instead of scaling.
        values = np.asarray(photo, dtype=np.float32) / 257.0
        photo = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    return photo.convert("RGB")


def _too_large(width: int, height: int, kept: bool, reduced: bool = False) -> str | None:
    """Why an image of a size is not read; ``None`` if it is.

    :param kept: Whether it is attacked at this size.
    :param reduced: Whether it was to be reduced already.
    """
    size = f"{width:,} x {height:,} pixels"
    if not width or not height:
        return f"{size}: there is nothing in it"
    if max(width, height) > MAX_SIDES * min(width, height):
        return f"{size}: one side is more than {MAX_SIDES} times the other, so enlarging it would fill the memory"
    if width * height > MAX_PIXELS:
        return f"{size} are more than the {MAX_PIXELS:,} that are read: reduce it"
    if kept and width * height > MAX_KEPT_PIXELS:
        other = "" if reduced else ", or leave out --native-size"
        return f"{size} are more than the {MAX_KEPT_PIXELS:,} that are attacked at their own size: reduce it{other}"
    return None


def _is_heif(head: bytes) -> bool:
    if head[4:8] != b"ftyp":
        return False
    brands = {head[start : start + 4] for start in range(8, len(head) - 3, 4)}
    return bool(brands & _HEIF_BRANDS) and b"avif" not in brands


def _stranger(head: bytes) -> str:
    """What a file is that none of the formats recognise, from its first bytes."""
    if _is_heif(head):
        return "HEIC, which needs pip install art-multimodal[heic]; or convert it to JPEG"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for beginning, what in _STRANGERS:
        if start.startswith(beginning.lower()):
            return what
    return f"not a readable image of a supported format ({', '.join(FORMATS)})"
