"""Which elements of a modality are kept: some at random, or those of one of given masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from art_multimodal.ablation.elements import Elements
from art_multimodal.ablation.kinds import elements_of
from art_multimodal.errors import InputError, check_count, unknown_name
from art_multimodal.modalities.modality import Modality


@dataclass(frozen=True, eq=False)
class Keep:
    """Hide elements of one modality as a certificate does.

    >>> from art_multimodal.ablation import Blocks
    >>> from art_multimodal.modalities import image
    >>> keep = Keep(Blocks(image("image", 3, 32, 32), size=8), masks=4)
    >>> keep.draw(np.array([16, 16]), np.random.default_rng(0)).sum(axis=1).tolist()
    [4, 4]

    :param elements: What is counted and hidden.
    :param masks: A number ``k``: so many elements are kept, each choice of them equally likely; a sample with fewer
        keeps all it has. Or booleans ``[G, n]``: one of these masks, each equally likely.
    :param squeeze: Whether gaps are closed (:meth:`Elements.squeeze`), for certificates against additions and
        deletions.
    :raises InputError: For a number below 0, masks of another shape or dtype, or elements that cannot be squeezed.
    """

    elements: Elements
    masks: int | np.ndarray
    squeeze: bool = False

    def __post_init__(self) -> None:
        name = self.elements.modality.name
        if isinstance(self.masks, np.ndarray):
            if self.masks.dtype != bool or self.masks.ndim != 2 or 0 in self.masks.shape:
                raise InputError(
                    f"{name}: masks are booleans of shape (G, n), with at least one mask, not {self.masks.dtype} of "
                    f"shape {self.masks.shape}."
                )
        else:
            if isinstance(self.masks, bool) or not isinstance(self.masks, int | np.integer):
                raise InputError(
                    f"{name}: how many elements are kept is a whole number, or give masks, not "
                    f"{type(self.masks).__name__}."
                )
            object.__setattr__(self, "masks", int(self.masks))
            check_count(f"{name}: the number of elements that are kept", int(self.masks), least=0)
        if self.squeeze and not self.elements.squeezes:
            raise InputError(
                f"{name}: {self.elements.kind} cannot be added or deleted here, so none can be squeezed out. Leave out "
                "squeeze=True."
            )

    def draw(self, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw what is kept of each sample, independently: booleans ``(N, n)``.

        :param counts: How many elements each sample has, ``(N,)``; ``n`` is the most, or that of the masks.
        :raises InputError: If a sample has more elements than the masks have columns, or another number where all have
            the same.
        """
        counts = np.asarray(counts)
        most = int(counts.max(initial=0))
        if isinstance(self.masks, np.ndarray):
            self._check_width(counts)
            return self.masks[rng.integers(len(self.masks), size=len(counts))]
        keys = rng.random((len(counts), most))
        there = np.arange(most) < counts[:, None]
        # Elements that a sample does not have come last.
        keys[~there] = np.inf
        kept = np.ones(keys.shape, dtype=bool)
        if self.masks < most:
            np.put_along_axis(kept, np.argpartition(keys, self.masks, axis=1)[:, self.masks :], False, axis=1)
        return kept & there

    def hide(self, field: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """Return a copy of a field with what is not kept hidden.

        :param kept: Booleans ``(N, n)``, as :meth:`draw` gives them.
        """
        return self.elements.squeeze(field, kept) if self.squeeze else self.elements.keep(field, kept)

    def ablated(self, field: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a copy of a field, each sample under a mask of its own, drawn anew."""
        return self.hide(field, self.draw(self.elements.count(field), rng))

    def described(self) -> dict[str, Any]:
        """What it is, in JSON's types: equal where the same is hidden in the same way."""
        found: dict[str, Any] = {"elements": self.elements.spec, "squeeze": self.squeeze}
        if self.elements.modality.numeric:
            found["fill"] = np.asarray(self.elements.modality.fill, dtype=np.float64).tolist()
        else:
            found["protected"] = sorted(getattr(self.elements, "protected", ()))
        if not isinstance(self.masks, np.ndarray):
            return found | {"keep": self.masks}
        digest = blake2b(np.ascontiguousarray(self.masks).tobytes(), digest_size=16).hexdigest()
        return found | {"masks": list(self.masks.shape), "digest": digest}

    def _check_width(self, counts: np.ndarray) -> None:
        assert isinstance(self.masks, np.ndarray)
        width = self.masks.shape[1]
        wrong = counts > width if not self.elements.fixed else (counts != width) & (counts > 0)
        if wrong.any():
            row = int(wrong.argmax())
            raise InputError(
                f"{self.elements.modality.name}: the masks are of {width} elements, but sample {row} has "
                f"{int(counts[row])} ({self.elements.unit}). Make them for as many."
            )


def keeps_of(
    modalities: Mapping[str, Modality],
    given: Mapping[str, Keep | int | np.ndarray],
    size: tuple[int, int] | None = None,
) -> dict[str, Keep]:
    """Return what is kept of each modality that something is hidden of, in the order of the modalities.

    >>> keeps = keeps_of(fusion.modalities, {"image": 4, "text": 2}, size=(32, 32))
    >>> {name: keep.elements.spec for name, keep in keeps.items()}
    {'image': 'blocks:8', 'text': 'words'}

    :param modalities: Of a model, by name.
    :param given: By name: a :class:`Keep`, or its ``masks``, with the elements that :func:`elements_of` takes by
        default.
    :param size: Height and width of images, where their modality leaves it open.
    :raises InputError: For an unknown name, elements of another modality, or nothing at all.
    """
    if not isinstance(given, Mapping) or not given:
        raise InputError("keep names at least one modality, with how many of its elements are kept: {'image': 16}.")
    for name in given:
        if name not in modalities:
            raise unknown_name("modality", str(name), modalities)
    found = {}
    for name, modality in modalities.items():
        if name not in given:
            continue
        one = given[name]
        found[name] = one if isinstance(one, Keep) else Keep(elements_of(modality, size=size), one)
        own = found[name].elements.modality
        # It may have a fill of its own.
        if (type(own), own.name) != (type(modality), modality.name):
            raise InputError(f"{name}: these elements are of another modality, the {own.kind} {own.name}.")
    return found
