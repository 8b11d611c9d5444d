"""What the scripts that train the demo models have in common: their options, and how weights are written."""

from __future__ import annotations

import argparse
from pathlib import Path

from torch import nn


def training_options(description: str | None, steps: int, learning_rate: float) -> argparse.ArgumentParser:
    """Return a parser of the options that every script has, with its defaults.

    :param description: The script's documentation, of which the first line is shown.
    """
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--learning-rate", type=float, default=learning_rate)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def write_weights(model: nn.Module, path: str | Path) -> None:
    """Write the weights of a model as safetensors, and say so."""
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    print(f"wrote {sum(p.numel() for p in model.parameters())} parameters to {path}")
