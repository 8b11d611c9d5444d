"""How much the layers of a tower can stretch a distance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize

from art_multimodal.errors import InputError

#: Layers that bring no two points further apart.
_CONTRACT = (nn.ReLU, nn.Tanh, nn.Flatten, nn.Dropout, nn.Softplus, nn.Identity)
#: Activations with a slope of 1 above zero, and below it one of at most this.
_STEEPEST_BELOW: dict[type[nn.Module], str] = {nn.LeakyReLU: "negative_slope", nn.ELU: "alpha"}
#: Numbers of the matrix of a convolution, at most: its largest singular value is computed from all of it.
_LARGEST = 1 << 24


def lipschitz_bound(module: nn.Module, shape: Sequence[int]) -> float:
    """An upper bound of the l_2 Lipschitz constant of a tower in evaluation mode: the product over its layers.

    Of linear layers and convolutions the largest singular value of the whole map, of batch normalisation the largest
    factor; activations such as ReLU bring nothing further apart. Bounds of deep towers are far too large to be of use.

    >>> double = torch.nn.Linear(4, 4)
    >>> double.weight.data = 2 * torch.eye(4)
    >>> round(lipschitz_bound(torch.nn.Sequential(double, torch.nn.ReLU(), double), (4,)), 3)
    4.0

    :param module: Layers of torch, in a ``Sequential`` or one alone.
    :param shape: Of one sample that goes in.
    :raises InputError: For a layer whose constant is not known, or one that is too large.
    """
    return _bound(module, torch.zeros(1, *shape, dtype=torch.float64))[0]


@contextmanager
def one_lipschitz(*modules: nn.Module) -> Iterator[None]:
    """While it lasts, linear layers and convolutions bring no two points further apart, whatever they are trained to.

    Weights are divided by a bound of their largest singular value where that is above 1. In the end they become what
    they were divided to, so the modules are what they were, and are saved as before. Other layers stay as they are:
    normalisations still stretch, and :func:`lipschitz_bound` counts them.

    >>> double = torch.nn.Linear(4, 4)
    >>> double.weight.data = 2 * torch.eye(4)
    >>> with one_lipschitz(double):
    ...     pass  # train a model of which it is a part
    >>> round(lipschitz_bound(double, (4,)), 3)
    1.0

    :param modules: Towers, for example ``model.tower("rgb").module``.
    """
    layers = [one for module in modules for one in module.modules() if isinstance(one, nn.Linear | _ConvNd)]
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", _AtMostOne())
    try:
        yield
    finally:
        for layer in layers:
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
            # Parameters keep the order in which others know them.
            layer.register_parameter("bias", layer._parameters.pop("bias"))


class _AtMostOne(nn.Module):
    """Divides the weights of a linear layer or of a convolution by a bound of its largest singular value, above 1."""

    def forward(self, weight: Tensor) -> Tensor:
        bound = torch.linalg.matrix_norm(weight.flatten(1), ord=2)
        if weight.ndim > 2:
            taps = weight.flatten(2).permute(2, 0, 1)
            # A number is part of as many patches as there are taps; or each tap is a map of its own.
            bound = torch.minimum(len(taps) ** 0.5 * bound, torch.linalg.matrix_norm(taps, ord=2).sum())
        return weight / bound.clamp_min(1)


@torch.no_grad()
def _bound(module: nn.Module, given: Tensor) -> tuple[float, Tensor]:
    """The bound, and what comes out of the layer for a sample of zeros."""
    if isinstance(module, nn.Sequential):
        total = 1.0
        for layer in module:
            bound, given = _bound(layer, given)
            total *= bound
        return total, given
    if isinstance(module, nn.Linear):
        weight = module.weight.detach().double().cpu()
        # The same map on each of the vectors before the last axis.
        return _largest(weight), given.new_zeros(*given.shape[:-1], len(weight))
    if isinstance(module, _ConvNd):
        return _of_convolution(module, given)
    if isinstance(module, _BatchNorm) and module.running_var is not None:
        factor = (module.running_var.double() + module.eps).rsqrt().cpu()
        return float((factor * (1.0 if module.weight is None else module.weight.double().cpu().abs())).max()), given
    if (slope := _STEEPEST_BELOW.get(type(module))) is not None:
        return max(1.0, abs(float(getattr(module, slope)))), given
    if isinstance(module, _CONTRACT):
        return 1.0, module(given) if isinstance(module, nn.Flatten) else given
    raise InputError(
        f"How much a layer of class {type(module).__name__} can stretch a distance is not known: towers are bounded "
        "that are made of linear layers, convolutions, batch normalisation and activations such as ReLU."
    )


def _of_convolution(layer: _ConvNd, given: Tensor) -> tuple[float, Tensor]:
    # Without its bias, which moves nothing apart, in double precision.
    copy = deepcopy(layer).double().cpu()
    copy.bias = None
    out = copy(given)
    if given.numel() * out.numel() > _LARGEST:
        raise InputError(f"A convolution from {given.numel()} to {out.numel()} numbers is too large to bound.")
    # Each row is what comes out of one number alone.
    rows = copy(torch.eye(given.numel(), dtype=torch.float64).reshape(-1, *given.shape[1:])).flatten(1)
    return _largest(rows), out


def _largest(matrix: Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix, ord=2))
