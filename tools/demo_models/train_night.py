"""Train ``demo:night`` and write its weights; on one core about a minute each.

The exact command, from the root of the repository::

    python -m tools.demo_models.train_night --fusion all --seed 0

Samples are drawn anew in every step. Each image of each sample is missing now and then, and the model is told.
"""

from __future__ import annotations

import numpy as np
import torch

from art_multimodal.demo.night import NIGHT
from art_multimodal.demo.night_data import SCENES, NightData
from art_multimodal.models.families.modular.model import ModularModel
from art_multimodal.models.multimodal import Inputs
from tools.demo_models.train_views import with_some_missing
from tools.demo_models.training import accuracy, train_demo, train_model

BATCH = 50
#: Added to the seed, so that no sample of the test is drawn.
STREAM = 100


def train(fusion: str, steps: int, learning_rate: float, seed: int) -> ModularModel:
    """Return a trained model; equal arguments give equal weights on one kind of machine."""
    rng = np.random.default_rng((STREAM + seed, NIGHT.fusions.index(fusion)))
    torch.manual_seed(seed)
    model = NIGHT.new(fusion)

    def draw() -> tuple[Inputs, torch.Tensor]:
        x, labels, _ = SCENES.draw(BATCH, rng)
        return with_some_missing(model.collate(x), rng), torch.from_numpy(labels)

    loss = train_model(model, draw, steps, learning_rate)
    print(f"{fusion}: loss {loss:.3f}, held-out accuracy {accuracy(model.eval(), NightData()):.3f}", flush=True)
    return model


if __name__ == "__main__":
    train_demo(NIGHT, train, __doc__, steps=1500, learning_rate=3e-3)
