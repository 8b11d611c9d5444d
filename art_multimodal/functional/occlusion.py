"""Removing points of the input: blocks of pixels, and words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

import numpy as np


@dataclass(frozen=True, order=True)
class Block:
    """A rectangle of pixels, already clipped to the image."""

    row: int
    column: int
    height: int
    width: int

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """Indices of the rows and columns."""
        return slice(self.row, self.row + self.height), slice(self.column, self.column + self.width)


#: The published search divides squares larger than 10 pixels: five times from side 224, and as often at other sizes.
LEVELS = 5


@dataclass(frozen=True)
class Square:
    """A node of the quadtree: a square of the padded image, which may reach over the border.

    :param level: How often the root was divided to get here.
    """

    row: int
    column: int
    side: int
    level: int = 0

    def clipped(self, height: int, width: int) -> Block | None:
        """Return the part inside an image, or ``None`` when there is none."""
        rows, columns = min(self.side, height - self.row), min(self.side, width - self.column)
        return Block(self.row, self.column, rows, columns) if rows > 0 and columns > 0 else None

    @property
    def is_divided(self) -> bool:
        """Whether the published search looks into its quadrants."""
        return self.level < LEVELS and self.side > 1

    def quadrants(self) -> list[Square]:
        """Return the four quadrants of side ceil(side / 2), in the order of the published search."""
        half = ceil(self.side / 2)
        offsets = ((0, 0), (half, 0), (0, half), (half, half))
        return [Square(self.row + row, self.column + column, half, self.level + 1) for row, column in offsets]


def quadtree_root(height: int, width: int) -> Square:
    """Return the square that covers the whole image: its side is the longer side of the image."""
    return Square(0, 0, max(height, width))


def quadrants_inside(square: Square, height: int, width: int) -> list[tuple[Square, Block]]:
    """Return the quadrants of a square that reach into the image, with what of them is inside."""
    return [(part, block) for part in square.quadrants() if (block := part.clipped(height, width))]


@dataclass(frozen=True)
class Removal:
    """A set of removed points.

    :param blocks: Removed rectangles; they may overlap.
    :param words: Indices of removed words.
    :param packed: Further removed pixels, as :meth:`of_mask` stores them; empty for none.
    """

    blocks: tuple[Block, ...] = ()
    words: tuple[int, ...] = ()
    packed: bytes = b""

    @classmethod
    def of_mask(cls, mask: np.ndarray, words: tuple[int, ...] = ()) -> Removal:
        """Remove the pixels where a boolean ``(height, width)`` mask is true."""
        return cls(words=words, packed=np.packbits(mask).tobytes() if mask.any() else b"")

    def __or__(self, other: Removal) -> Removal:
        packed = self.packed or other.packed
        if self.packed and other.packed:
            packed = bytes(a | b for a, b in zip(self.packed, other.packed, strict=True))
        return Removal(self.blocks + other.blocks, self.words + other.words, packed)

    @property
    def touches_image(self) -> bool:
        """Whether any pixel is removed."""
        return bool(self.blocks or self.packed)

    def pixels(self, height: int, width: int) -> int:
        """Number of distinct removed pixels."""
        if len(self.blocks) == 1 and not self.packed:
            return self.blocks[0].area
        return int(self.mask(height, width).sum())

    def mask(self, height: int, width: int) -> np.ndarray:
        """Boolean ``(height, width)``, true where a pixel is removed."""
        mask = np.zeros((height, width), dtype=bool)
        if self.packed:
            bits = np.unpackbits(np.frombuffer(self.packed, dtype=np.uint8), count=height * width)
            mask = bits.astype(bool).reshape(height, width)
        for block in self.blocks:
            mask[block.slices] = True
        return mask

    def points(self, height: int, width: int) -> int:
        """Number of distinct removed pixels and words."""
        return self.pixels(height, width) + len(set(self.words))

    def share(self, height: int, width: int, words: int) -> float:
        """Removed points as a share of all points: ``height * width`` pixels and ``words`` words, the union once."""
        return self.points(height, width) / (height * width + words)


def fill_removed(image: np.ndarray, removal: Removal, fill: np.ndarray) -> None:
    """Write the fill colour ``(C, 1, 1)`` over the removed pixels of ``image`` ``(C, H, W)``, in place."""
    for block in removal.blocks:
        image[(slice(None), *block.slices)] = fill
    if removal.packed:
        image[:, removal.mask(*image.shape[1:])] = fill[:, :, 0]


def without_words(text: str, words: Iterable[int]) -> str:
    """Delete whitespace-separated words by index; what remains is joined by single spaces."""
    removed = set(words)
    if not removed:
        return text
    return " ".join(word for index, word in enumerate(text.split()) if index not in removed)
