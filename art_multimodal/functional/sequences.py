"""Sequences of different lengths: where their steps are, and what they come to together."""

from __future__ import annotations

import torch
from torch import Tensor


def positions_of(steps: int, width: int, like: Tensor) -> Tensor:
    """Sines and cosines that tell steps apart, ``[steps, width]`` (https://arxiv.org/abs/1706.03762).

    Column ``2 i`` holds ``sin(t / 10000^(2 i / width))`` of step ``t``, column ``2 i + 1`` the cosine of the same.

    >>> positions_of(3, 4, like=torch.zeros(1)).shape
    torch.Size([3, 4])

    :param steps: Number of steps.
    :param width: Of a step.
    :param like: Has the dtype and the device.
    """
    columns = torch.arange(width, device=like.device)
    # In double precision: late steps turn through many radians.
    rates = 10000.0 ** (-(columns - columns % 2).double() / width)
    angles = torch.arange(steps, device=like.device)[:, None] * rates
    return torch.where(columns % 2 == 0, angles.sin(), angles.cos()).to(like.dtype)


def mean_over_steps(values: Tensor, there: Tensor) -> Tensor:
    """Mean ``[N, D]`` of the steps that a sample has; zero where it has none.

    >>> values = torch.tensor([[[1.0], [3.0], [99.0]]])
    >>> mean_over_steps(values, torch.tensor([[True, True, False]])).tolist()
    [[2.0]]

    :param values: Shape ``[N, T, D]``.
    :param there: Which steps a sample has, booleans ``[N, T]``.
    """
    return torch.where(there[:, :, None], values, 0.0).sum(dim=1) / there.sum(dim=1).clamp_min(1)[:, None]


def largest_over_steps(values: Tensor, there: Tensor) -> Tensor:
    """Maximum ``[N, D]`` over the steps that a sample has; zero where it has none.

    >>> values = torch.tensor([[[1.0], [3.0], [99.0]]])
    >>> largest_over_steps(values, torch.tensor([[True, True, False]])).tolist()
    [[3.0]]

    :param values: Shape ``[N, T, D]``.
    :param there: Which steps a sample has, booleans ``[N, T]``.
    """
    largest = torch.where(there[:, :, None], values, float("-inf")).amax(dim=1)
    return torch.where(there.any(dim=1)[:, None], largest, 0.0)
