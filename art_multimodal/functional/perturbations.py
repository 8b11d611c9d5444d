"""Norm balls and the one gradient loop that every image attack and trainer here stands on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

INF = float("inf")
#: Maps images ``[N, C, H, W]`` to the gradient, same shape, of a per-sample quantity that is to grow.
GradientFunction = Callable[[Tensor], Tensor]


def norm_of(name: float | str) -> float:
    """Return ``2.0`` or ``inf`` for ART's ways of writing a norm (``2``, ``np.inf``, ``"inf"``).

    >>> norm_of("inf"), norm_of(2)
    (inf, 2.0)

    :raises ValueError: For any other norm.
    """
    value = float(name)
    if value not in (2.0, INF):
        raise ValueError(f"norm must be 2 or inf, not {name!r}.")
    return value


def _lengths(x: Tensor) -> Tensor:
    # Row by row first: one sum over all pixels is off by 1e-6 in float32, which would break the budget.
    rows = x.norm(dim=-1).flatten(1) if x.ndim > 2 else x
    return rows.norm(dim=1).view(-1, *[1] * (x.ndim - 1))


def _largest(x: Tensor) -> Tensor:
    return x.flatten(1).abs().amax(dim=1).view(-1, *[1] * (x.ndim - 1))


def project(delta: Tensor, norm: float, eps: float) -> Tensor:
    """Return the nearest perturbation inside the ball: every sample's ``norm`` is at most ``eps``.

    >>> project(torch.tensor([[6.0, 8.0]]), norm=2.0, eps=5.0).tolist()
    [[3.0, 4.0]]
    >>> project(torch.tensor([[3.0, -0.5]]), norm=float("inf"), eps=1.0).tolist()
    [[1.0, -0.5]]
    """
    if norm == INF:
        return delta.clamp(-eps, eps)
    return delta * (eps / _lengths(delta).clamp_min(1e-12)).clamp_max(1.0)


def random_start(like: Tensor, norm: float, eps: float, generator: torch.Generator) -> Tensor:
    """Draw a perturbation inside the ball.

    l_inf: uniform in the box. l_2: a Gaussian direction with length U(0, 1) * eps. Drawn on the CPU in float32, so that
    equal seeds give equal starts on every device.

    >>> start = random_start(torch.zeros(2, 3, 8, 8), float("inf"), 8 / 255, torch.Generator().manual_seed(0))
    >>> bool(start.abs().max() <= 8 / 255), bool(start.abs().max() > 7 / 255)
    (True, True)
    """
    shape = like.shape
    if norm == INF:
        delta = torch.empty(shape).uniform_(-eps, eps, generator=generator)
    else:
        delta = torch.randn(shape, generator=generator)
        radius = eps * torch.rand((len(delta), *[1] * (like.ndim - 1)), generator=generator)
        delta = delta / _lengths(delta).clamp_min(1e-12) * radius
    return delta.to(like)


def ascent_step(gradient: Tensor, norm: float, eps_step: float) -> Tensor:
    """Return the step of steepest ascent of length ``eps_step`` in the norm, whatever the scale of the gradient.

    A gradient of zero gives no step. NaN counts as zero and infinity as the largest number: no gradient, however
    broken, may carry an image out of its budget.

    >>> ascent_step(torch.tensor([[0.3, -2.0, 0.0]]), norm=float("inf"), eps_step=0.5).tolist()
    [[0.5, -0.5, 0.0]]
    """
    gradient = gradient.nan_to_num()
    if norm == INF:
        return eps_step * gradient.sign()
    # Squares of very large or very small numbers leave float32's range, so the largest entry is brought to 1 first.
    gradient = gradient / _largest(gradient).clamp_min(torch.finfo(gradient.dtype).tiny)
    return eps_step * gradient / (_lengths(gradient) + 1e-10)


def within_budget(
    images: Tensor, clean: Tensor, norm: float, eps: float, low: Tensor | float = 0.0, high: Tensor | float = 1.0
) -> Tensor:
    """Bring images, or other numbers, back into the ball around ``clean`` and into their box; both hold afterwards.

    The difference to ``clean``, measured in the dtype of the images, exceeds ``eps`` by at most one rounding.

    >>> clean = torch.tensor([[0.5, 0.0]])
    >>> within_budget(torch.tensor([[1.0, -1.0]]), clean, norm=float("inf"), eps=0.25).tolist()
    [[0.75, 0.0]]

    :param low: Smallest value, a number or a tensor that broadcasts to the images.
    :param high: Largest value, likewise.
    """
    # Clipping to the box moves every number towards its clean value, which lies in the box: the norm cannot grow.
    moved = clean + project(images - clean, norm, eps)
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        return torch.minimum(torch.maximum(moved, torch.as_tensor(low).to(moved)), torch.as_tensor(high).to(moved))
    return moved.clamp(low, high)


def projected_gradient_ascent(
    gradient: GradientFunction,
    images: Tensor,
    norm: float,
    eps: float,
    eps_step: float,
    max_iter: int,
    generator: torch.Generator | None = None,
    mask: Tensor | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """Projected gradient ascent (PGD, arXiv:1706.06083; steps and starts as in arXiv:2404.19287).

    >>> grey, inf = torch.full((1, 3, 2, 2), 0.5), float("inf")
    >>> brighter = projected_gradient_ascent(torch.ones_like, grey, inf, eps=0.25, eps_step=0.125, max_iter=5)
    >>> brighter.unique().tolist()
    [0.75]

    :param gradient: Gradient of what is to grow.
    :param images: Shape ``[N, C, H, W]`` in [0, 1].
    :param norm: ``inf`` or ``2``.
    :param eps: Radius of the ball, in the units of the images.
    :param eps_step: Length of a step in the same norm.
    :param max_iter: Number of steps; one gradient each.
    :param generator: Source of the random start; ``None`` starts at the clean images.
    :param mask: Where perturbing is allowed (1) or not (0), broadcastable to the images.
    :param start: The perturbation to start with, shaped like the images, instead of a random one or none.
    :return: Images in the ball and in [0, 1], detached.
    """
    clean = images.detach()
    delta = torch.zeros_like(clean) if generator is None else random_start(clean, norm, eps, generator)
    delta = delta if start is None else start.to(clean)
    if mask is not None:
        delta = delta * mask
    current = within_budget(clean + delta, clean, norm, eps)
    for _ in range(max_iter):
        direction = gradient(current)
        if mask is not None:
            direction = direction * mask
        current = within_budget(current + ascent_step(direction, norm, eps_step), clean, norm, eps)
    return current
