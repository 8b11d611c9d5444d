"""What tests of training fusions share: small models over an image and two tables, and their samples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from art_multimodal import FusionClassifier
from art_multimodal.defences.trainer import (
    TrainingSettings,
)
from art_multimodal.modalities import image, table
from art_multimodal.models.families.modular.model import ModularModel, Tower
from art_multimodal.sample_arrays import samples

from .training import OF_FUSIONS, PLAIN, weights

WIDTH, COUNT = 6, 12


CLASSES = ("one", "two", "three")


Y = np.arange(COUNT) % 3


EPS = {"lab": 0.1, "pix": 0.05}


every_method = pytest.mark.parametrize("method", OF_FUSIONS)


def model(fusion: str = "late", seed: int = 0, dtype: torch.dtype = torch.float64, width: int = WIDTH) -> ModularModel:
    torch.manual_seed(seed)
    pix = nn.Sequential(nn.Flatten(), nn.Linear(16, WIDTH), nn.Tanh())
    lab, gas = (nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, out)) for out in (WIDTH, width))
    towers = [Tower(image("pix", 1, 4, 4), pix, WIDTH), Tower(table("lab", 4), lab, WIDTH)]
    return ModularModel([*towers, Tower(table("gas", 4), gas, width)], fusion, CLASSES).to(dtype).eval()


def data(count: int = COUNT) -> np.ndarray:
    rng = np.random.default_rng(5)
    labels = np.arange(count) % 3
    lab = 0.6 * rng.random((count, 4)) + 0.1 * labels[:, None]
    gas = 0.6 * rng.random((count, 4)) + 0.1 * (2 - labels[:, None])
    pix = 0.6 * rng.random((count, 1, 4, 4)) + 0.1 * labels[:, None, None, None]
    return samples(**{name: of.astype(np.float32) for name, of in (("pix", pix), ("lab", lab), ("gas", gas))})


def classifier(fusion: str = "late", **options) -> FusionClassifier:
    return FusionClassifier(model(fusion, **options), device_type="cpu")


def plain(**changes) -> TrainingSettings:
    return TrainingSettings(**{**PLAIN, "learning_rate": 0.1, "max_iter": 2, **changes})


def tensors(x: np.ndarray) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(x[name].copy()).double() for name in x.dtype.names}


def own_scores(of: ModularModel, x: np.ndarray) -> dict[str, torch.Tensor]:
    features = {name: of.tower(name).module(values) for name, values in tensors(x).items()}
    return of.fusion.unimodal_scores(features)


def watch_steps(of: FusionClassifier) -> tuple[list[set[str]], Callable[[object], None]]:
    """The names of what each step to come changes in a model's state, and the callback that collects them."""
    seen: list[set[str]] = []
    before = weights(of.multimodal)

    def taken(record: object) -> None:
        nonlocal before
        now = weights(of.multimodal)
        seen.append({name for name in now if not torch.equal(now[name], before[name])})
        before = now

    return seen, taken
