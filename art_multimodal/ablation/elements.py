"""The elements of a modality: what an attacker edits one by one, what a certificate counts, and how it is hidden.

A smoothed classifier keeps some elements of each modality and hides the others. What it makes of a sample depends on
the kept elements alone: this is what its certificate rests on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from art_multimodal.errors import InputError
from art_multimodal.modalities.modality import Modality


@dataclass(frozen=True)
class Elements:
    """Say what counts as one element of a modality.

    A sample has elements ``0, 1, ...``, in order. One that lacks the modality has none.

    ==================  ===============================================================================
    an attack may       hide elements by
    ==================  ===============================================================================
    modify              :meth:`keep`: in place, where the others stay at their positions
    also add or delete  :meth:`squeeze`: the others move together, so that no position can be seen
    ==================  ===============================================================================

    Under additions and deletions :meth:`keep` certifies nothing that holds: one insertion moves everything behind it.
    The model is told of neither.

    >>> from art_multimodal.ablation import Blocks
    >>> from art_multimodal.modalities import image
    >>> blocks = Blocks(image("image", 3, 32, 32), size=16)
    >>> isinstance(blocks, Elements), blocks.unit
    (True, 'block of 16 x 16 pixels')
    >>> hidden = blocks.keep(images[:1], np.array([[True, False, False, False]]))
    >>> bool((hidden[0, :, :, 16:] == 0.5).all())
    True

    :param modality: Of the elements; its ``fill`` takes the place of what is hidden, or the value nearest to it that is
        allowed. See :meth:`with_fill`.
    :raises InputError: If the modality has no such elements.
    """

    modality: Modality

    #: What they are called in :func:`elements_of`.
    kind: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if self.modality.numeric:
            # What is shown to a model must be a sample.
            low, high = (np.asarray(bound, dtype=np.float32) for bound in self.modality.clip_values)
            fill = np.asarray(self.modality.fill, dtype=np.float32)
            if (fill < low).any() or (fill > high).any():
                object.__setattr__(self, "modality", replace(self.modality, fill=np.clip(fill, low, high)))

    @property
    def unit(self) -> str:
        """What one element is, in words."""
        raise NotImplementedError

    def with_word(self, field: np.ndarray, element: int, word: str) -> np.ndarray:
        """Return a copy of a field of texts with another word in the place of one element of each; of words only."""
        raise NotImplementedError

    @property
    def spec(self) -> str:
        """The form that :func:`elements_of` reads."""
        return self.kind

    @property
    def fixed(self) -> bool:
        """Whether all samples of one shape that have the modality have equally many elements."""
        return not self.modality.variable

    @property
    def squeezes(self) -> bool:
        """Whether elements can be added and deleted."""
        return False

    def with_fill(self, fill: float | np.ndarray) -> Elements:
        """The same elements with something else in the place of what is hidden, such as :func:`mean_fill`.

        :param fill: A number, or an array that broadcasts to a sample.
        :raises InputError: If it does not, or is not finite.
        """
        return replace(self, modality=replace(self.modality, fill=fill))

    def grid(self, field: np.ndarray) -> tuple[int, int] | None:
        """Rows and columns of the elements of each sample that has the modality, which are counted row by row.

        :return: ``None`` where elements do not lie side by side on a picture.
        """
        return None

    def count(self, field: np.ndarray) -> np.ndarray:
        """How many elements each sample has, whole numbers ``(N,)``.

        :param field: Of samples, as :func:`~art_multimodal.sample_arrays.samples` makes it.
        """
        numbers = self._numbers(field)
        return numbers.max(axis=tuple(range(1, numbers.ndim)), initial=-1) + 1

    def keep(self, field: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """Return a copy of a field in which elements are hidden in place.

        :param kept: Booleans ``(N, n)``, whether element ``j`` of a sample stays. ``n`` is the most that a sample has,
            or more: columns behind a sample's own elements do not matter.
        :raises InputError: For another shape or dtype.
        """
        return self.modality.remove(field, ~self.shown(field, kept) & (self._numbers(field) >= 0))

    def shown(self, field: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """Which points belong to elements that stay, booleans ``(N, *point_shape)``.

        :param kept: As for :meth:`keep`.
        :raises InputError: Also for texts.
        """
        numbers = self._numbers(field)
        stays = self._checked(field, kept, int(numbers.max(initial=-1)) + 1)
        if not stays.shape[1]:
            return np.zeros(numbers.shape, dtype=bool)
        rows = np.arange(len(field)).reshape(-1, *[1] * (numbers.ndim - 1))
        return (numbers >= 0) & stays[rows, np.maximum(numbers, 0)]

    def squeeze(self, field: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """Return a copy of a field from which elements are gone, and the gaps closed; the others stay in order.

        A sample of which nothing is left is as one that lacks the modality.

        :param kept: As for :meth:`keep`.
        :raises InputError: Also for elements that cannot be added and deleted.
        """
        raise InputError(
            f"{self.modality.name}: elements of the kind {self.kind} cannot be added or deleted, so none can be "
            "squeezed out. Words can, and steps of sequences that have lengths of their own."
        )

    def _numbers(self, field: np.ndarray) -> np.ndarray:
        """The number of the element that each point belongs to, ``(N, *point_shape)``; -1 where a sample has none."""
        raise NotImplementedError

    def _checked(self, field: np.ndarray, kept: np.ndarray, most: int) -> np.ndarray:
        if kept.dtype != bool or kept.ndim != 2 or len(kept) != len(field) or kept.shape[1] < most:
            raise InputError(
                f"{self.modality.name}: what is kept must be booleans of shape ({len(field)}, {most}), not "
                f"{kept.dtype} of shape {kept.shape}."
            )
        return kept


def mean_fill(modality: Modality, field: np.ndarray) -> np.ndarray:
    """Return the mean value over samples and points: the mean colour ``(C, 1, 1)`` of images, of columns each its own.

    >>> from art_multimodal.modalities import image
    >>> colour = mean_fill(image("image", 3, 32, 32), images)
    >>> colour.shape, bool(np.allclose(colour[:, 0, 0], images.mean(axis=(0, 2, 3))))
    ((3, 1, 1), True)

    :param field: Of samples to train on. What they lack does not count.
    :return: Broadcasts to a sample, float32.
    :raises InputError: For texts, or where no sample has the modality.
    """
    if not modality.numeric:
        raise InputError(f"{modality.name} holds texts, which have no mean.")
    values, there = modality.values(field), modality.present(field)
    if not there.any():
        raise InputError(f"No sample has anything of {modality.name}, so there is no mean.")
    there = np.broadcast_to(modality.spread(there, values.ndim), values.shape)
    # Columns of a table: each means something else.
    columns = len(modality.shape) == 1 and not modality.variable
    over = (0, *(() if columns else (1 + axis for axis in modality.point_axes)))
    mean = values.mean(axis=over, dtype=np.float64, where=there, keepdims=True)[0]
    return mean.astype(np.float32)
