"""The elements of a modality: what an attacker edits one by one, what a certificate counts, and how it is hidden.

A smoothed classifier keeps some elements of each modality and hides the others. What it makes of a sample depends on
the kept elements alone: this is what its certificate rests on.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from art_multimodal.errors import InputError, check_count, unknown_name
from art_multimodal.modalities.modality import Modality
from art_multimodal.shown import quoted


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


@dataclass(frozen=True)
class Blocks(Elements):
    """Blocks of pixels of an image, row by row; those at the right and at the bottom may be smaller.

    They are blocks of the image that the attacker sees: the samples' own pixels, before the model resizes them.

    :param size: Height and width of a block, in pixels.
    :raises InputError: If the size is less than 1, or the modality does not have exactly two axes of points.
    """

    size: int

    kind: ClassVar[str] = "blocks"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(f"{self.modality.name}: the size of a block", self.size)
        if not has_blocks(self.modality):
            raise InputError(f"{self.modality.name} is no image, so it has no blocks. Choose steps, points or words.")

    @property
    def unit(self) -> str:
        return f"block of {self.size} x {self.size} {self.modality.point}s"

    @property
    def spec(self) -> str:
        return f"{self.kind}:{self.size}"

    def _numbers(self, field: np.ndarray) -> np.ndarray:
        height, width = self.modality.point_shape(field)
        rows, columns = np.arange(height) // self.size, np.arange(width) // self.size
        numbers = rows[:, None] * -(-width // self.size) + columns
        return np.where(self.modality.missing(field)[:, None, None], -1, numbers)


@dataclass(frozen=True)
class Points(Elements):
    """Every point by itself: a pixel with its colours, a column, a joint in a frame, a bin.

    :raises InputError: For texts.
    """

    kind: ClassVar[str] = "points"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.modality.numeric:
            raise InputError(f"{self.modality.name} holds texts, whose elements are words, not points.")

    @property
    def unit(self) -> str:
        return self.modality.point

    def _numbers(self, field: np.ndarray) -> np.ndarray:
        there = self.modality.present(field)
        # Those behind the length of a sequence have no number, so the others follow each other.
        flat = there.reshape(len(field), math.prod(there.shape[1:]))
        return np.where(flat, flat.cumsum(axis=1) - 1, -1).reshape(there.shape)


@dataclass(frozen=True)
class Steps(Elements):
    """Positions along the first axis, with all that stands there: time steps, frames, points of a cloud.

    :raises InputError: If the first axis holds no points.
    """

    kind: ClassVar[str] = "steps"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not has_steps(self.modality):
            raise InputError(f"{self.modality.name} has no steps. Choose blocks, points or words.")

    @property
    def unit(self) -> str:
        # Of a point cloud they are its points, of an array that only has lengths nobody knows.
        return "time step" if self.modality.over_time else "step" if self.modality.kind == "array" else "point"

    @property
    def squeezes(self) -> bool:
        return self.modality.variable

    def squeeze(self, field: np.ndarray, kept: np.ndarray) -> np.ndarray:
        if not self.squeezes:
            return super().squeeze(field, kept)
        steps = field["values"].shape[1]
        lengths = np.asarray(field["length"])
        stays = self._checked(field, kept, int(lengths.max(initial=0)))[:, :steps]
        stays = np.pad(stays, ((0, 0), (0, steps - stays.shape[1]))) & (np.arange(steps) < lengths[:, None])
        # A stable order brings what stays to the front, as it was.
        order = np.argsort(~stays, axis=1, kind="stable").reshape(*stays.shape, *[1] * (field["values"].ndim - 2))
        squeezed = field.copy()
        squeezed["length"] = stays.sum(axis=1)
        return self.modality.with_values(squeezed, np.take_along_axis(field["values"], order, axis=1))

    def _numbers(self, field: np.ndarray) -> np.ndarray:
        there = self.modality.present(field)
        place = self.modality.point_axes.index(0)
        steps = np.arange(there.shape[1 + place]).reshape(-1, *[1] * (there.ndim - 2 - place))
        return np.where(there, steps, -1)


@dataclass(frozen=True)
class Words(Elements):
    """Words of a text, which white space separates; the text is always joined again by single spaces.

    Protected words are never hidden and never counted, and a certificate assumes that no attack changes, adds or
    removes one. Each word is judged by itself, without regard to case, the width of characters and punctuation around
    it, so that an edit elsewhere changes nothing. A plural is another word: list it, too. A text of which nothing is
    left is empty, as one that is missing.

    :param protected: Words; of a name of several words each one is protected.
    :param mask: What takes the place of a hidden word in :meth:`keep`; by default such words are dropped.
    :raises InputError: If the modality holds numbers, or the mask is not one word.
    """

    protected: tuple[str, ...] = ()
    mask: str | None = None

    kind: ClassVar[str] = "words"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.modality.numeric:
            raise InputError(f"{self.modality.name} holds numbers, so it has no words. Choose blocks, steps or points.")
        if isinstance(self.protected, str):
            raise InputError(f"protected lists words, ({quoted(self.protected)},), not a single string.")
        object.__setattr__(self, "protected", tuple(self.protected))
        if self.mask is not None and self.mask.split() != [self.mask]:
            raise InputError(f"The word in the place of hidden ones must be one word, not {quoted(self.mask)}.")

    @property
    def unit(self) -> str:
        return "word"

    @property
    def spec(self) -> str:
        return self.kind if self.mask is None else f"{self.kind}:{self.mask}"

    @property
    def fixed(self) -> bool:
        return False

    @property
    def squeezes(self) -> bool:
        return True

    def with_fill(self, fill: float | np.ndarray) -> Elements:
        raise InputError("Texts are not filled in. Words(..., mask=WORD) puts a word in the place of hidden ones.")

    def count(self, field: np.ndarray) -> np.ndarray:
        return np.array([sum(counts for _, counts in words) for words in self._parted(field)], dtype=np.int64)

    def keep(self, field: np.ndarray, kept: np.ndarray) -> np.ndarray:
        return self._shown(field, kept, self.mask)

    def squeeze(self, field: np.ndarray, kept: np.ndarray) -> np.ndarray:
        return self._shown(field, kept, None)

    def _shown(self, field: np.ndarray, kept: np.ndarray, mask: str | None) -> np.ndarray:
        stays = self._checked(field, kept, int(self.count(field).max(initial=0)))
        shown = field.copy()
        for row, words in enumerate(self._parted(field)):
            number, left = 0, []
            for word, counts in words:
                if not counts or stays[row, number]:
                    left.append(word)
                elif mask is not None:
                    left.append(mask)
                number += counts
            shown[row] = " ".join(left)
        return shown

    def with_word(self, field: np.ndarray, element: int, word: str) -> np.ndarray:
        """Return a copy of a field of texts with another word in the place of one element of each."""
        changed = field.copy()
        for row, words in enumerate(self._parted(field)):
            place = [place for place, (_, counts) in enumerate(words) if counts][element]
            changed[row] = " ".join(word if number == place else own for number, (own, _) in enumerate(words))
        return changed

    def _parted(self, field: np.ndarray) -> list[list[tuple[str, bool]]]:
        """The words of each text, and of each word whether it is an element."""
        protected = {_plain(word) for name in self.protected for word in name.split()} - {""}
        return [[(word, not protected or _plain(word) not in protected) for word in text.split()] for text in field]


_KINDS: dict[str, type[Elements]] = {kind.kind: kind for kind in (Blocks, Points, Steps, Words)}


def elements_of(
    modality: Modality, spec: str = "", protected: Iterable[str] = (), size: tuple[int, int] | None = None
) -> Elements:
    """Return the elements that are meant by a modality and what is written of them.

    ==================  ============================================================================================
    written             elements
    ==================  ============================================================================================
    ``blocks:8``        blocks of 8 x 8 pixels; without a size a quarter of the shorter side, rounded
    ``points``          every point
    ``steps``           time steps
    ``words``           words, hidden ones dropped; ``words:[MASK]`` puts that word in their place
    nothing             texts: words; sequences, streams and point clouds: steps; images: blocks; others: points
    ==================  ============================================================================================

    :param protected: Of texts, words that are never hidden.
    :param size: Height and width of the samples' images, where the modality leaves it open.
    :raises InputError: For another kind, a size that is no number, or what does not fit the modality.
    """
    kind, colon, rest = spec.partition(":")
    kind = kind.strip() or _default_kind(modality)
    if kind not in _KINDS:
        raise unknown_name("kind of elements", kind, _KINDS)
    if kind == "words":
        return Words(modality, tuple(protected), rest.strip() or None)
    if kind == "blocks":
        return Blocks(modality, _block_size(rest.strip(), spec) if colon else _quarter(modality, size))
    if colon:
        raise InputError(f"{modality.name}: {kind} take nothing behind a colon, not {quoted(spec)}.")
    return _KINDS[kind](modality)


def mean_fill(modality: Modality, field: np.ndarray) -> np.ndarray:
    """Return the mean value over samples and points: the mean colour ``(C, 1, 1)`` of images, of columns each its own.

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


