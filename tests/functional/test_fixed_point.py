"""Fixed points and their gradients, against closed forms, finite differences and the long way through all steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from art_multimodal.functional.fixed_point import anderson, fixed_point, jacobian_size, unrolled

WIDTH, COUNT = 5, 4


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def contraction(seed: int = 0, size: float = 0.6) -> Tensor:
    matrix = drawn(WIDTH, WIDTH, seed=seed)
    return size * matrix / torch.linalg.matrix_norm(matrix, 2)


def test_a_linear_map_has_its_closed_form_and_gradient() -> None:
    matrix, given = contraction(), drawn(COUNT, WIDTH, seed=1).requires_grad_()
    state, found = fixed_point(lambda z: z @ matrix.T + given, torch.zeros(COUNT, WIDTH).double(), 200, 1e-13)
    inverse = torch.linalg.inv(torch.eye(WIDTH, dtype=torch.float64) - matrix)
    assert found.converged.all()
    torch.testing.assert_close(state, given @ inverse.T, atol=1e-11, rtol=0)
    back = drawn(COUNT, WIDTH, seed=2)
    (gradient,) = torch.autograd.grad(state, given, back)
    torch.testing.assert_close(gradient, back @ inverse, atol=1e-10, rtol=0)


def test_the_implicit_gradient_is_that_of_a_long_way_and_of_finite_differences() -> None:
    matrix, given = contraction().requires_grad_(), drawn(COUNT, WIDTH, seed=1).requires_grad_()
    start, back = torch.zeros(COUNT, WIDTH).double(), drawn(COUNT, WIDTH, seed=2)

    def layer(z: Tensor) -> Tensor:
        return torch.tanh(z @ matrix.T + given)

    implicit = torch.autograd.grad(fixed_point(layer, start, 200, 1e-14)[0], (matrix, given), back)
    longer = torch.autograd.grad(unrolled(layer, start, 100), (matrix, given), back)
    for one, other in zip(implicit, longer, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=0)

    def solved(rows: Tensor) -> Tensor:
        return fixed_point(lambda z: torch.tanh(z @ matrix.detach().T + rows), start, 200, 1e-14)[0]

    assert torch.autograd.gradcheck(solved, (given,), atol=1e-6)


def test_a_sample_does_not_depend_on_its_batch() -> None:
    matrix, given = contraction(size=0.95), drawn(COUNT, WIDTH, seed=1)
    given[2] *= 30  # it takes longer than the others

    def solve(rows: slice) -> tuple[Tensor, Tensor]:
        found = anderson(lambda z: torch.tanh(z @ matrix.T + given[rows]), torch.zeros_like(given[rows]), 60, 1e-9)
        return found.state, found.steps

    whole, steps = solve(slice(None))
    assert len(set(steps.tolist())) > 1
    for row in range(COUNT):
        alone, own = solve(slice(row, row + 1))
        assert own[0] == steps[row]
        torch.testing.assert_close(alone[0], whole[row], atol=1e-9, rtol=0)


def test_what_does_not_converge_is_said() -> None:
    found = anderson(lambda z: torch.cat([z[:2] * 0.5, torch.cos(z[2:] * 9) * 7]), drawn(4, 3), 12, 1e-8)
    assert found.converged.tolist()[:2] == [True, True] and not found.converged[2:].all()
    assert torch.isfinite(found.state).all() and (found.steps[~found.converged] == 12).all()
    assert (found.residual[~found.converged] > 1e-8).all()


def test_acceleration_takes_fewer_steps() -> None:
    matrix, given = contraction(size=0.97), drawn(COUNT, WIDTH, seed=1)

    def layer(z: Tensor) -> Tensor:
        return z @ matrix.T + given

    fast = anderson(layer, torch.zeros_like(given), 400, 1e-9)
    slow = anderson(layer, torch.zeros_like(given), 400, 1e-9, memory=1)
    assert fast.converged.all() and int(fast.steps.max()) * 3 < int(slow.steps.max())


@pytest.mark.parametrize("grad", [True, False])
def test_without_gradients_it_is_the_state_alone(grad: bool) -> None:
    matrix = contraction()
    with torch.set_grad_enabled(grad):
        state, found = fixed_point(lambda z: z @ matrix.T + 1, torch.zeros(2, WIDTH).double())
    assert not state.requires_grad and state is found.state


def test_memory_does_not_grow_with_the_steps() -> None:
    matrix, given = contraction(size=0.97), drawn(COUNT, WIDTH, seed=1).requires_grad_()
    kept = []
    for most in (3, 300):
        saved: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, into=saved: into.append(t) or t, lambda t: t):
            fixed_point(lambda z: torch.tanh(z @ matrix.T + given), torch.zeros_like(given), most, 1e-12)
        kept.append(len(saved))
    assert kept[0] == kept[1] > 0


def test_the_size_of_a_jacobian_is_estimated_without_bias() -> None:
    """Against the whole Jacobian, within three standard errors of the mean; its gradient, by finite differences."""
    width, count, drawings = 8, 3, 4000
    matrix = drawn(width, width).requires_grad_()
    states, vectors = drawn(count, width, seed=1), drawn(drawings, count, width, seed=2)

    def layer(z: Tensor) -> Tensor:
        return torch.tanh(z @ matrix.T)

    exact = [torch.autograd.functional.jacobian(layer, row[None]).square().sum() for row in states]
    each = torch.stack([jacobian_size(layer, states, one[None]) for one in vectors.detach()]).detach()
    error = each.std(dim=0) / drawings**0.5
    assert ((each.mean(dim=0) - torch.stack(exact)).abs() < 3 * error).all()
    torch.testing.assert_close(jacobian_size(layer, states, vectors[:50]), each[:50].mean(dim=0))

    def size(of: Tensor) -> Tensor:
        return jacobian_size(lambda z: torch.tanh(z @ of.T), states, vectors[:2])

    assert torch.autograd.gradcheck(size, (matrix,))
