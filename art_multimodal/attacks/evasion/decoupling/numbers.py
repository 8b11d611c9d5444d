"""A modality of numbers from which points are removed, in many probes that hold a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from art_multimodal.functional.points import Box, Layout, Removal
from art_multimodal.modalities.modality import Modality


class Numbers:
    """One modality of numbers in a batch of samples, from which points are removed.

    :param modality: Its description.
    :param field: Of the samples.
    :param fill: What a removed point becomes, broadcast to a sample.
    :param batch_size: Samples per forward pass.
    """

    def __init__(self, modality: Modality, field: np.ndarray, fill: np.ndarray, batch_size: int) -> None:
        self.modality = modality
        self.values = np.ascontiguousarray(modality.values(field))
        self.fill = np.broadcast_to(np.asarray(fill, dtype=np.float32), self.values.shape[1:]).copy()
        self.lengths = np.array(modality.lengths(field)) if modality.variable else None
        self.missing = modality.missing(field)
        self._grid = modality.point_shape(field)
        # The point axes come last, in the order of the grid.
        others = [axis for axis in range(self.fill.ndim) if axis not in modality.point_axes]
        self._points_last = (*others, *modality.point_axes)
        self._fill = self.fill.transpose(self._points_last)
        first = self._fill[_at([slice(1)] * len(self._grid))]
        #: What every point becomes, where all become the same; then points need not be looked up.
        self._same = first.reshape(*first.shape[: len(others)], 1) if bool((self._fill == first).all()) else None
        # One buffer for all probes: a row is copied only when its sample changes, otherwise just its blocks are
        # restored.
        self._buffer = np.empty((batch_size, *self.values.shape[1:]), dtype=np.float32)
        self._holds: list[tuple[int, tuple[Box, ...]] | None] = [None] * batch_size

    def shape_of(self, sample: int) -> tuple[int, ...]:
        """How many points a sample has along each point axis; nothing where it lacks the modality."""
        if self.missing[sample]:
            return ()
        if self.lengths is None:
            return self._grid
        place = self.modality.point_axes.index(0)
        return tuple(int(self.lengths[sample]) if axis == place else size for axis, size in enumerate(self._grid))

    def without(self, number: int, asked: Sequence[tuple[int, Removal, Layout]]) -> np.ndarray:
        """The values of samples with points removed, at most a batch.

        :param number: Of this modality in the layouts.
        """
        for slot, (sample, removal, layout) in enumerate(asked):
            self._write(slot, number, sample, removal, layout)
        return self._buffer[: len(asked)]

    def remove(self, values: np.ndarray, number: int, removal: Removal, layout: Layout) -> None:
        """Write the fill over the removed points of one sample ``(*shape)``, in place."""
        by_point = values.transpose(self._points_last)
        for box in removal.blocks:
            if box.modality == number:
                by_point[_at(box.slices)] = self._fill[_at(box.slices)]
        if removal.packed and layout.sizes[number]:
            mask = layout.grids(removal.mask(layout))[number]
            # Of a sequence the mask ends with its length.
            within = _at(slice(size) for size in mask.shape)
            by_point[within][..., mask] = self._fill[within][..., mask] if self._same is None else self._same

    def touched(self, removal: Removal, number: int, layout: Layout) -> bool:
        """Whether a removal takes any point of this modality."""
        if any(box.modality == number for box in removal.blocks):
            return True
        if not removal.packed or not layout.sizes[number]:
            return False
        return layout.sizes[number] == layout.size or bool(layout.grids(removal.mask(layout))[number].any())

    def spread(self, points: np.ndarray) -> np.ndarray:
        """Values of the points of one sample, as they broadcast to it: axes of length 1 where points have several."""
        shape = self.values.shape[1:]
        full = np.zeros(self._grid, dtype=points.dtype)
        full[tuple(slice(size) for size in points.shape)] = points
        return self.modality.spread(full[None], len(shape) + 1)[0]

    def gathered(self, spread: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The inverse of :meth:`spread`: one value per point of a sample."""
        axes = sorted(self.modality.point_axes)
        kept = spread.reshape([spread.shape[axis] for axis in axes])
        grid = kept.transpose([axes.index(axis) for axis in self.modality.point_axes])
        return grid[tuple(slice(size) for size in shape)]

    def _write(self, slot: int, number: int, sample: int, removal: Removal, layout: Layout) -> None:
        values, held = self.values[sample], self._holds[slot]
        if held is not None and held[0] == sample:
            for box in held[1]:
                where = _at(box.slices)
                self._buffer[slot].transpose(self._points_last)[where] = values.transpose(self._points_last)[where]
        else:
            self._buffer[slot] = values
        self.remove(self._buffer[slot], number, removal, layout)
        # A removal of single points is not worth tracing back: the next probe copies the row again.
        boxes = tuple(box for box in removal.blocks if box.modality == number)
        self._holds[slot] = None if removal.packed else (sample, boxes)


def _at(slices: Iterable[slice]) -> Any:
    """The index of points whose axes come last."""
    return (..., *slices)