def has_blocks(modality: Modality) -> bool:
    """Whether a modality is an image: two axes of points, of one size for all samples."""
    return modality.numeric and len(modality.point_axes) == 2 and not (modality.variable or modality.over_time)


def has_steps(modality: Modality) -> bool:
    """Whether the first axis of a modality is one of steps."""
    return modality.numeric and 0 in modality.point_axes and (modality.variable or modality.over_time)


def _default_kind(modality: Modality) -> str:
    if not modality.numeric:
        return "words"
    if has_steps(modality):
        return "steps"
    # A matrix of anything else has no blocks that belong together.
    return "blocks" if has_blocks(modality) and modality.kind == "image" else "points"


def _quarter(modality: Modality, size: tuple[int, int] | None) -> int:
    known = [modality.shape[axis] for axis in modality.point_axes] if has_blocks(modality) else [1]
    sides = [side or (size or (0, 0))[place] for place, side in enumerate(known)]
    if not all(sides):
        raise InputError(f"{modality.name} leaves the size of images open, so blocks need a size, in pixels: blocks:8.")
    return max(1, round(min(sides) / 4))


def _block_size(text: str, spec: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"The size of blocks is a whole number of pixels, blocks:8, not {quoted(spec)}.") from None


def _plain(word: str) -> str:
    """A word as it is compared: without regard to case and width, and without punctuation around it."""
    word = unicodedata.normalize("NFKC", word).casefold()
    inside = [place for place, letter in enumerate(word) if unicodedata.category(letter)[0] in "LNM"]
    return word[inside[0] : inside[-1] + 1] if inside else ""
