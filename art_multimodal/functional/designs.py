"""Which elements each vote of a smoothed classifier sees: masks ``[votes, elements]``, true where an element is kept.

Three kinds need no confidence level, as every mask votes once: all subsets, a partition into groups that see one each,
and a design such as the lines of an affine plane, in which every element and every pair of elements is in equally many
masks. Random subsets are what MMCert (arXiv:2403.19080) draws. Masks are public and must not depend on the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, combinations
from math import comb, prod, sqrt

import numpy as np

from art_multimodal.errors import InputError, unknown_name
from art_multimodal.functional.certificates.checks import whole
from art_multimodal.functional.coverage import LIMIT, largest_coverage

#: Cells of masks that are all made at once.
_MOST_CELLS = 2**28
_LAYOUTS = ("contiguous", "interleaved")


def all_subsets(n: int, k: int) -> np.ndarray:
    """Every subset of ``k`` of ``n`` elements once, in lexicographic order.

    >>> all_subsets(3, 2).astype(int).tolist()
    [[1, 1, 0], [1, 0, 1], [0, 1, 1]]

    :return: Booleans ``[C(n, k), n]``.
    :raises InputError: If ``k`` is more than ``n``, or there are too many subsets to hold.
    """
    n, k = _checked_subset(n, k)
    count = comb(n, k)
    if count * n > _MOST_CELLS:
        shown = f"{count:,}" if count < 10**12 else "more than 10^12"
        raise InputError(f"There are {shown} subsets of {k} of {n} elements: draw some, or take a partition.")
    masks = np.zeros((count, n), dtype=bool)
    kept = np.fromiter(chain.from_iterable(combinations(range(n), k)), dtype=int, count=count * k).reshape(count, k)
    np.put_along_axis(masks, kept, True, axis=1)
    return masks


def partition(n: int | Sequence[int], groups: int, layout: str = "interleaved") -> np.ndarray:
    """Groups without a common element that hold all of them, in sizes that differ by one at the most.

    >>> partition(5, 2).astype(int).tolist()
    [[1, 0, 1, 0, 1], [0, 1, 0, 1, 0]]
    >>> partition(5, 2, "contiguous").astype(int).tolist()
    [[1, 1, 1, 0, 0], [0, 0, 0, 1, 1]]

    On a grid, contiguous groups are compact blocks: rectangles of equal size where sides divide. Interleaved groups
    have one element in every patch of as many elements as there are groups.

    :param n: Number of elements, or height and width of a grid, whose elements are counted row by row.
    :param groups: From 1 to the number of elements.
    :param layout: ``"interleaved"`` where an attacker changes single elements that lie anywhere, ``"contiguous"`` where
        those of one place.
    :return: Booleans ``[groups, elements]``.
    :raises InputError: If the layout is unknown, or there are fewer elements than groups.
    """
    if layout not in _LAYOUTS:
        raise unknown_name("layout", layout, _LAYOUTS)
    shape = (1, whole("Number of elements", n, least=1)) if isinstance(n, int | np.integer) else _grid(n)
    elements, groups = prod(shape), whole("Number of groups", groups, least=1)
    if groups > elements:
        raise InputError(f"Cannot make {groups} groups of {elements} elements: some would be empty.")
    patch = groups if layout == "interleaved" else elements / groups
    places = _places(shape, _band(shape, patch), turning=layout == "contiguous")
    group = places % groups if layout == "interleaved" else places * groups // elements
    return group == np.arange(groups)[:, None]


def affine_plane(q: int) -> np.ndarray:
    """The lines of the affine plane over the field of ``q`` elements: each pair of points is on one line.

    Every point is on ``q + 1`` lines, so ``r`` points are on ``r q + 1`` lines at the most. For 1 and 2 points that
    share is exactly that of all subsets of ``q`` of ``q^2`` elements.

    >>> affine_plane(2).astype(int).tolist()
    [[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 0, 1], [0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 1, 1]]

    :param q: A prime number: the side of a square of points, which are counted row by row.
    :return: Booleans ``[q^2 + q, q^2]``.
    :raises InputError: If ``q`` is no prime number.
    """
    q = whole("q", q, least=2, most=200)
    if any(q % divisor == 0 for divisor in range(2, int(sqrt(q)) + 1)):
        raise InputError(f"An affine plane is made for a prime number of points on a line, not {q}.")
    row, column = np.divmod(np.arange(q * q), q)
    slopes = [(column - slope * row) % q for slope in range(q)]
    return np.concatenate([line == np.arange(q)[:, None] for line in [*slopes, row]])


def subsets(n: int, k: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Random subsets of ``k`` of ``n`` elements, each as probable, drawn with replacement.

    >>> subsets(9, 3, count=5, rng=np.random.default_rng(0)).sum(axis=1).tolist()
    [3, 3, 3, 3, 3]

    :param count: How many.
    :return: Booleans ``[count, n]``.
    :raises InputError: If ``k`` is more than ``n``.
    """
    n, k = _checked_subset(n, k)
    masks = np.zeros((whole("count", count), n), dtype=bool)
    for mask in masks:
        mask[rng.choice(n, size=k, replace=False, shuffle=False)] = True
    return masks


