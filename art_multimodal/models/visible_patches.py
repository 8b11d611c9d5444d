"""Vision transformers on some of the patches of an image: hidden ones are not computed, and nothing attends to them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from art_multimodal.errors import InputError


@dataclass(frozen=True)
class PatchTower:
    """A vision transformer in parts, whose feature is the state of its class token.

    :param grid: How many patches there are down and across.
    :param convolution: Embeds patches that do not overlap.
    :param first: The class token with its position, ``[W]``.
    :param positions: Of the patches, row by row, ``[n, W]``.
    :param transform: Features ``[M, D]``, not normalised, of states ``[M, 1 + k, W]``, the class token first. The
        states after the first are a set: their order does not matter.
    """

    grid: tuple[int, int]
    convolution: nn.Conv2d
    first: Tensor
    positions: Tensor
    transform: Callable[[Tensor], Tensor]


def patch_grid(convolution: nn.Conv2d, size: tuple[int, int], positions: int) -> tuple[int, int] | None:
    """How many patches there are down and across; ``None`` where they are not known to be all that is embedded.

    :param size: Height and width of the images, in pixels.
    :param positions: How many positions of patches the tower has.
    """
    height, width = convolution.kernel_size
    grid = size[0] // height, size[1] // width
    return grid if grid[0] * grid[1] == positions else None


def encode_visible(tower: PatchTower, pixels: Tensor, tokens: Tensor) -> Tensor:
    """Features of images of which some patches are visible, as if the others did not exist.

    :param pixels: Preprocessed images ``[N, C, H, W]``.
    :param tokens: Numbers of the visible patches, ``[N, k]``, or ``[N, V, k]`` for ``V`` views of each image.
    :return: Shape ``[N, D]``, or ``[N, V, D]``.
    :raises InputError: If these are no patches of the images, or one stands twice in a view.
    """
    count = len(tower.positions)
    _check(tokens, len(pixels), count)
    height, width = tower.convolution.kernel_size
    patches = pixels.unfold(2, height, height).unfold(3, width, width)
    patches = patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    index = tokens.to(pixels.device).flatten(1)
    if index.shape[1] < count:
        # What no view shows is not embedded.
        states = _embedded(tower, _taken(patches, index))
    else:
        states = _taken(_embedded(tower, patches), index)
    states = states + tower.positions.to(states.dtype)[index]
    states = states.reshape(math.prod(tokens.shape[:-1]), tokens.shape[-1], states.shape[-1])
    first = tower.first.to(states.dtype).expand(len(states), 1, -1)
    features = tower.transform(torch.cat([first, states], dim=1))
    return features.reshape(*tokens.shape[:-1], features.shape[-1])


def _embedded(tower: PatchTower, patches: Tensor) -> Tensor:
    """States ``[N, k, W]`` of patches ``[N, k, C * height * width]``, without their positions."""
    return F.linear(patches, tower.convolution.weight.flatten(1), tower.convolution.bias)


def _taken(values: Tensor, index: Tensor) -> Tensor:
    """Of ``[N, n, W]`` those that are named, ``[N, k, W]``."""
    return values.take_along_dim(index[:, :, None], dim=1)


def _check(tokens: Tensor, images: int, count: int) -> None:
    if tokens.dtype != torch.long or tokens.ndim not in (2, 3) or len(tokens) != images:
        raise InputError(
            f"tokens are whole numbers (torch.long) of shape [{images}, k] or [{images}, views, k], not {tokens.dtype} "
            f"of shape {list(tokens.shape)}."
        )
    if not tokens.numel():
        return
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= count:
        raise InputError(f"tokens are numbers of patches, from 0 to {count - 1}; these lie in [{low}, {high}].")
    ordered = tokens.sort(dim=-1).values
    if bool((ordered[..., 1:] == ordered[..., :-1]).any()):
        raise InputError("A patch stands twice among the tokens of a view. Name each visible patch once.")
