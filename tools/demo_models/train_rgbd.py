"""Train ``demo:rgbd`` and write its weights; on one core some two minutes each. Needs scikit-image.

The exact command, from the root of the repository::

    python -m tools.demo_models.train_rgbd --fusion all --seed 0

In every step half of the patches of colours stand beside their own depth, and half beside that of another place, drawn
anew; pairs are mirrored by chance, and colours made brighter or darker.
"""

from __future__ import annotations

import numpy as np
import torch

from art_multimodal.demo.rgbd import RGBD, SIZE
from art_multimodal.demo.rgbd_data import RgbdData, patches
from art_multimodal.models.families.modular.model import ModularModel
from art_multimodal.models.multimodal import Inputs
from art_multimodal.sample_arrays import samples
from tools.demo_models.training import accuracy, train_demo, train_model

BATCH = 64
#: Pixels between the patches that are learnt from.
STRIDE = 2


def train(fusion: str, steps: int, learning_rate: float, seed: int) -> ModularModel:
    """Return a trained model; equal arguments give equal weights on one kind of machine."""
    rng = np.random.default_rng((seed, RGBD.fusions.index(fusion)))
    torch.manual_seed(seed)
    model, found = RGBD.new(fusion), patches("train", STRIDE)

    def draw() -> tuple[Inputs, torch.Tensor]:
        seen, other = rng.integers(len(found.places), size=(2, BATCH))
        far = (np.abs(found.places[seen] - found.places[other]) >= SIZE).any(axis=1)
        same = (rng.random(BATCH) < 0.5) | ~far
        rgb, depth = found.rgb[seen], found.depth[np.where(same, seen, other)]
        mirrored = (rng.random(BATCH) < 0.5)[:, None, None, None]
        rgb, depth = (np.where(mirrored, one[..., ::-1], one) for one in (rgb, depth))
        rgb = (rgb * rng.uniform(0.8, 1.2, (BATCH, 1, 1, 1))).clip(0, 1)
        return model.collate(samples(rgb=rgb, depth=depth)), torch.from_numpy(same.astype(np.int64))

    loss = train_model(model, draw, steps, learning_rate)
    print(f"{fusion}: loss {loss:.3f}, held-out accuracy {accuracy(model.eval(), RgbdData()):.3f}", flush=True)
    return model


if __name__ == "__main__":
    train_demo(RGBD, train, __doc__, steps=1500, learning_rate=3e-3)
