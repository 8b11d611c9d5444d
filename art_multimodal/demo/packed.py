"""How the weights of the embedded models are kept, so that a wheel packs them small. *Not public.*

A file of safetensors whose tensors have a first axis more: the bytes of each number, the most significant first. Bytes
that are alike then lie together, and those that are zero in all numbers, since the weights were rounded, are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_SIZE = 4  # bytes of a float32


def save_packed(tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Write tensors of float32; :func:`load_packed` gives back every bit of them.

    >>> save_packed({"bias": torch.tensor([0.5, -0.0])}, "packed.safetensors")
    >>> load_packed("packed.safetensors")
    {'bias': tensor([0.5000, -0.0000])}

    :param path: Of the file, which is replaced.
    """
    from safetensors.numpy import save_file

    save_file({name: _packed(tensor.detach().cpu().numpy()) for name, tensor in tensors.items()}, path)


def load_packed(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a file that :func:`save_packed` has written."""
    from safetensors.numpy import load_file

    return {name: torch.from_numpy(_unpacked(found)) for name, found in load_file(path).items()}


def _packed(numbers: np.ndarray) -> np.ndarray:
    if numbers.dtype != np.float32:
        raise TypeError(f"only float32 is packed, and this is {numbers.dtype}")
    # Behind all other axes, from the least significant byte on.
    parts = np.ascontiguousarray(numbers, "<f4").reshape(*numbers.shape, 1).view(np.uint8)
    used = max((place + 1 for place in range(_SIZE) if parts[..., _SIZE - 1 - place].any()), default=1)
    return np.ascontiguousarray(np.moveaxis(parts[..., ::-1][..., :used], -1, 0))


def _unpacked(kept: np.ndarray) -> np.ndarray:
    parts = np.zeros((*kept.shape[1:], _SIZE), np.uint8)
    parts[..., _SIZE - len(kept) :] = np.moveaxis(kept[::-1], 0, -1)
    return parts.view("<f4")[..., 0].astype(np.float32)
