"""Small hostile data from a seed: images, lists, and folders, as no careful person would make them.

Every function takes a generator and nothing else that is random, so a seed names an input. Whatever they give, opening
and reading it must end in samples, an :class:`InputError` or an :class:`UnreadableSample`, on one line.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import wavfile

#: Letters that end lines, move cursors, turn the direction of writing, or are no letters.
NASTY = "\n\r\t\x00\x1b\x07\x7f\x85\u2028\u202e\u200b\ufeff\ud800\udce9\U000e0001é中\u0301'\"`\\/|;,=*<>&%{}[]() "
FORMATS = ("png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm", "jpeg2000", "avif")
SIZES = (0, 1, 2, 3, 7, 255, 256, 65_535, 65_536, 1_000_000, 2**31 - 1, 2**31, 2**32 - 1)
STRANGERS = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n{ } loop\n",
    b"\xc5\xd0\xd3\xc6" + b"\x1e\0\0\0" * 6 + b"%!PS\n{ } loop\n",
    b"\xd7\xcd\xc6\x9a" + b"\0" * 40,
    b"\x01\0\0\0" + b"\0" * 36 + b" EMF" + b"\0" * 60,
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600,
    b"GRIB\0\0\0\1" + b"\0" * 60,
    b"BUFR" + b"\0" * 60,
    b"\x89HDF\r\n\x1a\n" + b"\0" * 60,
    b"8BPS\0\1" + b"\0" * 60,
    b"%PDF-1.4\n",
    b"<svg/>",
    b"<!DOCTYPE html><title>404</title>",
    b"version https://git-lfs.github.com/spec/v1\n",
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40,
    b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + b"\0" * 40,
    b"",
)
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252")
COLUMNS = (
    "image",
    "label",
    "text",
    "filepath",
    "title",
    "class",
    "file",
    "path",
    "caption",
    "",
    "Image",
    " label ",
    "x",
)
WORDS = (
    "cat",
    "Cat",
    "dog",
    "0",
    "1",
    "0.0",
    "1.0",
    "-1",
    "nan",
    "1e400",
    "True",
    "n01440764",
    "train",
    "val",
    "",
    "=",
)


def png_of_size(width: int, height: int, depth: int = 8, colour: int = 0, rows: bytes = b"") -> bytes:
    """A PNG that says it has a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def image_bytes(rng: np.random.Generator) -> bytes:
    """An image, or nearly one: whole, cut, changed, of a declared size, of an extreme shape, or something else."""
    kind = int(rng.integers(8))
    if kind == 0:
        return STRANGERS[rng.integers(len(STRANGERS))]
    if kind == 1:
        width, height = (SIZES[rng.integers(len(SIZES))] for _ in range(2))
        depth, colour = int(rng.choice([1, 2, 4, 8, 16, 3])), int(rng.choice([0, 2, 3, 4, 6, 5]))
        return png_of_size(width & 0xFFFFFFFF, height & 0xFFFFFFFF, depth, colour, b"\0" * int(rng.integers(2000)))
    if kind == 2:
        long = int(rng.choice([50, 1000, 30_000, 200_000]))
        size = (1, long) if rng.integers(2) else (long, 1)
        return png_of_size(*size, rows=(b"\0" + b"\x80" * size[0]) * size[1])
    data = bytearray(_whole_image(rng))
    if kind == 3:
        return bytes(data[: rng.integers(len(data))])
    if kind in (4, 5):
        for place in rng.integers(0, min(len(data), 400), int(rng.integers(1, 12))):
            data[place] = int(rng.choice([0, 1, 127, 128, 255, rng.integers(256)]))
    if kind == 6:
        place = int(rng.integers(len(data)))
        data[place:place] = rng.bytes(int(rng.integers(1, 64)))
    return bytes(data)


