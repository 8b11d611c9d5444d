"""Gradients with respect to images that lie in front of ART's preprocessing defences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from art.estimators.pytorch import PyTorchEstimator
from torch import Tensor


def preprocessed(estimator: PyTorchEstimator, images: Tensor) -> Tensor:
    """Apply ART's preprocessing defences; differentiable where all of them are torch modules."""
    if estimator.all_framework_preprocessing:
        return estimator._apply_preprocessing(images, y=None, fit=False, no_grad=False)[0]
    inputs, _ = estimator._apply_preprocessing(images.detach().cpu().numpy(), y=None, fit=False)
    return torch.from_numpy(inputs).to(images)


def score_and_gradient(
    estimator: PyTorchEstimator, images: Tensor, objective: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Return scores of images, and the gradient with respect to them of the sum of what is raised.

    :param images: Shape ``[N, C, H, W]``, in front of the defences.
    :param objective: Maps what the model sees, behind the defences, to what is raised and to scores.
    :return: The scores, detached, and a gradient of the images' shape.
    """
    if estimator.all_framework_preprocessing:
        images = images.detach().requires_grad_(True)
        raised, score = objective(preprocessed(estimator, images))
        return score.detach(), torch.autograd.grad(raised.sum(), images)[0]
    inputs = preprocessed(estimator, images).detach().requires_grad_(True)
    raised, score = objective(inputs)
    gradient = torch.autograd.grad(raised.sum(), inputs)[0]
    # numpy defences answer with the gradient that they define for themselves (straight-through, mostly).
    through = estimator._apply_preprocessing_gradient(images.detach().cpu().numpy(), gradient.cpu().numpy())
    return score.detach(), torch.from_numpy(np.ascontiguousarray(through)).to(images)
