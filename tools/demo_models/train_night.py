"""Train ``demo:night`` and write its weights; on one core about a minute each.

The exact command, from the root of the repository::

    python -m tools.demo_models.train_night --fusion all --seed 0

Samples are drawn once, and varied in every step as the scenes allow: mirrored, with channels exchanged, warm for cold.
Each image of each sample is missing now and then, and the model is told.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from art_multimodal.demo.night import NIGHT
from art_multimodal.demo.night_data import SCENES, NightData
from art_multimodal.models.families.modular.model import ModularModel
from art_multimodal.sample_arrays import samples
from tools.demo_models.train_views import with_some_missing
from tools.demo_models.training import accuracy, train_demo, train_model

BATCH, DRAWN = 64, 8000
#: Added to the seed, so that the samples are others than those of the data.
STREAM = 100


def train(fusion: str, steps: int, learning_rate: float, seed: int) -> ModularModel:
    """Return a trained model; equal arguments give equal weights on one kind of machine."""
    rng = np.random.default_rng((STREAM + seed, NIGHT.fusions.index(fusion)))
    torch.manual_seed(seed)
    model = NIGHT.new(fusion)
    x, labels, _ = SCENES.draw(DRAWN, rng)

    def loss_of_batch() -> torch.Tensor:
        rows = rng.integers(DRAWN, size=BATCH)
        rgb, thermal = x["rgb"][rows][:, rng.permutation(3)], x["thermal"][rows]
        mirrored, colder = (rng.random((2, BATCH)) < 0.5)[..., None, None, None]
        rgb, thermal = (np.where(mirrored, one[..., ::-1], one) for one in (rgb, thermal))
        varied = samples(rgb=rgb, thermal=np.where(colder, 1 - thermal, thermal))
        return F.cross_entropy(model(with_some_missing(model.collate(varied), rng)), torch.from_numpy(labels[rows]))

    loss = train_model(model, loss_of_batch, steps, learning_rate)
    print(f"{fusion}: loss {loss:.3f}, held-out accuracy {accuracy(model.eval(), NightData()):.3f}", flush=True)
    return model


if __name__ == "__main__":
    train_demo(NIGHT, train, __doc__, steps=1500, learning_rate=3e-3)
