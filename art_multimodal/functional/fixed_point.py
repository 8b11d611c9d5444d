"""Fixed points of a function, for each sample by itself, and gradients that do not go through the way there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

#: Relative to the residuals' mean square: keeps the least squares of the accelerated iteration solvable.
_RIDGE = 1e-10


@dataclass(frozen=True)
class FixedPoint:
    """What an iteration found.

    :param state: The best state of each sample, ``[N, D]``.
    :param residual: How far it is from fixed, as :func:`relative_residual` says, ``[N]``.
    :param steps: How often the function was applied until then, ``[N]``.
    :param converged: Whether the residual is as small as was asked, booleans ``[N]``.
    """

    state: Tensor
    residual: Tensor
    steps: Tensor
    converged: Tensor


def relative_residual(state: Tensor, image: Tensor) -> Tensor:
    """How far states ``z`` are from fixed, ``|f(z) - z| / (1 + |f(z)|)``, ``[N]``.

    :param state: ``z``, shape ``[N, D]``.
    :param image: ``f(z)``, shape ``[N, D]``.
    """
    return (image - state).norm(dim=1) / (1 + image.norm(dim=1))


def anderson(
    function: Callable[[Tensor], Tensor], start: Tensor, max_iter: int, tolerance: float, memory: int = 6
) -> FixedPoint:
    """Iterate to a fixed point, from the last few states at once (Anderson's acceleration).

    Each sample has its own history and stops by itself, so its result does not depend on the others in the batch. No
    gradient passes.

    :param function: Maps states ``[N, D]`` to states, each row by itself.
    :param start: Where to begin, ``[N, D]``.
    :param max_iter: Applications of the function, at most.
    :param tolerance: Residual at which a sample stops.
    :param memory: States that are remembered.
    """
    with torch.no_grad():
        state, best = start, start
        residual = torch.full(start.shape[:1], float("inf"), dtype=start.dtype, device=start.device)
        steps = torch.zeros(start.shape[:1], dtype=torch.long, device=start.device)
        states: list[Tensor] = []
        images: list[Tensor] = []
        for step in range(1, max_iter + 1):
            active = residual > tolerance
            if not bool(active.any()):
                break
            image = function(state)
            found = relative_residual(state, image)
            better = active & (found < residual)
            best = torch.where(better[:, None], image, best)
            residual = torch.where(better, found, residual)
            steps = torch.where(active, step, steps)
            states, images = [*states, state][-memory:], [*images, image][-memory:]
            state = _accelerated(torch.stack(states, dim=1), torch.stack(images, dim=1))
        return FixedPoint(best, residual, steps, residual <= tolerance)


def _accelerated(states: Tensor, images: Tensor) -> Tensor:
    """The combination of images ``[N, m, D]`` whose combination of residuals is least; plainly the last without one."""
    # Halves have no solver, and in bfloat16 there would be nothing left to solve.
    wide = torch.promote_types(torch.float32, images.dtype)
    gaps = images.to(wide) - states.to(wide)
    with torch.autocast(gaps.device.type, enabled=False):
        gram = gaps @ gaps.transpose(1, 2)
    count = gram.shape[1]
    size = gram.diagonal(dim1=1, dim2=2).mean(dim=1)
    gram = gram / size.clamp_min(torch.finfo(size.dtype).tiny)[:, None, None]
    gram = gram + _RIDGE * torch.eye(count, dtype=gram.dtype, device=gram.device)
    ones = torch.ones(len(gram), count, 1, dtype=gram.dtype, device=gram.device)
    # Least squares under the condition that the shares add up to one.
    shares, failed = torch.linalg.solve_ex(gram, ones)
    shares = shares / shares.sum(dim=1, keepdim=True)
    combined = (shares * images).sum(dim=1).to(images.dtype)
    usable = (failed == 0) & torch.isfinite(combined).all(dim=1)
    return torch.where(usable[:, None], combined, images[:, -1])


def fixed_point(
    function: Callable[[Tensor], Tensor], start: Tensor, max_iter: int = 60, tolerance: float = 1e-6
) -> tuple[Tensor, FixedPoint]:
    """A fixed point, and its gradient by the implicit function theorem, whatever the mode of a module.

    With ``z = f(z)`` the gradient of ``z`` is that of one more application of ``f``, after ``u = J'u + g`` has been
    solved for the incoming gradient ``g``; so memory does not grow with the number of steps. Where the iteration has
    not converged it is the gradient of no function.

    :param function: Maps states ``[N, D]`` to states, each row by itself; what else it uses gets gradients.
    :param start: Where to begin, ``[N, D]``.
    :param max_iter: Applications of the function, at most, on the way there and likewise back.
    :param tolerance: Residual at which a sample stops.
    :return: The state ``[N, D]``, with a gradient, and how it was found.
    """
    found = anderson(function, start, max_iter, tolerance)
    if not torch.is_grad_enabled():
        return found.state, found
    attached = function(found.state)
    if not attached.requires_grad:
        return found.state, found
    here = found.state.detach().requires_grad_()
    image = function(here)

    def solved(gradient: Tensor | None) -> Tensor | None:
        if gradient is None:  # where nothing that is asked for depends on the state
            return None

        def transposed(row: Tensor) -> Tensor:
            with torch.enable_grad():
                (back,) = torch.autograd.grad(image, here, row, retain_graph=True)
            return gradient + back

        return anderson(transposed, gradient, max_iter, tolerance).state

    attached.register_hook(solved)
    return attached, found


def unrolled(function: Callable[[Tensor], Tensor], start: Tensor, steps: int) -> Tensor:
    """Apply a function so many times, with gradients through all of them."""
    for _ in range(steps):
        start = function(start)
    return start


def jacobian_size(function: Callable[[Tensor], Tensor], state: Tensor, vectors: Tensor) -> Tensor:
    """How steep a function is: Hutchinson's estimate of the squared Frobenius norm of its Jacobian, ``[N]``.

    The mean of ``|v'J|^2`` over random vectors ``v`` whose entries are independent, of mean 0 and variance 1. It has a
    gradient with respect to what else the function uses.

    >>> matrix = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    >>> jacobian_size(lambda z: z @ matrix, torch.zeros(1, 2), torch.eye(2)[:, None]).tolist()
    [12.5]

    :param function: Maps states ``[N, D]`` to states, each row by itself.
    :param state: Where, shape ``[N, D]``.
    :param vectors: Shape ``[V, N, D]``.
    """
    here = state.detach().requires_grad_()
    with torch.enable_grad():
        image = function(here)
        rows = [torch.autograd.grad(image, here, one, create_graph=True)[0] for one in vectors]
    return torch.stack([row.square().sum(dim=1) for row in rows]).mean(dim=0)
