"""Train ``demo:rgbd`` and write its weights; on one core some two minutes each. Needs scikit-image.

The exact command, from the root of the repository::

    python -m tools.demo_models.train_rgbd --fusion all --seed 0

Of each batch of places every patch of colours stands beside its own depth, and beside that of another place. Beside
their task the towers learn to tell by the angle of their embeddings which depths of the batch belong to which colours,
and the other way round; the fusion alone finds that much later. Places are mirrored by chance, colours made brighter or
darker, and all of a patch brought a little nearer or farther.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from art_multimodal.demo.rgbd import RGBD, SIZE
from art_multimodal.demo.rgbd_data import Patches, RgbdData, patches
from art_multimodal.models.families.modular.model import ModularModel
from art_multimodal.sample_arrays import samples
from tools.demo_models.training import accuracy, train_demo, train_model

BATCH = 64
#: Pixels between the patches that are learnt from.
STRIDE = 2
#: Of the angles between embeddings.
TEMPERATURE = 0.1


def train(fusion: str, steps: int, learning_rate: float, seed: int) -> ModularModel:
    """Return a trained model; equal arguments give equal weights on one kind of machine."""
    rng = np.random.default_rng((seed, RGBD.fusions.index(fusion)))
    torch.manual_seed(seed)
    model, found = RGBD.new(fusion), patches("train", STRIDE)

    def loss_of_batch() -> Tensor:
        rows = rng.integers(len(found.places), size=BATCH)
        places = found.places[rows]
        parts = model.collate(varied(found, rows, rng))
        rgb, depth = (model.encode(name, parts[name]) for name in ("rgb", "depth"))
        apart = torch.from_numpy((np.abs(places[:, None] - places[None]) >= SIZE).any(axis=2))
        other = (torch.arange(BATCH) + int(rng.integers(1, BATCH))) % BATCH
        counted = torch.cat([torch.ones(BATCH, dtype=torch.bool), apart[torch.arange(BATCH), other]])
        features = {"rgb": torch.cat([rgb, rgb]), "depth": torch.cat([depth, depth[other]])}
        present = {name: torch.ones(2 * BATCH, dtype=torch.bool) for name in features}
        labels = torch.arange(2).flip(0).repeat_interleave(BATCH)
        scores = model.predict(model.combine(features, present))
        return F.cross_entropy(scores[counted], labels[counted]) + contrast(rgb, depth, apart)

    loss = train_model(model, loss_of_batch, steps, learning_rate)
    print(f"{fusion}: loss {loss:.3f}, held-out accuracy {accuracy(model.eval(), RgbdData()):.3f}", flush=True)
    return model


def varied(found: Patches, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Samples of places, as they would look mirrored, in other light, and from a little nearer or farther."""
    mirrored = (rng.random(len(rows)) < 0.5)[:, None, None, None]
    rgb, depth = (np.where(mirrored, one[rows][..., ::-1], one[rows]) for one in (found.rgb, found.depth))
    light = rng.uniform(0.7, 1.3, (len(rows), 1, 1, 1)) * rng.uniform(0.9, 1.1, (len(rows), 3, 1, 1))
    nearer = rng.uniform(-0.03, 0.03, (len(rows), 1, 1, 1))
    # What was not measured stays so.
    return samples(rgb=(rgb * light).clip(0, 1), depth=np.where(depth > 0, (depth + nearer).clip(0, 1), 0))


def contrast(rgb: Tensor, depth: Tensor, apart: Tensor) -> Tensor:
    """How badly the angles tell which of a batch's places belong together, both ways.

    :param rgb: Embeddings ``[N, D]``.
    :param depth: Those of the same places.
    :param apart: Which places share no pixel, ``[N, N]``; of the others only a place itself counts.
    """
    cosines = F.normalize(rgb, dim=1) @ F.normalize(depth, dim=1).T / TEMPERATURE
    same = torch.eye(len(rgb), dtype=torch.bool)
    cosines = cosines.masked_fill(~(apart | same), -torch.inf)
    own = torch.arange(len(rgb))
    return (F.cross_entropy(cosines, own) + F.cross_entropy(cosines.T, own)) / 2


if __name__ == "__main__":
    train_demo(RGBD, train, __doc__, steps=1000, learning_rate=2e-3)
