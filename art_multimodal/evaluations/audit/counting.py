"""A model over any modalities that counts what it is asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from art_multimodal.estimators.modules import is_repeated
from art_multimodal.models.fusion import Tokens
from art_multimodal.models.multimodal import Features, Inputs, MultimodalModel, Part


class CountedModel(MultimodalModel):
    """Present a model, and count the samples that it answers about; the model itself is left as it is.

    :param model: The model; shared, not copied.
    """

    def __init__(self, model: MultimodalModel) -> None:
        super().__init__(list(model.modalities.values()), model.class_names)
        self.model = model
        self.takes_missing = model.takes_missing
        self._counts = threading.local()

    @contextmanager
    def counted(self) -> Iterator[dict[str, int]]:
        """Count what this thread asks: ``queries``, and those among them that a gradient is taken for."""
        before = getattr(self._counts, "now", None)
        self._counts.now = {"queries": 0, "gradients": 0}
        try:
            yield self._counts.now
        finally:
            self._counts.now = before

    @property
    def mode_changes(self) -> int:
        return self.model.mode_changes

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def separate_towers(self) -> bool:
        return self.model.separate_towers

    @property
    def takes_steps(self) -> bool:
        return self.model.takes_steps

    @property
    def weighs(self) -> bool:
        return self.model.weighs

    @property
    def by_agreement(self) -> bool:
        return self.model.by_agreement

    def numbers(self, name: str, values: Tensor, lengths: Tensor | None = None) -> Part:
        return self.model.numbers(name, values, lengths)

    def tokenize(self, name: str, texts: Sequence[str]) -> Tokens:
        return self.model.tokenize(name, texts)

    def encode(self, name: str, part: Part) -> Tensor:
        return self.model.encode(name, part)

    def combine(self, features: Features, present: Mapping[str, Tensor]) -> Tensor:
        return self.model.combine(features, present)

    def fuse(self, inputs: Inputs) -> Tensor:
        return self.model.fuse(inputs)

    def see(self, name: str, part: Part) -> Part:
        return self.model.see(name, part)

    def meet(self, seen: Inputs) -> Tensor:
        return self.model.meet(seen)

    def predict(self, fused: Tensor) -> Tensor:
        # Each answer passes here once, whatever view of the model asks.
        count = getattr(self._counts, "now", None)
        if count is not None and not is_repeated():
            count["queries"] += len(fused)
            count["gradients"] += len(fused) * fused.requires_grad
        return self.model.predict(fused)

    def unimodal_scores(self, features: Features) -> dict[str, Tensor] | None:
        return self.model.unimodal_scores(features)

    def weights(self, features: Features, present: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        return self.model.weights(features, present)
