"""The kinds of elements: blocks of an image, points, steps and words, and how they are written."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from art_multimodal.ablation.elements import Elements
from art_multimodal.errors import InputError, check_count, unknown_name
from art_multimodal.modalities.modality import Modality
from art_multimodal.shown import quoted


@dataclass(frozen=True)
class Blocks(Elements):
    """Blocks of pixels of an image, row by row; those at the right and at the bottom may be smaller.

    They are blocks of the image that the attacker sees: the samples' own pixels, before the model resizes them.

    >>> from art_multimodal.modalities import image
    >>> blocks = Blocks(image("image", 3, 32, 32), size=8)
    >>> blocks.count(images[:2]).tolist(), blocks.spec
    ([16, 16], 'blocks:8')

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

    def grid(self, field: np.ndarray) -> tuple[int, int]:
        height, width = self.modality.point_shape(field)
        return -(-height // self.size), -(-width // self.size)

    def _numbers(self, field: np.ndarray) -> np.ndarray:
        height, width = self.modality.point_shape(field)
        rows, columns = np.arange(height) // self.size, np.arange(width) // self.size
        numbers = rows[:, None] * -(-width // self.size) + columns
        return np.where(self.modality.missing(field)[:, None, None], -1, numbers)


@dataclass(frozen=True)
class Points(Elements):
    """Every point by itself: a pixel with its colours, a column, a joint in a frame, a bin.

    >>> from art_multimodal.modalities import table
    >>> Points(table("mrna", 20)).count(np.zeros((2, 20), np.float32)).tolist()
    [20, 20]

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

    def grid(self, field: np.ndarray) -> tuple[int, int] | None:
        if not has_blocks(self.modality):
            return None
        height, width = self.modality.point_shape(field)
        return height, width

    def _numbers(self, field: np.ndarray) -> np.ndarray:
        there = self.modality.present(field)
        # Those behind the length of a sequence have no number, so the others follow each other.
        flat = there.reshape(len(field), math.prod(there.shape[1:]))
        return np.where(flat, flat.cumsum(axis=1) - 1, -1).reshape(there.shape)


@dataclass(frozen=True)
class Steps(Elements):
    """Positions along the first axis, with all that stands there: time steps, frames, points of a cloud.

    >>> from art_multimodal import samples
    >>> from art_multimodal.modalities import sequence
    >>> field = samples(audio=[np.ones((5, 2)), np.ones((3, 2))])["audio"]
    >>> Steps(sequence("audio", steps=5, width=2)).count(field).tolist()
    [5, 3]

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

    >>> from art_multimodal.modalities import text
    >>> words = Words(text(), protected=("circle",))
    >>> field = np.array(["is the circle red"], dtype=object)
    >>> words.count(field).tolist()
    [3]
    >>> words.keep(field, np.array([[True, False, True]])).tolist()
    ['is circle red']

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

    >>> from art_multimodal.modalities import image, text
    >>> elements_of(image("image", 3, 32, 32)).spec, elements_of(text(), "words:[MASK]").spec
    ('blocks:8', 'words:[MASK]')

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
