"""ART's preprocessors of images as functions of tensors that gradients pass through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from art.defences.preprocessor import SpatialSmoothing
from art.defences.preprocessor.preprocessor import Preprocessor, PreprocessorPyTorch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor


def straight_through(preprocessor: Preprocessor) -> Callable[[Tensor], Tensor]:
    """Return what a preprocessor does to images ``[N, C, H, W]``, for a place inside of a model.

    ART chains several preprocessors only where all are written in torch. Here any of them follow each other.

    Gradients are those that the preprocessor has. One written in torch is differentiated, or where it says so its
    ``estimate_forward``; of one in numpy the gradient is what its ``estimate_gradient`` returns, mostly the one behind
    it unchanged (backward pass differentiable approximation).

    | Paper link: https://arxiv.org/abs/1802.00420 (BPDA)
    """
    if isinstance(preprocessor, PreprocessorPyTorch):
        return _InTorch(preprocessor)
    return _InNumpy(preprocessor)


class MedianFilter(SpatialSmoothing):
    """ART's spatial smoothing with the gradient that a median has, where ART lets gradients through unchanged.

    Each output is one of the pixels in its window, so its gradient goes to that pixel. Attacks that follow it are much
    stronger. ART's version in torch has it, too, but needs kornia.
    """

    def estimate_gradient(self, x: np.ndarray, grad: np.ndarray) -> np.ndarray:
        count, channels, height, width = x.shape
        before, after = self.window_size // 2, (self.window_size - 1) // 2
        pixels = np.pad(np.arange(height * width).reshape(height, width), (before, after), mode="symmetric")
        windows = sliding_window_view(pixels, (self.window_size, self.window_size)).reshape(height * width, -1)
        flat, behind = np.clip(x, 0, 1).reshape(count * channels, -1), grad.reshape(count * channels, -1)
        out, middle = np.zeros_like(behind), windows.shape[1] // 2
        # One at a time: all windows of a batch of photos do not fit into memory.
        for values, row, target in zip(flat, behind, out, strict=True):
            chosen = np.argpartition(values[windows], middle, axis=1)[:, middle]
            np.add.at(target, np.take_along_axis(windows, chosen[:, None], axis=1)[:, 0], row)
        return out.reshape(x.shape)


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
    def __init__(self, preprocessor: Preprocessor) -> None:
        self.preprocessor = preprocessor

    def __call__(self, images: Tensor) -> Tensor:
        return _Estimated.apply(images, self.preprocessor)


class _Estimated(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, images: Tensor, preprocessor: Preprocessor) -> Tensor:
        context.save_for_backward(images)
        context.preprocessor = preprocessor
        # Some refuse what leaves the box, as images do on an attack's way.
        return _as_tensor(preprocessor(_as_numpy(images).clip(0, 1))[0], images)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (images,) = context.saved_tensors
        behind = _as_numpy(gradients[0])
        return _as_tensor(context.preprocessor.estimate_gradient(_as_numpy(images), behind), gradients[0]), None


def _as_numpy(tensor: Tensor) -> np.ndarray:
    # Copied: some preprocessors write into what they are given.
    return tensor.detach().float().cpu().numpy().copy()


def _as_tensor(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(like)
