"""The points of a sample that an attack may remove: grids of pixels, steps or columns, and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import ceil, prod

import numpy as np


@dataclass(frozen=True, order=True)
class Box:
    """A block of neighbouring points of one modality, already clipped to its grid.

    >>> box = Box(start=(2, 3), extent=(4, 5))
    >>> box.area, np.zeros((8, 8))[box.slices].shape
    (20, (4, 5))

    :param start: The first index along each axis.
    :param extent: How many indices along each axis.
    :param modality: Number of the modality.
    """

    start: tuple[int, ...]
    extent: tuple[int, ...]
    modality: int = 0

    @property
    def area(self) -> int:
        """Number of points."""
        return prod(self.extent)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Indices along each axis."""
        return tuple(slice(start, start + extent) for start, extent in zip(self.start, self.extent, strict=True))

    @property
    def row(self) -> int:
        """Of a rectangle of pixels, the first row."""
        return self.start[0]

    @property
    def column(self) -> int:
        """Of a rectangle of pixels, the first column."""
        return self.start[1]

    @property
    def height(self) -> int:
        """Of a rectangle of pixels, its height."""
        return self.extent[0]

    @property
    def width(self) -> int:
        """Of a rectangle of pixels, its width."""
        return self.extent[1]


#: The published search divides squares larger than 10 pixels: five times from side 224, and as often at other sizes.
LEVELS = 5


@dataclass(frozen=True)
class Cube:
    """A node of the search tree: equally long along each of the d point axes, and perhaps over the border.

    With two axes the tree is the published quadtree; with one it halves a sequence, with three it is an octree.

    >>> root = Cube.root((6, 8))
    >>> root.side, [box.area for _, box in root.parts_inside((6, 8))]
    (8, [16, 8, 16, 8])

    :param start: The first index along each axis.
    :param side: Length along each axis.
    :param level: How often the root was divided to get here.
    :param modality: Number of the modality.
    """

    start: tuple[int, ...]
    side: int
    level: int = 0
    modality: int = 0

    @classmethod
    def root(cls, shape: Sequence[int], modality: int = 0) -> Cube:
        """Return the cube that covers a whole grid: its side is the longest of the grid."""
        return cls((0,) * len(shape), max(shape), modality=modality)

    def clipped(self, shape: Sequence[int]) -> Box | None:
        """Return the part inside a grid, or ``None`` when there is none."""
        extent = tuple(min(self.side, size - start) for start, size in zip(self.start, shape, strict=True))
        return Box(self.start, extent, self.modality) if min(extent) > 0 else None

    @property
    def is_divided(self) -> bool:
        """Whether the published search looks into its parts."""
        return self.level < LEVELS and self.side > 1

    def parts(self) -> list[Cube]:
        """Return the 2^d parts of side ceil(side / 2), the first axis running fastest, as in the published search."""
        half = ceil(self.side / 2)
        # product() runs its last factor fastest, so the axes are taken in reverse.
        offsets = (tuple(reversed(steps)) for steps in product((0, half), repeat=len(self.start)))
        return [
            Cube(tuple(map(sum, zip(self.start, steps, strict=True))), half, self.level + 1, self.modality)
            for steps in offsets
        ]

    def parts_inside(self, shape: Sequence[int]) -> list[tuple[Cube, Box]]:
        """Return the parts that reach into a grid, with what of them is inside."""
        return [(part, box) for part in self.parts() if (box := part.clipped(shape))]


