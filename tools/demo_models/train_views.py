"""Train ``demo:views`` and write its weights; on one core a few seconds each.

The exact command, from the root of the repository::

    python -m tools.demo_models.train_views --fusion all --seed 0

In training each view of each sample is missing now and then, and the model is told, so that it learns to do without.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F

from art_multimodal.demo.views import FUSIONS, new_views, weights_of
from art_multimodal.demo.views_data import ViewsData
from art_multimodal.models.families.modular.model import ModularModel
from art_multimodal.models.multimodal import Inputs
from tools.demo_models.training import accuracy, train_model, training_options, write_weights

BATCH = 50
#: Share of the samples that lack a view in training.
MISSING = 0.15


def with_some_missing(inputs: Inputs, rng: np.random.Generator, share: float = MISSING) -> Inputs:
    """Let views of samples be missing, each with a probability of ``share``, but never all of a sample's."""
    count = len(next(iter(inputs.values())))
    there = rng.random((len(inputs), count)) >= share
    there[rng.integers(len(inputs), size=count), np.arange(count)] = True
    return {
        name: replace(part, present=part.present & torch.from_numpy(row))
        for (name, part), row in zip(inputs.items(), there, strict=True)
    }


def train(fusion: str, steps: int, learning_rate: float, seed: int) -> ModularModel:
    """Return a trained model; equal arguments give equal weights on one kind of machine."""
    rng = np.random.default_rng((seed, FUSIONS.index(fusion)))
    torch.manual_seed(seed)
    model, data = new_views(fusion), ViewsData("train")
    inputs, labels = model.collate(data.samples()), torch.from_numpy(data.labels)

    def loss_of_batch() -> torch.Tensor:
        rows = torch.from_numpy(rng.choice(len(labels), BATCH, replace=False))
        batch = with_some_missing({name: part.take(rows) for name, part in inputs.items()}, rng)
        return F.cross_entropy(model(batch), labels[rows])

    loss = train_model(model, loss_of_batch, steps, learning_rate)
    print(f"{fusion}: loss {loss:.3f}, held-out accuracy {accuracy(model.eval(), ViewsData()):.3f}", flush=True)
    return model


def main() -> None:
    parser = training_options(__doc__, steps=1500, learning_rate=3e-3)
    parser.add_argument("--fusion", choices=("all", *FUSIONS), default="all")
    parser.add_argument("--out", help="another file than the one that is shipped; for one fusion")
    arguments = parser.parse_args()
    if arguments.fusion == "all" and arguments.out is not None:
        parser.error("--out needs one --fusion")
    if arguments.steps < 1:
        parser.error("--steps must be at least 1")
    torch.set_num_threads(1)
    for fusion in FUSIONS if arguments.fusion == "all" else (arguments.fusion,):
        model = train(fusion, arguments.steps, arguments.learning_rate, arguments.seed)
        write_weights(model, arguments.out or weights_of(fusion))


if __name__ == "__main__":
    main()
