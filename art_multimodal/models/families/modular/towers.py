"""Towers that fit the modalities of data: small ones, to begin with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from art_multimodal.errors import InputError
from art_multimodal.modalities.modality import Modality
from art_multimodal.models.families.modular.model import ModularModel, Tower
from art_multimodal.models.families.modular.steps import EachStep
from art_multimodal.models.fusions import FUSIONS
from art_multimodal.models.fusions.fusion import mlp

#: Convolutions halve an image until it is so small, at most so often.
_SMALL, _HALVINGS = 8, 4
_CHANNELS = (16, 32, 64, 64)


def fitting_model(
    fusion: str,
    modalities: Iterable[Modality],
    class_names: Sequence[str],
    x: np.ndarray | None = None,
    width: int = 32,
    hidden: int = 64,
    **options: Any,
) -> ModularModel:
    """Return an untrained model with a small tower for each modality.

    An image gets convolutions, a table a perceptron, a sequence a perceptron on each step and their mean (for a fusion
    that takes steps no mean). The first layer brings each channel or column to mean 0 and variance 1, as they have in
    ``x``; its numbers are fixed. Weights are drawn by torch's global generator.

    >>> model = fitting_model("gated", sensors.modalities.values(), views.class_names, x, width=8)
    >>> FusionClassifier(model).predict(x).shape
    (8, 10)

    :param fusion: Name of a fusion of the registry.
    :param modalities: What the samples consist of, in the order of the fields; images of known size.
    :param class_names: Names of the classes.
    :param x: Samples to train on, ``(N,)``; without them the middle and a quarter of each range count.
    :param width: Of every embedding.
    :param hidden: Width of the perceptrons' hidden layer.
    :param options: Of the fusion.
    :raises InputError: For a fusion or an option that is unknown, or a modality of texts or of unknown size.
    """
    steps = FUSIONS[fusion].takes_steps
    towers = [fitting_tower(one, None if x is None else x[one.name], width, hidden, steps) for one in modalities]
    return ModularModel(towers, fusion, class_names, **options).eval()


def fitting_tower(
    modality: Modality, field: np.ndarray | None = None, width: int = 32, hidden: int = 64, steps: bool = False
) -> Tower:
    """Return an untrained tower: see :func:`fitting_model`.

    >>> fitting_tower(sensors.modalities["fou"], x["fou"], width=8).width
    8

    :param field: The modality's field of samples to train on.
    :param steps: Whether a sequence gets an embedding for each step.
    :raises InputError: For texts, or where the size is not known.
    """
    if not modality.numeric:
        raise InputError(
            f"{modality.name} holds texts, for which no tower is made. In Python, give a Tower with a tokenize()."
        )
    if None in modality.shape:
        raise InputError(f"{modality.name} has no size of its own, so no tower fits it.")
    shape = tuple(size or 0 for size in modality.shape)
    if not shape[modality.variable :]:
        raise InputError(
            f"{modality.name} is a single number for each {'step' if modality.variable else 'sample'}, for which no "
            "tower is made. Give it as a vector of one: an axis of length 1 at the end."
        )
    if modality.variable:
        return Tower(modality, EachStep(_of_vectors(modality, field, shape[1:], width, hidden), mean=not steps), width)
    if modality.kind == "image" or (modality.kind == "array" and len(shape) == 3 and shape[0] in (1, 3, 4)):
        return Tower(modality, _of_images(modality, field, shape, width), width)
    return Tower(modality, _of_vectors(modality, field, shape, width, hidden), width)


def _of_vectors(
    modality: Modality, field: np.ndarray | None, shape: tuple[int, ...], width: int, hidden: int
) -> nn.Module:
    size = int(np.prod(shape))
    norm = _fixed(nn.BatchNorm1d(size, affine=False), modality, field, tuple(range(len(shape))))
    return nn.Sequential(nn.Flatten(), norm, mlp([size, hidden, width]))


def _of_images(modality: Modality, field: np.ndarray | None, shape: tuple[int, ...], width: int) -> nn.Module:
    channels, height, across = shape
    layers: list[nn.Module] = [_fixed(nn.BatchNorm2d(channels, affine=False), modality, field, (0,))]
    for after in _CHANNELS[:_HALVINGS]:
        if len(layers) > 1 and min(height, across) <= _SMALL:
            break
        layers += [nn.Conv2d(channels, after, 3, stride=2, padding=1), nn.ReLU()]
        # Halves are rounded up.
        channels, height, across = after, -(-height // 2), -(-across // 2)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * across, width))


def _fixed(norm: nn.Module, modality: Modality, field: np.ndarray | None, kept: tuple[int, ...]) -> nn.Module:
    """A normalisation that goes by the samples to train on, whatever the batch.

    :param kept: Axes of a sample, or of a step, whose entries have a mean of their own.
    """
    mean, variance = _moments(modality, field, kept)
    assert isinstance(norm.running_mean, torch.Tensor) and isinstance(norm.running_var, torch.Tensor)
    norm.running_mean.copy_(torch.from_numpy(mean.reshape(-1)))
    # A column that is constant stays what it is, less its mean.
    norm.running_var.copy_(torch.from_numpy(np.where(variance > 0, variance, 1.0).reshape(-1)))
    return norm.eval()


def _moments(modality: Modality, field: np.ndarray | None, kept: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    of_step = tuple(size or 0 for size in (modality.shape[1:] if modality.variable else modality.shape))
    if field is None or not len(field) or modality.missing(field).all():
        low, high = (np.broadcast_to(np.asarray(bound, dtype=np.float64), of_step) for bound in modality.clip_values)
        mean, variance = (low + high) / 2, ((high - low) / 4) ** 2
        over = tuple(axis for axis in range(len(of_step)) if axis not in kept)
        return mean.mean(axis=over), variance.mean(axis=over)
    values = modality.values(field)[~modality.missing(field)].astype(np.float64)
    if modality.variable:
        # Steps that there are, one after the other.
        lengths = modality.lengths(field)[~modality.missing(field)]
        values = values[np.arange(values.shape[1]) < lengths[:, None]]
    over = (0, *(1 + axis for axis in range(values.ndim - 1) if axis not in kept))
    return values.mean(axis=over), values.var(axis=over)