def crossed(*masks: np.ndarray) -> tuple[np.ndarray, ...]:
    """Every combination of the masks of several modalities, the last modality's running fastest.

    >>> [part.shape for part in crossed(partition(6, 3), partition(4, 2))]
    [(6, 6), (6, 4)]

    :param masks: Of each modality, ``[V_i, n_i]``.
    :return: Of each modality, ``[V_1 ... V_T, n_i]``.
    """
    places = np.indices([len(part) for part in masks]).reshape(len(masks), -1)
    return tuple(part[place] for part, place in zip(masks, places, strict=True))


def cycled(*masks: np.ndarray, votes: int | None = None) -> tuple[np.ndarray, ...]:
    """Masks of several modalities side by side, those of each modality over and over.

    With fewer votes than :func:`crossed`: of ``T`` votes, ``r_i`` elements of modality i reach ``r_i T / V_i`` at the
    most where all ``V_i`` are partitions and divide ``T``.

    >>> [part.shape for part in cycled(partition(6, 3), partition(4, 2))]
    [(6, 6), (6, 4)]

    :param masks: Of each modality, ``[V_i, n_i]``.
    :param votes: How many; by default the least common multiple of all ``V_i``.
    :return: Of each modality, ``[votes, n_i]``.
    """
    count = int(np.lcm.reduce([len(part) for part in masks])) if votes is None else whole("votes", votes, least=1)
    return tuple(part[np.arange(count) % len(part)] for part in masks)


def most_hits(masks: np.ndarray | Sequence[np.ndarray], budget: int | Sequence[int], limit: int = LIMIT) -> int:
    """The largest number of masks that see one of a few elements, wherever these are.

    Exact where there are few sets of elements, and for partitions; otherwise an upper bound, so that certificates hold.

    >>> [most_hits(affine_plane(7), r) for r in (1, 2, 3)]
    [8, 15, 22]

    :param masks: ``[V, n]``, or of each modality ``[V, n_i]``: vote v sees what mask v of each modality keeps.
    :param budget: Number of elements, or one for each modality.
    :param limit: Sets of elements that are tried at the most.
    :raises InputError: If shapes or budgets are no such.
    """
    parts = [masks] if isinstance(masks, np.ndarray) else list(masks)
    numbers = [budget] if isinstance(budget, int | np.integer) else list(budget)
    votes = len(parts[0]) if parts else 0
    return largest_coverage(np.ones(votes, dtype=int), parts, numbers, limit).weight


def window_hits(masks: np.ndarray, shape: tuple[int, int], side: int) -> int:
    """The largest number of masks that see something of one square of elements, wherever it lies on a grid.

    What a sticker reaches: with contiguous groups these are few.

    >>> masks = [partition((8, 8), 16, layout) for layout in ("contiguous", "interleaved")]
    >>> [window_hits(part, (8, 8), 2) for part in masks]
    [4, 4]
    >>> [window_hits(part, (8, 8), 3) for part in masks]
    [4, 9]

    :param masks: ``[V, height * width]``.
    :param shape: Height and width of the grid.
    :param side: Of the square, in elements; parts of it may lie beyond the border.
    :raises InputError: If masks are not of this grid, or the side is no whole number from 1.
    """
    height, width = _grid(shape)
    if masks.ndim != 2 or masks.shape[1] != height * width:
        raise InputError(f"Masks of a {height} x {width} grid have {height * width} columns, not shape {masks.shape}.")
    tall, wide = (min(whole("side", side, least=1), most) for most in (height, width))
    sums = np.pad(masks.reshape(-1, height, width).cumsum(axis=1).cumsum(axis=2), ((0, 0), (1, 0), (1, 0)))
    rows = sums[:, tall:] - sums[:, :-tall]
    return int(((rows[:, :, wide:] - rows[:, :, :-wide]) > 0).sum(axis=0).max())


def _checked_subset(n: int, k: int) -> tuple[int, int]:
    n, k = whole("Number of elements", n, least=1), whole("Number of kept elements", k)
    if k > n:
        raise InputError(f"Cannot keep {k} of {n} elements: keep {n} or fewer.")
    return n, k


def _grid(sides: Sequence[int]) -> tuple[int, int]:
    if len(sides) != 2:
        raise InputError(f"A grid of elements has a height and a width, not {len(sides)} sides.")
    return whole("Height of the grid", sides[0], least=1), whole("Width of the grid", sides[1], least=1)


def _band(shape: tuple[int, int], patch: float) -> int:
    """How many rows a band has of which some columns make a nearly square patch; a height that divides if one does."""
    height, width = shape
    fit = [rows for rows in range(1, height + 1) if rows * width >= patch]

    def oblong(rows: int) -> tuple[bool, float]:
        columns = patch / rows
        whole = height % rows == 0 and columns == int(columns) and width % int(columns) == 0
        return not whole, max(rows / columns, columns / rows)

    # A divisor counts only while patches stay within twice as long as wide, or none is rounder.
    return min(fit, key=lambda rows: (oblong(rows)[1] > 2, *oblong(rows))) if fit else height


def _places(shape: tuple[int, int], rows: int, turning: bool) -> np.ndarray:
    """The place of each element on a way through all bands, column by column.

    :param turning: Go back through every other band, so that neighbours on the way are neighbours on the grid.
    """
    height, width = shape
    row, column = np.divmod(np.arange(height * width), width)
    band = row // rows
    tall = np.minimum(rows, height - band * rows)
    along = np.where(turning & (band % 2 == 1), width - 1 - column, column)
    return band * rows * width + along * tall + row % rows