@dataclass(frozen=True)
class Layout:
    """How the points of one sample are counted: grid by grid, each in row-major order; words apart.

    >>> layout = Layout(shapes=((2, 3), (4,)), words=2)
    >>> layout.total, [grid.shape for grid in layout.grids(np.arange(10))]
    (12, [(2, 3), (4,)])

    :param shapes: Of the grid of each modality of numbers; empty where it may not be touched or is missing.
    :param words: Number of words that may be removed.
    """

    shapes: tuple[tuple[int, ...], ...] = ()
    words: int = 0

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Points of each grid."""
        return tuple(prod(shape) if shape else 0 for shape in self.shapes)

    @cached_property
    def size(self) -> int:
        """Points of all grids."""
        return sum(self.sizes)

    @property
    def total(self) -> int:
        """Points of all grids, and words."""
        return self.size + self.words

    def grids(self, flat: np.ndarray) -> list[np.ndarray]:
        """Cut one value per point ``(size,)`` into the grids; views."""
        return [flat[part].reshape(shape) for part, shape in self._parts]

    @cached_property
    def _parts(self) -> list[tuple[slice, tuple[int, ...]]]:
        """Where each grid is among all points, and its shape."""
        ends = np.cumsum(self.sizes).tolist()
        return [
            (slice(end - size, end), shape or (0,))
            for shape, size, end in zip(self.shapes, self.sizes, ends, strict=True)
        ]

    def roots(self) -> list[Cube]:
        """The cube that covers each grid that has points."""
        return [Cube.root(shape, number) for number, shape in enumerate(self.shapes) if self.sizes[number]]


@dataclass(frozen=True)
class Removal:
    """A set of removed points.

    >>> layout = Layout(shapes=((4, 4),), words=3)
    >>> removal = Removal(blocks=(Box((0, 0), (2, 2)),), words=(1,))
    >>> removal.points(layout), int(removal.mask(layout).sum())
    (5, 4)

    :param blocks: Removed boxes; they may overlap.
    :param words: Indices of removed words.
    :param packed: Further removed points, as :meth:`of_mask` stores them; empty for none.
    """

    blocks: tuple[Box, ...] = ()
    words: tuple[int, ...] = ()
    packed: bytes = b""

    @classmethod
    def of_mask(cls, mask: np.ndarray, words: tuple[int, ...] = ()) -> Removal:
        """Remove the points where booleans are true, one for each point of all grids in order."""
        return cls(words=words, packed=np.packbits(mask).tobytes() if mask.any() else b"")

    def __or__(self, other: Removal) -> Removal:
        packed = self.packed or other.packed
        if self.packed and other.packed:
            packed = bytes(a | b for a, b in zip(self.packed, other.packed, strict=True))
        return Removal(self.blocks + other.blocks, self.words + other.words, packed)

    @property
    def touches_numbers(self) -> bool:
        """Whether any point but words is removed."""
        return bool(self.blocks or self.packed)

    def mask(self, layout: Layout) -> np.ndarray:
        """Booleans ``(layout.size,)``, true where a point is removed."""
        if self.packed:
            bits = np.unpackbits(np.frombuffer(self.packed, dtype=np.uint8), count=layout.size)
            mask = bits.astype(bool)
        else:
            mask = np.zeros(layout.size, dtype=bool)
        if self.blocks:
            grids = layout.grids(mask)
            for box in self.blocks:
                grids[box.modality][box.slices] = True
        return mask

    def points(self, layout: Layout) -> int:
        """Number of distinct removed points and words."""
        return self.numbers(layout) + len(set(self.words))

    def numbers(self, layout: Layout) -> int:
        """Number of distinct removed points without words."""
        if len(self.blocks) == 1 and not self.packed:
            return self.blocks[0].area
        return int(self.mask(layout).sum()) if self.touches_numbers else 0


@dataclass(frozen=True, eq=False)
class Costs:
    """What removing points costs; all points of a sample together cost :attr:`total`.

    >>> layout = Layout(shapes=((4, 4),), words=3)
    >>> Costs.of_points(layout).of(Removal(blocks=(Box((0, 0), (2, 2)),), words=(1,)), layout)
    5.0

    :param numbers: Of each point of all grids, ``(layout.size,)``.
    :param words: Of each word, ``(layout.words,)``.
    :param total: Of everything that the sample has, also what may not be touched.
    """

    numbers: np.ndarray
    words: np.ndarray
    total: float

    @classmethod
    def of_points(cls, layout: Layout) -> Costs:
        """Each point and each word costs 1, and there are no others."""
        return cls(np.ones(layout.size), np.ones(layout.words), float(layout.total))

    @cached_property
    def of_each(self) -> float | None:
        """What every point of all grids costs; ``None`` where they differ, or there are none."""
        first = float(self.numbers[0]) if len(self.numbers) else None
        return first if first is not None and bool((self.numbers == first).all()) else None

    def affordable(self, order: np.ndarray, room: float) -> int:
        """How many points of an order, from the first on, cost less than ``room`` together."""
        if self.of_each is not None:
            return min(len(order), max(0, ceil(room / self.of_each) - 1))
        return int(np.searchsorted(np.cumsum(self.numbers[order]), room, side="left"))

    def of(self, removal: Removal, layout: Layout) -> float:
        """The cost of a removal; points that are removed twice count once."""
        words = float(self.words[list(set(removal.words))].sum()) if removal.words else 0.0
        if not removal.touches_numbers:
            return words
        if len(removal.blocks) == 1 and not removal.packed:
            box = removal.blocks[0]
            first = layout.grids(self.numbers)[box.modality][box.start]
            return float(first) * box.area + words
        mask = removal.mask(layout)
        if self.of_each is not None:
            return int(np.count_nonzero(mask)) * self.of_each + words
        return float(self.numbers[mask].sum()) + words
