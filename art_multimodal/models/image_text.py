"""A fusion model of image-text pairs, seen as a model over the modalities image and text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from art_multimodal.models.fusion import FusionModel, Tokens
from art_multimodal.models.multimodal import Features, Inputs, MultimodalModel, Part


class ImageText(MultimodalModel):
    """Present a :class:`FusionModel` as a :class:`MultimodalModel`; it shares the model and has no weights of its own.

    :param model: The fusion model.
    """

    takes_missing = False

    def __init__(self, model: FusionModel) -> None:
        super().__init__(list(model.modalities.values()), model.class_names)
        self.model = model

    @property
    def mode_changes(self) -> int:
        return self.model.mode_changes

    @property
    def dtype(self) -> torch.dtype:
        """That of images: the model inside casts what comes out of its preprocessing."""
        return torch.float32

    @property
    def separate_towers(self) -> bool:
        return self.model.separate_towers

    def numbers(self, name: str, values: Tensor, lengths: Tensor | None = None) -> Part:
        """Images as they are: the model casts them itself, behind the resize, and NaN is a fault in one."""
        return Part(values, torch.ones(len(values), dtype=torch.bool, device=values.device))

    def tokenize(self, name: str, texts: Sequence[str]) -> Tokens:
        return self.model.tokenize(texts)

    def encode(self, name: str, part: Part) -> Tensor:
        if name == "image":
            assert isinstance(part.values, Tensor)
            return self.model.encode_image(part.values)
        return self.model.encode_text(part.values)

    def combine(self, features: Features, present: Mapping[str, Tensor]) -> Tensor:
        return self.model.join(features["image"], features["text"])

    def fuse(self, inputs: Inputs) -> Tensor:
        if self.separate_towers:
            return super().fuse(inputs)
        images = inputs["image"].values
        assert isinstance(images, torch.Tensor)
        return self.model.fuse(images, inputs["text"].values)

    def forward(self, inputs: Inputs) -> Tensor:
        images = inputs["image"].values
        assert isinstance(images, torch.Tensor)
        return self.model(images, inputs["text"].values)

    def predict(self, fused: Tensor) -> Tensor:
        return self.model.predict(fused)
