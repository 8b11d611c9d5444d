"""Towers that have seen which colours and which depths belong together, before any fusion learns its task.

Where each modality alone says nothing about the label, a fusion finds what connects them only after long, if at all.
As CLIP's, the towers learn it first, by the angles between their embeddings; all fusions then begin from the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from art_multimodal.models.families.modular.model import ModularModel
from art_multimodal.models.families.modular.towers import fitting_model

STEPS, LEARNING_RATE, WEIGHT_DECAY = 1000, 2e-3, 0.02


def matching(model: ModularModel, seed: int, width: int) -> None:
    """Give a model of ``demo:rgbd`` towers that tell which depths of a batch belong to which colours."""
    for name, weights in _matching(seed, width).items():
        model.towers[name].load_state_dict(weights)


@lru_cache(maxsize=1)
def _matching(seed: int, width: int) -> dict[str, dict[str, Tensor]]:
    from art_multimodal.demo.rgbd import SIZE
    from art_multimodal.demo.rgbd_data import RgbdData, patches
    from tools.demo_models.train_rgbd import BATCH, STRIDE, contrast, varied
    from tools.demo_models.training import train_model

    rng, data, found = np.random.default_rng(seed), RgbdData("train"), patches("train", STRIDE)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = fitting_model("late", data.modalities.values(), data.class_names, data.samples(), width=width)

        def loss_of_batch() -> Tensor:
            rows = rng.integers(len(found.places), size=BATCH)
            places = found.places[rows]
            parts = model.collate(varied(found, rows, rng))
            rgb, depth = (model.encode(name, parts[name]) for name in ("rgb", "depth"))
            return contrast(rgb, depth, torch.from_numpy((np.abs(places[:, None] - places[None]) >= SIZE).any(axis=2)))

        train_model(model, loss_of_batch, STEPS, LEARNING_RATE)
    return {name: tower.state_dict() for name, tower in model.towers.items()}


#: Gives towers a start: a model, a seed and the width of its embeddings.
Start = Callable[[ModularModel, int, int], None]
