"""What the scripts that train the demo models have in common: their options, and how weights are written."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from art_multimodal.datasets import LabelledSamples
from art_multimodal.demo.modular import ImagesDemo
from art_multimodal.demo.packed import save_packed
from art_multimodal.models.families.modular.model import ModularModel


def training_options(description: str | None, steps: int, learning_rate: float) -> argparse.ArgumentParser:
    """Return a parser of the options that every script has, with its defaults.

    :param description: The script's documentation, of which the first line is shown.
    """
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--learning-rate", type=float, default=learning_rate)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def train_model(model: ModularModel, loss_of_batch: Callable[[], Tensor], steps: int, learning_rate: float) -> float:
    """Train a model, with a rate that falls to nothing; return the last loss.

    :param loss_of_batch: Draws a batch and returns the model's loss on it.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    loss = torch.zeros(())
    for _ in range(steps):
        loss = loss_of_batch()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return loss.item()


@torch.no_grad()
def accuracy(model: ModularModel, data: LabelledSamples) -> float:
    """Share of right answers."""
    return float((model(model.collate(data.samples())).argmax(dim=1).numpy() == data.labels).mean())


def rounded(tensor: Tensor) -> Tensor:
    """Float32 numbers to 16 binary digits, with relative errors of at most ``2**-16``; others as they are."""
    if tensor.dtype != torch.float32:
        return tensor.contiguous()
    bits = tensor.detach().contiguous().view(torch.int32)
    return torch.where(tensor.isfinite(), (bits + 0x80) & ~0xFF, bits).view(torch.float32)


def write_weights(model: nn.Module, path: str | Path) -> None:
    """Write the weights of a model as safetensors, and say so.

    They are rounded and their bytes sorted, so that a wheel packs them into less than two thirds of their size.
    """
    save_packed({name: rounded(tensor) for name, tensor in model.state_dict().items()}, path)
    print(f"wrote {sum(p.numel() for p in model.parameters())} parameters to {path}")


def train_demo(
    demo: ImagesDemo,
    train: Callable[[str, int, float, int], ModularModel],
    description: str | None,
    steps: int,
    learning_rate: float,
) -> None:
    """Read the options, train the models of a demo and write their weights.

    :param train: Of a fusion, steps, a learning rate and a seed makes a trained model.
    :param steps: Unless others are given.
    """
    parser = training_options(description, steps, learning_rate)
    parser.add_argument("--fusion", choices=("all", *demo.fusions), default="all")
    parser.add_argument("--out", help="another file than the one that is shipped; for one fusion")
    arguments = parser.parse_args()
    if arguments.fusion == "all" and arguments.out is not None:
        parser.error("--out needs one --fusion")
    if arguments.steps < 1:
        parser.error("--steps must be at least 1")
    torch.set_num_threads(1)
    for fusion in demo.fusions if arguments.fusion == "all" else (arguments.fusion,):
        model = train(fusion, arguments.steps, arguments.learning_rate, arguments.seed)
        write_weights(model, arguments.out or demo.weights_of(fusion))
