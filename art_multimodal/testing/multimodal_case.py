"""What a model over several modalities is tried on: samples of its modalities, which are drawn where none are given."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from art_multimodal.modalities.modality import Modality
from art_multimodal.models.fusion import FusionModel
from art_multimodal.models.image_text import ImageText
from art_multimodal.models.multimodal import Inputs, MultimodalModel
from art_multimodal.sample_arrays import samples
from art_multimodal.testing.asked import TEXTS, Asked
from art_multimodal.testing.contract import NotChecked

#: Samples that are drawn, and the side of images whose size is open.
_COUNT, _SIDE = 4, 16


class Case(Asked):
    """A model, and random samples of its modalities.

    :param own: The user's model: for pairs, the one inside.
    :param x: Samples; ``None`` to draw them.
    """

    model: MultimodalModel

    def __init__(self, own: Any, x: np.ndarray | None) -> None:
        super().__init__(ImageText(own) if isinstance(own, FusionModel) else own)
        self.own = own
        self._given = x

    @cached_property
    def x(self) -> np.ndarray:
        if self._given is not None:
            return self._given
        return samples(**{name: self._field(of, seed) for seed, (name, of) in enumerate(self.model.modalities.items())})

    @cached_property
    def inputs(self) -> Inputs:
        return self.batch(self.x)

    def batch(self, x: np.ndarray, model: MultimodalModel | None = None) -> Inputs:
        model = self.model if model is None else model
        return {name: part.to(model.device) for name, part in model.collate(x).items()}

    def scores(self, x: np.ndarray) -> Tensor:
        """Of the copy in float64."""
        return self.double(self.batch(x, self.double))

    @property
    def texts(self) -> list[str]:
        return [name for name, of in self.model.modalities.items() if not of.numeric]

    @property
    def numbers(self) -> list[str]:
        return [name for name, of in self.model.modalities.items() if of.numeric]

    def demand_missing(self) -> None:
        """:raises NotChecked: If the model takes no sample that lacks a modality."""
        if not self.model.takes_missing:
            raise NotChecked("the model says that no sample may lack a modality (takes_missing)")

    def _field(self, of: Modality, seed: int) -> Any:
        if not of.numeric:
            return list(TEXTS[:_COUNT])
        generator = np.random.default_rng(seed)
        open_sides = self.own.image_size if isinstance(self.own, FusionModel) else (_SIDE, _SIDE)
        shape = [size or open_sides[place - len(of.shape)] for place, size in enumerate(of.shape)]
        low, high = (np.asarray(bound, dtype=np.float64) for bound in of.clip_values)
        values = low + (high - low) * generator.uniform(0.2, 0.8, (_COUNT, *shape))
        if not of.variable:
            return values
        lengths = np.linspace(shape[0], max(1, shape[0] // 3), _COUNT).round().astype(int)
        return values * (np.arange(shape[0]) < lengths[:, None]).reshape(_COUNT, -1, *[1] * (len(shape) - 1)), lengths
