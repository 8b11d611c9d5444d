"""Pairs, classifiers and plainly computed scores for the tests of FusionClassifier."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import TinyFusion, TinyJointFusion

from art_multimodal import FusionClassifier, image_text_pairs
from art_multimodal.models.fusion import FusionModel

TEXTS = ["a cat", "red", "a cat", "what is this, and why?", "", "red", "a cat"]
Y = np.array([0, 1, 2, 1, 0, 2, 2])
both_models = pytest.mark.parametrize("model_class", [TinyFusion, TinyJointFusion])


def make_pairs(size: tuple[int, int] = (8, 8)) -> np.ndarray:
    images = np.random.default_rng(1).random((len(TEXTS), 3, *size), dtype=np.float32)
    return image_text_pairs(images, TEXTS, allow_empty=True)


def make(model_class: type[FusionModel] = TinyFusion, lr: float | None = None, **settings) -> FusionClassifier:
    model = model_class().eval()
    optimizer = None if lr is None else torch.optim.Adam(model.parameters(), lr=lr)
    return FusionClassifier(model, optimizer=optimizer, device_type="cpu", **settings)


def scores_of(model: FusionModel, image: np.ndarray | torch.Tensor, text: str) -> torch.Tensor:
    """The model on one pair alone."""
    return model(torch.as_tensor(image)[None], model.tokenize([text]))[0]


def expected_scores(model: FusionModel, pairs: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return torch.stack([scores_of(model, pair["image"].copy(), pair["text"]) for pair in pairs]).numpy()
