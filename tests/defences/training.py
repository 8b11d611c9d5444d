"""What the tests of training share: small models, samples, and a look at what a step was given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from several import OF_FUSIONS
from tiny import TinyEncoder
from torch import nn

from art_multimodal import ZeroShotClassifier
from art_multimodal.defences.trainer import METHODS, TrainingSettings
from art_multimodal.defences.trainer.embeddings import Embedder
from art_multimodal.defences.trainer.fusion.batches import SampleBatch
from art_multimodal.defences.trainer.fusion.learner import SampleLearner
from art_multimodal.defences.trainer.samples import Batch
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.pairs import image_text_pairs

#: Methods by what they train.
OF_DUAL_ENCODERS = [name for name, method in METHODS.items() if not (method.of_fusion or method.ablates)]
#: Of any fusion model; those of OF_FUSIONS ask for one that has what they need.
OF_FUSION = ["plain", "adversarial"]
#: Of one model alone.
OF_SKELETONS = "umurl"
#: Those that are told what to hide: of dual encoders, and of fusion models.
OF_MASKS = ("image-ablation", "ablation")
assert [name for name, method in METHODS.items() if method.ablates] == list(OF_MASKS)
assert {name for name, method in METHODS.items() if method.of_fusion} == {
    *(*OF_FUSION, *OF_FUSIONS, OF_SKELETONS),
    OF_MASKS[1],
}

NAMES = ("zero", "one", "two")
TEMPLATES = ("a photo of the handwritten digit {}.", "a scan of the number {}.")
CAPTIONS = (
    *("a photo of the handwritten digit zero.", "a scan of the number one.", "a large black number two"),
    *("a scan of the number one.", "the small white digit two", "a drawing of the number nine"),
)
#: Plain gradient descent with steps of length one: a step is minus the gradient.
PLAIN = {"optimizer": "sgd", "betas": (0.0, 0.0), "weight_decay": 0.0, "schedule": "constant", "learning_rate": 1.0}
STRONG = {"eps": 0.1, "eps_step": 0.05, "max_iter": 3}


class NormedEncoder(TinyEncoder):
    """A tiny encoder with batch normalisation in its image tower."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__(dropout=dropout)
        self.visual.insert(1, nn.BatchNorm1d(192))
        self.visual[1].running_var.fill_(0.7)


def classifier(model: TinyEncoder | None = None, templates=TEMPLATES, **settings: Any) -> ZeroShotClassifier:
    model = model or TinyEncoder(seed=3)
    return ZeroShotClassifier(model.eval(), NAMES, templates, device_type="cpu", **settings)


def retriever(model: TinyEncoder | None = None) -> ImageTextRetriever:
    return ImageTextRetriever((model or TinyEncoder(seed=3)).eval(), device_type="cpu")


def images(count: int = 6) -> np.ndarray:
    return np.random.default_rng(4).random((count, 3, 8, 8), dtype=np.float32)


def labels(count: int = 6) -> np.ndarray:
    return np.arange(count) % 3


def pairs() -> np.ndarray:
    return image_text_pairs(images(len(CAPTIONS)), CAPTIONS)


def settings(**changes: Any) -> TrainingSettings:
    return TrainingSettings(**{**STRONG, "learning_rate": 1e-3, **changes})


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def assert_equal_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def watch_attacks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Batch, torch.Tensor | None, tuple[str, ...] | None]]:
    """Collect the batches of steps to come with their adversarial images and texts."""
    seen: list[tuple[Batch, torch.Tensor | None, tuple[str, ...] | None]] = []
    attacked = Embedder.attacked

    def watched(self: Embedder, batch: Batch, generator: torch.Generator):
        found = attacked(self, batch, generator)
        seen.append((batch, *found))
        return found

    monkeypatch.setattr(Embedder, "attacked", watched)
    return seen


def watch_samples(monkeypatch: pytest.MonkeyPatch) -> list[tuple[SampleBatch, np.ndarray | None]]:
    """Collect the batches of steps to come of fusion models, with their attacked samples."""
    seen: list[tuple[SampleBatch, np.ndarray | None]] = []
    attacked = SampleLearner.attacked

    def watched(self: SampleLearner, batch: SampleBatch, generator: torch.Generator):
        found = attacked(self, batch, generator)
        seen.append((batch, found))
        return found

    monkeypatch.setattr(SampleLearner, "attacked", watched)
    return seen
