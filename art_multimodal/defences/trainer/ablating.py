"""What training hides of each batch: the same as certificates by ablation do, each sample under masks of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from art_multimodal.ablation import Keep, keeps_of
from art_multimodal.defences.trainer.methods import Method
from art_multimodal.defences.trainer.samples import generator_of
from art_multimodal.defences.trainer.settings import TrainingSettings
from art_multimodal.errors import InputError
from art_multimodal.modalities.modality import Modality

#: What a trainer takes as ``keep``.
Kept = Mapping[str, Keep | int | np.ndarray]


@dataclass(frozen=True)
class Ablation:
    """Draw views of a batch, of which some elements are hidden.

    :param keeps: What is kept of each modality that something is hidden of, by name.
    :param views: How often each sample is seen in a step, each time under another mask.
    :param seed: Of the masks.
    """

    keeps: dict[str, Keep]
    views: int
    seed: int

    def of(
        self, whole: Mapping[str, np.ndarray], own: Mapping[str, np.ndarray], place: slice, step: int
    ) -> list[dict[str, np.ndarray]]:
        """Return the fields that are changed, by name, for each view of the process's own samples.

        Masks are drawn for the samples of all processes, so that each of them hides what one process alone would.

        :param whole: Fields of the samples of all processes, ``N`` each.
        :param own: Fields of this process's samples.
        :param place: Which of the ``N`` these are.
        :param step: Number of the step, over all epochs.
        """
        found = []
        for view in range(self.views):
            rng, shown = generator_of(self.seed, 4, step, view), {}
            for name, keep in self.keeps.items():
                kept = keep.draw(keep.elements.count(whole[name]), rng)
                shown[name] = keep.hide(own[name], kept[place])
            found.append(shown)
        return found

    def described(self) -> dict[str, Any]:
        """What a checkpoint records of it."""
        return {name: keep.described() for name, keep in self.keeps.items()}


def ablation_of(
    method: Method,
    name: str,
    keep: Kept | None,
    modalities: Mapping[str, Modality],
    shape: tuple[int, ...] | None,
    options: Mapping[str, Any],
    settings: TrainingSettings,
) -> Ablation | None:
    """Return what a trainer hides; ``None`` where its method trains on whole samples.

    :param name: Of the method.
    :param keep: What is kept of each modality, as a user gave it.
    :param modalities: Of which something can be hidden, by name.
    :param shape: Of images, ending with height and width, where their modality leaves these open.
    :param options: Of the method.
    :raises InputError: If the method hides something and it is not said what, the other way round, or for a weight of
        the consistency that cannot be used.
    """
    if not method.ablates:
        if keep is not None:
            raise InputError(f"{name} trains on whole samples and hides nothing: leave out keep.")
        return None
    if keep is None:
        raise InputError(
            f"{name} trains on samples of which elements are hidden. Say how many are kept of each modality: "
            f"keep={{{next(iter(modalities))!r}: 4, ...}}; there are {', '.join(modalities)}."
        )
    weight = options.get("consistency", 0.0)
    if not (math.isfinite(weight) and weight >= 0):
        raise InputError(f"consistency is the weight of how far votes are apart, at least 0, not {weight}.")
    size = None if shape is None else (shape[-2], shape[-1])
    return Ablation(keeps_of(modalities, keep, size), 2 if weight else 1, settings.seed)
