"""Vision transformers layer by layer: for what adds states to those of an image, or looks at them on their way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LayeredImages:
    """An image tower in parts, whose feature is made of the states of an image: ``[N, T, W]`` in each layer.

    :param embed: First states of preprocessed images ``[N, C, H, W]``.
    :param layers: Each makes states of states; more than ``T`` of them are welcome.
    :param project: Features ``[N, D]``, not normalised, of the image's own last states.
    """

    embed: Callable[[Tensor], Tensor]
    layers: Sequence[Callable[[Tensor], Tensor]]
    project: Callable[[Tensor], Tensor]