def _whole_image(rng: np.random.Generator) -> bytes:
    name = FORMATS[rng.integers(len(FORMATS))]
    mode = str(rng.choice(["RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "I;16", "F", "YCbCr"]))
    height, width = rng.integers(1, 40, 2)
    picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    if mode == "F":
        values = rng.choice([0.0, 0.5, 1.0, 255.0, 1e30, np.inf, np.nan], (height, width)).astype(np.float32)
        picture, name = Image.fromarray(values), "tiff"
    elif mode == "I;16":
        picture = Image.fromarray(rng.integers(0, 65_536, (height, width)).astype(np.uint16))
    else:
        picture = picture.convert(mode)
    stream = io.BytesIO()
    frames = {"save_all": True, "append_images": [picture.copy()]} if rng.integers(4) == 0 else {}
    try:
        picture.save(stream, format=name, **frames)
    except (OSError, ValueError, KeyError, TypeError):  # this format has no such mode
        stream = io.BytesIO()
        picture.convert("RGB").save(stream, format=name)
    return stream.getvalue()


def word(rng: np.random.Generator) -> str:
    """A name or a text: plain, hostile, or very long."""
    kind = int(rng.integers(10))
    if kind < 5:
        return WORDS[rng.integers(len(WORDS))]
    if kind < 9:
        letters = [NASTY[rng.integers(len(NASTY))] if rng.integers(2) else "abcZ09"[rng.integers(6)] for _ in range(6)]
        return "".join(letters[: rng.integers(1, 7)])
    return "x" * int(rng.choice([255, 256, 300, 5000]))


def csv_bytes(rng: np.random.Generator, names: list[str]) -> bytes:
    """A list of images, or nearly one.

    :param names: Of images that are there.
    """
    if rng.integers(20) == 0:
        return rng.bytes(int(rng.integers(0, 300)))
    separator = str(rng.choice([",", ";", "\t", "|", ":"]))
    end = str(rng.choice(["\n", "\r\n", "\r"]))
    count = int(rng.integers(1, 5))
    header = [COLUMNS[rng.integers(len(COLUMNS))] for _ in range(count)]
    if rng.integers(3):
        header[:2] = [["image", "label"], ["image", "text"], ["filepath", "title"]][rng.integers(3)]
    rows = [header]
    for _ in range(rng.integers(0, 8)):
        name = names[rng.integers(len(names))] if names and rng.integers(3) else word(rng)
        name = str(rng.choice([name, name, f"./{name}", name.replace("/", "\\"), f"'{name}'", f"http://x/{name}"]))
        rows.append(
            [name, *(word(rng) for _ in range(max(0, count - 1 + int(rng.integers(-1, 2)) * (rng.integers(5) == 0))))]
        )
    text = end.join(separator.join(_quoted(rng, field, separator) for field in row) for row in rows)
    text = ("sep=;" + end if rng.integers(15) == 0 else "") + text + end * int(rng.integers(3))
    encoding = str(rng.choice(ENCODINGS)) if rng.integers(3) == 0 else "utf-8"
    data = bytearray(text.encode(encoding, "surrogatepass" if encoding.startswith("utf") else "replace"))
    if data and rng.integers(10) == 0:
        data[rng.integers(len(data))] = int(rng.integers(256))
    return bytes(data)


def _quoted(rng: np.random.Generator, field: str, separator: str) -> str:
    if rng.integers(15) == 0:
        return '"' + field
    if any(letter in field for letter in (separator, '"', "\n", "\r")) and rng.integers(5):
        return '"' + field.replace('"', '""') + '"'
    return field


def class_names(rng: np.random.Generator, folders: list[str]) -> tuple[str, ...] | None:
    """What might be given to ``--classes``."""
    if rng.integers(2):
        return None
    names = [str(rng.choice([*folders, "x"])) if rng.integers(2) else word(rng) for _ in range(rng.integers(1, 6))]
    if rng.integers(3) == 0:
        names = [f"{folder}={word(rng)}" for folder in (folders or ["x"])]
    return tuple(names)


def write_photos(rng: np.random.Generator, root: Path) -> list[str]:
    """Write a folder of folders with hostile names and images; return the paths that were made, relative to it.

    Names that the file system does not take are passed over.
    """
    made: list[str] = []
    for _ in range(rng.integers(1, 4)):
        folder = word(rng).strip("/")
        for _ in range(rng.integers(0, 4)):
            ending = str(rng.choice([".png", ".jpg", ".JPG", ".heic", ".jp2", ".txt", "", ".tif"]))
            deep = "deep/" if rng.integers(5) == 0 else ""
            path = root / folder / f"{deep}{word(rng).replace('/', '')}{ending}"
            try:
                path.resolve().relative_to(root.resolve())
                path.parent.mkdir(parents=True, exist_ok=True)
                if rng.integers(12) == 0:
                    path.symlink_to(str(rng.choice(["nowhere", "..", "/dev/zero", str(path)])))
                elif rng.integers(20) == 0:
                    os.mkfifo(path)
                else:
                    path.write_bytes(image_bytes(rng))
            except (OSError, ValueError, RuntimeError):
                continue
            made.append(path.relative_to(root).as_posix())
    return made


def sample_bytes(rng: np.random.Generator, ending: str) -> bytes:
    """A picture, a sound, an array or a text, or nearly one: whole, cut, or with some bytes changed."""
    if ending not in (".wav", ".npy"):
        return image_bytes(rng) if ending == ".png" else word(rng).encode("utf-8", "surrogatepass")
    kind = str(rng.choice(["f4", "f8", "i2", "u1", "i4", "c8", "?", "O", "U3"])) if rng.integers(3) else "f4"
    shape = (2, 3) if rng.integers(2) else tuple(int(size) for size in rng.integers(0, 5, rng.integers(0, 4)))
    values = (rng.uniform(-1, 1, shape) * (1 if kind[0] == "f" else 100)).astype(kind)
    made = io.BytesIO()
    if ending == ".npy":
        np.save(made, values, allow_pickle=True)
    else:
        sound = values if kind in ("f4", "f8", "i2", "u1", "i4") and values.ndim in (1, 2) else np.zeros(3, np.int16)
        wavfile.write(made, int(rng.choice([1, 8000, 44100])), sound)
    whole = bytearray(made.getvalue())
    for _ in range(int(rng.choice([0, 0, 1, 3, 30]))):
        # Where headers are, mostly; whole numbers in them become extreme.
        place = int(rng.integers(min(len(whole), 80)))
        size = struct.pack("<I", SIZES[rng.integers(len(SIZES))])
        whole[place : place + 4] = size if rng.integers(2) else rng.bytes(1)
    return bytes(whole[: rng.integers(len(whole) + 1)] if rng.integers(6) == 0 else whole)


def write_samples(rng: np.random.Generator, root: Path) -> list[str]:
    """Write folders ``CLASS/SAMPLE`` with hostile files of modalities in them; return their paths, relative to it."""
    made = []
    for place in range(int(rng.integers(1, 5))):
        folder = f"{('cold', 'warm')[place % 2]}/{place}"
        (root / folder).mkdir(parents=True)
        for name in ("rgb.png", "audio.wav", "depth.npy", "note.txt"):
            if rng.integers(5):
                name = f"{folder}/{name}"
                (root / name).write_bytes(sample_bytes(rng, Path(name).suffix))
                made.append(name)
    return made


def samples_csv_bytes(rng: np.random.Generator, names: list[str]) -> bytes:
    """A list of samples, or nearly one."""
    columns = ["rgb", "audio", "depth", "age", "t.a", "t[1]", "note", "label"]
    columns = [column if rng.integers(12) else word(rng) for column in columns if rng.integers(4)] or ["label"]
    lines = [",".join(columns)]
    for _ in range(rng.integers(0, 5)):
        fields = []
        for column in columns:
            own = [name for name in names if name.rpartition("/")[2].startswith(f"{column}.")]
            wanted = str(rng.choice(own)) if own else str(rng.choice(["a", "b", "3", "1e9", ""]))
            fields.append(_quoted(rng, wanted if rng.integers(10) else word(rng), ","))
        lines.append(",".join(fields))
    return "\n".join(lines).encode("utf-8", "surrogatepass")
