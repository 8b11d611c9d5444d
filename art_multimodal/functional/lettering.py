"""Writing words into images: how much of each pixel the letters cover, and labels of letters on a plain patch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations, pairwise
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from art_multimodal.errors import InputError

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

#: The smallest size of the letters (the em, in pixels): below it no letter can be told from another.
LEAST_SIZE = 5.0
#: Room between letters and the edge of the patch, and between the baselines of lines, in units of the size.
_PADDING, _PITCH = 0.12, 1.0
#: A name is written in at most as many lines; one of very many words is too long on any.
_LINES, _MOST_PIECES = 3, 40
#: Lengths are estimated at this size first.
_REFERENCE = 100.0


@lru_cache(maxsize=64)
def load_font(size: float, path: str | None = None) -> FreeTypeFont:
    """Return a font at a size in pixels.

    >>> load_font(12).size
    12

    :param path: A TrueType or OpenType file; ``None`` for the font that comes with Pillow, which has letters for plain
        English only.
    :raises InputError: If the file is no font, or Pillow was built without FreeType.
    """
    from PIL import ImageFont

    try:
        font = ImageFont.load_default(size) if path is None else ImageFont.truetype(path, size)
    except ImportError as error:
        raise InputError("Writing needs a Pillow that was built with FreeType, as its wheels are.") from error
    except OSError as error:
        raise InputError(f"{path!r} cannot be read as a font ({error}). Give a .ttf or .otf file.") from error
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def missing_letters(word: str, path: str | None = None) -> str:
    """Return the characters of a word that a font has no letter for, each once, in order; spaces never count.

    >>> missing_letters("zero"), missing_letters("null 零")
    ('', '零')
    """
    font = load_font(32.0, path)

    def drawn(character: str) -> tuple[tuple[int, int], bytes]:
        mask = font.getmask(character)
        return mask.size, bytes(mask)

    # U+FFFF is no character, so every font draws its box for what it lacks.
    lacking = drawn("\uffff")
    return "".join(c for c in dict.fromkeys(word) if not c.isspace() and drawn(c) == lacking)


def lettering(
    word: str, height: int, width: int, most_pixels: int, path: str | None = None, least_size: float = LEAST_SIZE
) -> np.ndarray | None:
    """Write a word as large as it fits, anti-aliased, on one line or broken at spaces.

    >>> letters = lettering("iPod", height=12, width=32, most_pixels=300)
    >>> letters.dtype, letters.size <= 300
    (dtype('uint8'), True)

    :param word: With a letter at least; runs of spaces count as one.
    :param height: Most pixels that the result is high, its padding included.
    :param width: Most pixels that it is wide.
    :param most_pixels: Most pixels that it has: its height times its width.
    :param path: The font, as :func:`load_font` takes it.
    :param least_size: ``None`` is returned rather than letters of a smaller size, in pixels.
    :return: How much of each pixel letters cover, 0 to 255, dtype ``uint8``, shape ``(rows, columns)``.
    :raises InputError: If there is no letter in the word, or none in the font.
    """
    pieces = word.split()
    if not pieces:
        raise InputError(f"There is nothing to write in {word!r}: give a word with at least one letter.")
    if missing := missing_letters(word, path):
        font = "The built-in font" if path is None else f"The font {path!r}"
        raise InputError(f"{font} has no letters for {missing!r} in {word!r:.80}. Give a font file that has them.")
    best: tuple[float, list[str]] | None = None
    for lines in _layouts(pieces):
        rows, columns = _extent(lines, _REFERENCE, path)
        size = _REFERENCE * min(sqrt(most_pixels / (rows * columns)), height / rows, width / columns)
        size = 1.2 * size + 2  # a bit too large: small letters are hinted, so lengths are only roughly in proportion
        while size >= max(least_size, 1.0):
            rows, columns = _extent(lines, size, path)
            if rows <= height and columns <= width and rows * columns <= most_pixels:
                if best is None or size > best[0]:
                    best = size, lines
                break
            size -= max(0.25, size / 100)
    return None if best is None else _drawn(best[1], best[0], path)


def write(
    image: np.ndarray, letters: np.ndarray, row: int, column: int, text_colour: np.ndarray, patch_colour: np.ndarray
) -> None:
    """Paste letters on a plain patch into an image, in place; nothing outside the patch changes.

    >>> paper, black = np.ones((3, 1, 1)), np.zeros((3, 1, 1))
    >>> picture, letters = images[0].copy(), lettering("iPod", height=12, width=32, most_pixels=300)
    >>> write(picture, letters, row=2, column=0, text_colour=black, patch_colour=paper)
    >>> bool((picture[:, 16:] == images[0][:, 16:]).all()), bool((picture != images[0]).any())
    (True, True)

    :param image: Shape ``(C, H, W)``, values in [0, 1].
    :param letters: From :func:`lettering`.
    :param row: Where the patch begins.
    :param column: Where the patch begins.
    :param text_colour: Shape ``(C, 1, 1)``, in [0, 1].
    :param patch_colour: Shape ``(C, 1, 1)``, in [0, 1].
    """
    covered = letters.astype(np.float32) / np.float32(255)
    rows, columns = letters.shape
    image[:, row : row + rows, column : column + columns] = np.clip(
        patch_colour + (text_colour - patch_colour) * covered, 0.0, 1.0
    )


def _layouts(pieces: Sequence[str]) -> list[list[str]]:
    """One line, and for each larger number of lines the breaks at spaces that leave the longest line shortest."""
    layouts = []
    for breaks in range(min(len(pieces), _LINES) if len(pieces) <= _MOST_PIECES else 1):
        options = []
        for at in combinations(range(1, len(pieces)), breaks):
            ends = (0, *at, len(pieces))
            options.append([" ".join(pieces[a:b]) for a, b in pairwise(ends)])
        layouts.append(min(options, key=lambda lines: max(map(len, lines))))
    return layouts


def _padding(size: float) -> int:
    return max(1, round(_PADDING * size))


def _boxes(lines: Sequence[str], size: float, path: str | None) -> list[tuple[int, int, int, int]]:
    """Left, top, right and bottom of the letters of each line, from the left end of the first baseline."""
    font, boxes = load_font(size, path), []
    for number, line in enumerate(lines):
        down = round(number * _PITCH * size)
        left, top, right, bottom = font.getbbox(line, anchor="ls")
        boxes.append((int(left), int(top) + down, int(right), int(bottom) + down))
    return boxes


def _extent(lines: Sequence[str], size: float, path: str | None) -> tuple[int, int]:
    """Rows and columns of the patch."""
    boxes = _boxes(lines, size, path)
    rows = max(bottom for _, _, _, bottom in boxes) - min(top for _, top, _, _ in boxes)
    columns = max(right - left for left, _, right, _ in boxes)
    return max(1, rows) + 2 * _padding(size), max(1, columns) + 2 * _padding(size)


def _drawn(lines: Sequence[str], size: float, path: str | None) -> np.ndarray:
    from PIL import Image, ImageDraw

    rows, columns = _extent(lines, size, path)
    boxes = _boxes(lines, size, path)
    canvas = Image.new("L", (columns, rows), 0)
    draw = ImageDraw.Draw(canvas)
    highest = min(top for _, top, _, _ in boxes)
    for number, (line, (left, _, right, _)) in enumerate(zip(lines, boxes, strict=True)):
        baseline = _padding(size) - highest + round(number * _PITCH * size)
        start = (columns - (right - left)) // 2 - left
        draw.text((start, baseline), line, fill=255, font=load_font(size, path), anchor="ls")
    return np.asarray(canvas).copy()
