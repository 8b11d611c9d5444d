"""Data that a reader takes, with something odd about it: what stands behind the reader is to meet it.

As in :mod:`fuzz.data`, every function takes a generator and nothing else that is random.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from fuzz import data
from PIL import Image

#: Names that classes have; most of them are plain, so that the others stand beside something.
CLASSES = (
    *("cat", "dog", "sea lion", "7", "Straße", "漢字", "zéro", "ze\u0301ro", "café au lait", "C++", "a/b", "o'clock"),
    *("<b>cat</b>", "{}", "{0}", "%s", "@team", "|", "`rm`", "[x](y)", "a=b", "x,y", "-dash", "--out", "true", "None"),
    *("nan", "😀", "א", "a\u202eb", "a\u200bb", "a\x1bb", "a\nb", "a\tb", "a" * 60, "the digit 3", ".5", "~", "a  b"),
)
_MODES = {
    "png": ("RGB", "L", "1", "P", "RGBA", "LA", "I;16"),
    "jpg": ("RGB", "L", "CMYK"),
    "gif": ("L", "P", "1"),
    "bmp": ("RGB", "L", "1", "P"),
    "tif": ("RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "I;16", "F", "YCbCr"),
    "webp": ("RGB", "RGBA"),
    "ppm": ("RGB", "L", "1"),
    "jp2": ("RGB", "L", "RGBA"),
}
_FORMATS = {"jpg": "jpeg", "tif": "tiff", "jp2": "jpeg2000"}
_SIZES = ((8, 8), (8, 8), (32, 32), (1, 1), (1, 2), (3, 90), (90, 1), (33, 7), (257, 40))
_COLUMNS = ("split", "id", "", "Label ", "notes", "image2", "x" * 300, "caption", "url", "größe", "\u202e")


def image(rng: np.random.Generator) -> tuple[bytes, str]:
    """An image that can be read, and an ending: any format, mode and size, some with frames, rotation or a profile."""
    ending = str(rng.choice(sorted(_MODES)))
    mode = str(rng.choice(_MODES[ending]))
    height, width = _SIZES[rng.integers(len(_SIZES))]
    picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    if mode == "F":
        picture = Image.fromarray(rng.random((height, width), dtype=np.float32))
    elif mode == "I;16":
        picture = Image.fromarray(rng.integers(0, 65_536, (height, width)).astype(np.uint16))
    else:
        picture = picture.convert(mode)
    further: dict[str, object] = {}
    if ending in ("jpg", "png", "webp") and rng.integers(4) == 0:
        exif = Image.Exif()
        exif[0x0112] = int(rng.integers(0, 12))
        further["exif"] = exif
    if ending in ("gif", "tif", "webp", "png") and mode not in ("F", "I;16") and rng.integers(5) == 0:
        further |= {"save_all": True, "append_images": [picture.copy()]}
    if ending in ("jpg", "png", "webp", "tif") and rng.integers(8) == 0:
        further["icc_profile"] = rng.bytes(40)
    if mode == "P" and ending in ("png", "gif") and rng.integers(2):
        further["transparency"] = int(rng.integers(256))
    stream = io.BytesIO()
    picture.save(stream, format=_FORMATS.get(ending, ending), **further)
    if rng.integers(6) == 0:  # of another kind than its name says
        ending = str(rng.choice(sorted(_MODES)))
    return stream.getvalue(), ending.upper() if rng.integers(6) == 0 else ending


def folders(rng: np.random.Generator, root: Path) -> list[str]:
    """Write class folders of images that can be read, and now and then one that cannot; the paths of the former."""
    names = [CLASSES[place].replace("/", "-") for place in rng.permutation(len(CLASSES))[: rng.integers(2, 5)]]
    made = []
    for name in names:
        for number in range(rng.integers(1, 4)):
            deep = "deep/er/" if rng.integers(8) == 0 else ""
            content, ending = image(rng)
            path = root / name / f"{deep}{number}{rng.choice(['', ' ', 'é', '%20', '#', ';'])}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            made.append(path.relative_to(root).as_posix())
    for _ in range(rng.integers(0, 3)):
        ending = rng.choice([".png", ".txt", "", ".tif"])
        strange = root / names[rng.integers(len(names))] / f"z{rng.integers(9)}{ending}"
        if rng.integers(3) == 0 and not strange.exists():
            strange.symlink_to(str(rng.choice(["nowhere", "..", "/dev/zero", strange.name])))
        elif not strange.is_symlink():
            strange.write_bytes(data.image_bytes(rng))
    return made


def table(rng: np.random.Generator, names: list[str]) -> bytes:
    """A table that can be read: any separator and encoding, further columns, odd names of what is there.

    :param names: Of images that are there.
    """
    separator, end = str(rng.choice([",", ",", ";", "\t", "|"])), str(rng.choice(["\n", "\n", "\r\n", "\r"]))
    role = ["label", "text", "label", "class", "title"][rng.integers(5)]
    header = [str(rng.choice(["image", "image", "filepath", "IMAGE", " file_name "])), role]
    further = [str(name) for name in rng.permutation(_COLUMNS)[: rng.integers(0, 3)]]
    captions = role == "text" and rng.integers(2)
    chosen = [CLASSES[place] for place in rng.permutation(len(CLASSES))[: rng.integers(2, 4)]]
    order, rows = rng.permutation(2 + len(further)), []
    for number in range(rng.integers(2, 8)):
        name = names[rng.integers(len(names))]
        name = str(rng.choice([name, name, name, f"./{name}", name.replace("/", "\\"), f" {name} ", f"x/../{name}"]))
        if rng.integers(12) == 0:
            name = data.word(rng)
        said = chosen[number % len(chosen)] if not captions else f"a photo of {data.WORDS[rng.integers(14)]}"
        rows.append([name, said, *(data.word(rng) for _ in further)])
    lines = [[row[place] for place in order] for row in [[*header, *further], *rows]]
    text = end.join(separator.join(_quoted(rng, field, separator) for field in line) for line in lines)
    text += end * int(rng.integers(4))
    encoding = str(rng.choice(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"]))
    return text.encode("utf-8", "replace").decode().encode(encoding)


def _quoted(rng: np.random.Generator, field: str, separator: str) -> str:
    odd = any(letter in field for letter in (separator, '"', "\n", "\r", "\x85", "\u2028"))
    return '"' + field.replace('"', '""') + '"' if odd or rng.integers(5) == 0 else field
