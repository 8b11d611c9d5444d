"""Gradients against central differences, in float64 and along random directions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from art_multimodal.testing.contract import NotChecked

#: Shortest of the three steps, in relation to the largest value that is moved.
_STEP = 1e-5
#: Directions, each with signs of its own at every number.
_DIRECTIONS = 4
#: Agreement of a slope with its differences, in relation to the larger of the two.
_RELATIVE = 1e-4
#: A direction tells something where what it cannot tell is a smaller part of its slope.
_TELLING = 0.05


def wrong_slopes(
    function: Callable[[Tensor], Tensor], x: Tensor, what: str, seed: int = 0, flat: bool = False
) -> Iterator[str]:
    """Yield that a gradient is not the slope of its function, if most directions say so.

    Differences with steps of three lengths agree where the function is smooth, and how far they do is what a direction
    can tell: beside a kink (ReLU, a maximum, a clamp) or in rounding noise it tells nothing, and does not count.

    :param function: Maps a tensor like ``x`` to one number, or to numbers, whose random combination is looked at.
    :param x: Where, float64. It is not changed.
    :param what: What it is, for the message.
    :param flat: Whether a function that does not change at all is right.
    :raises NotChecked: If no direction tells anything.
    """
    generator = torch.Generator().manual_seed(seed)
    x = x.detach().double()
    at = x.clone().requires_grad_(True)
    with torch.enable_grad():
        value = function(at)
        mixing = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        total = (value.double() * mixing).sum()
        gradient = torch.autograd.grad(total, at, allow_unused=True)[0] if total.requires_grad else None
    gradient = torch.zeros_like(x) if gradient is None else gradient.double()
    if not gradient.isfinite().all():
        yield f"the gradient by {what} holds NaN or infinite values."
        return
    step = _STEP * max(1e-3, float(x.abs().max()))

    def differences(direction: Tensor, length: float) -> float:
        with torch.no_grad():
            above, below = (function(x + sign * length * direction).double() for sign in (1, -1))
            return float(((above - below) * mixing).sum()) / (2 * length)

    noise = 100 * torch.finfo(torch.float64).eps * float((value.detach().double() * mixing).abs().sum()) / step
    telling, wrong, told, moved = 0, 0, "", noise
    for _ in range(_DIRECTIONS):
        direction = torch.randint(0, 2, x.shape, generator=generator).double() * 2 - 1
        expected = [differences(direction, step * longer) for longer in (1, 2, 4)]
        slope = float((gradient * direction).sum())
        unsure = noise + 10 * (max(expected) - min(expected))
        size = max(abs(slope), abs(expected[0]))
        moved = max(moved, size)
        if not unsure < _TELLING * size:
            continue
        telling += 1
        if not abs(slope - expected[0]) <= _RELATIVE * size + unsure:
            wrong += 1
            told = told or f"{slope:.5g} along one direction, where differences say {expected[0]:.5g}"
    if 2 * wrong > telling:
        yield f"the gradient by {what} is {told} ({wrong} of {telling} directions disagree)."
    elif not telling and moved > noise:
        raise NotChecked(f"differences by {what} tell nothing: the function jumps, or rounds too coarsely")
    elif not telling and not flat:
        yield f"{what} changes nothing, and has no gradient."
