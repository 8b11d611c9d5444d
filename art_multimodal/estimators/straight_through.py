"""ART's preprocessors of images as functions of tensors that gradients pass through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from art.defences.preprocessor.preprocessor import Preprocessor, PreprocessorPyTorch
from torch import Tensor


def straight_through(
    preprocessor: Preprocessor, clip_values: tuple[Any, Any] = (0.0, 1.0)
) -> Callable[[Tensor], Tensor]:
    """Return what a preprocessor does to images ``[N, C, H, W]``, or other numbers, for a place inside of a model.

    ART chains several preprocessors only where all are written in torch. Here any of them follow each other.

    Gradients are those that the preprocessor has. One written in torch is differentiated, or where it says so its
    ``estimate_forward``; of one in numpy the gradient is what its ``estimate_gradient`` returns, in ART mostly the one
    behind it unchanged (backward pass differentiable approximation).

    | Paper link: https://arxiv.org/abs/1802.00420 (BPDA)

    >>> from art.defences.preprocessor import FeatureSqueezing
    >>> squeeze = straight_through(FeatureSqueezing(clip_values=(0.0, 1.0), bit_depth=1))
    >>> grey = torch.full((1, 3, 2, 2), 0.6, requires_grad=True)
    >>> squeeze(grey).sum().backward()
    >>> squeeze(grey).unique().tolist(), grey.grad.unique().tolist()
    ([1.0], [1.0])

    :param clip_values: What a preprocessor in numpy is given lies between these, numbers or arrays.
    """
    if isinstance(preprocessor, PreprocessorPyTorch):
        return _InTorch(preprocessor)
    return _InNumpy(preprocessor, clip_values)


class _InTorch:
    def __init__(self, preprocessor: PreprocessorPyTorch) -> None:
        self.preprocessor = preprocessor

    def __call__(self, images: Tensor) -> Tensor:
        if type(self.preprocessor).estimate_forward is PreprocessorPyTorch.estimate_forward:
            return self.preprocessor.forward(images)[0]
        with torch.no_grad():
            value = self.preprocessor.forward(images)[0]
        estimate = self.preprocessor.estimate_forward(images)
        return estimate + (value - estimate).detach()


class _InNumpy:
    def __init__(self, preprocessor: Preprocessor, clip_values: tuple[Any, Any]) -> None:
        self.preprocessor, self.clip_values = preprocessor, clip_values

    def __call__(self, images: Tensor) -> Tensor:
        return _Estimated.apply(images, self.preprocessor, self.clip_values)


class _Estimated(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, images: Tensor, preprocessor: Preprocessor, clip_values: tuple[Any, Any]) -> Tensor:
        context.save_for_backward(images)
        context.preprocessor = preprocessor
        # Some refuse what leaves the box, as images do on an attack's way.
        return _as_tensor(preprocessor(_as_numpy(images).clip(*clip_values))[0], images)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (images,) = context.saved_tensors
        behind = _as_numpy(gradients[0])
        return _as_tensor(context.preprocessor.estimate_gradient(_as_numpy(images), behind), gradients[0]), None, None


def _as_numpy(tensor: Tensor) -> np.ndarray:
    # Copied: some preprocessors write into what they are given.
    return tensor.detach().float().cpu().numpy().copy()


def _as_tensor(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(like)
