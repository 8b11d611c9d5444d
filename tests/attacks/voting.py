"""Tiny models over two tables with linear towers, in double precision: everything about them is a short formula."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from art_multimodal import FusionClassifier
from art_multimodal.modalities import table
from art_multimodal.models.families.modular.model import ModularModel, Tower
from art_multimodal.sample_arrays import samples

NAMES, WIDTHS, WIDTH, CLASSES = ("a", "b"), {"a": 3, "b": 5}, 8, ("x", "y", "z")


def model(fusion: str, seed: int = 0, **options) -> ModularModel:
    """Linear towers without an activation; everything is drawn anew, and an equilibrium contracts."""
    towers = [Tower(table(name, WIDTHS[name], (-1.0, 1.0)), nn.Linear(WIDTHS[name], WIDTH), WIDTH) for name in NAMES]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = ModularModel(towers, fusion, CLASSES, **options)
        for name, weights in made.named_parameters():
            if "norm" not in name:
                nn.init.normal_(weights, std=0.15 if fusion == "deq" and "fusion" in name else 0.6)
            elif fusion == "deq" and name.endswith("weight") and "norms.0" not in name:
                weights.data.mul_(0.5)
    return made.double().eval()


def classifier(fusion: str, seed: int = 0, **options) -> FusionClassifier:
    return FusionClassifier(model(fusion, seed, **options), device_type="cpu")


def drawn(count: int = 7, seed: int = 1, missing: tuple[int, ...] = ()) -> np.ndarray:
    """Samples inside their range; of some the modality ``a`` is missing."""
    generator = np.random.default_rng(seed)
    fields = {name: generator.uniform(-0.8, 0.8, (count, width)).astype(np.float32) for name, width in WIDTHS.items()}
    fields["a"][list(missing)] = np.nan
    return samples(**fields)
