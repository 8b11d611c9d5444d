"""Fusion models whose texts are bound, and what they say of each image alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import TinyFusion, TinyJointFusion

from art_multimodal import FusionClassifier
from art_multimodal.models.fusion import FusionModel

TEXTS = ["a cat", "red", "a cat", "what is this?", "", "red"]
Y = np.array([0, 1, 2, 1, 0, 2])
both_models = pytest.mark.parametrize("model_class", [TinyFusion, TinyJointFusion])


def make(model_class: type[FusionModel] = TinyFusion, lr: float | None = None, **settings) -> FusionClassifier:
    model = model_class().eval()
    optimizer = None if lr is None else torch.optim.SGD(model.parameters(), lr=lr)
    return FusionClassifier(model, optimizer=optimizer, device_type="cpu", **settings)


def expected(model: FusionModel, images: np.ndarray, texts: list[str]) -> np.ndarray:
    """Every image alone with its text."""
    with torch.no_grad():
        rows = [model(torch.from_numpy(i)[None], model.tokenize([t])) for i, t in zip(images, texts, strict=True)]
    return torch.cat(rows).numpy()
