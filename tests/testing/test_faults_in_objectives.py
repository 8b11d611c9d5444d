"""Faults planted in objectives of training: each is found by the property that is meant for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from testing.planted import Fault
from torch import Tensor

from art_multimodal.functional.objectives import soft_cross_entropy, tecoa
from art_multimodal.testing import check_objective
from art_multimodal.testing.objective import OBJECTIVE


def cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    return soft_cross_entropy(scores, targets).mean()


def half_a_gradient(scores: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(scores / 2 + scores.detach() / 2, targets)


def no_gradient(scores: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(scores.detach(), targets)


def of_neighbours(scores: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(scores, targets) + 1e-3 * (scores - scores.roll(1, dims=0)).abs().mean()


def of_the_first_class(scores: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(scores, targets) + 1e-3 * scores[:, 0].mean()


def of_a_deviation(scores: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(scores / scores.std(dim=0), targets)


def in_single(scores: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(scores, targets).float()


def in_place(scores: Tensor, targets: Tensor) -> Tensor:
    targets.mul_(0.9)
    return cross_entropy(scores, targets)


def drawing(scores: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(scores, targets) + 1e-6 * torch.rand(())


def undocumented(scores: Tensor, targets: Tensor, weight: float = 1.0) -> Tensor:
    return weight * cross_entropy(scores, targets)


def of_each_sample(scores: Tensor, targets: Tensor) -> Tensor:
    return soft_cross_entropy(scores, targets)


def of_what_nobody_gives(scores: Tensor, target: Tensor) -> Tensor:
    return cross_entropy(scores, target)


def viewed(scores: Tensor, targets: Tensor) -> Tensor:
    return -(scores.log_softmax(dim=1).view(-1) * targets.view(-1)).sum() / len(scores)


def logarithm_of_softmax(scores: Tensor, targets: Tensor) -> Tensor:
    return -(scores.softmax(dim=1).log() * targets).sum(dim=1).mean()


def wanting_gradients(scores: Tensor, targets: Tensor) -> Tensor:
    targets.requires_grad_(True)
    return cross_entropy(scores, targets.detach())


def gradients_off(scores: Tensor, targets: Tensor) -> Tensor:
    value = cross_entropy(scores, targets)
    torch.set_grad_enabled(False)
    return value


def by_hand(scores: Tensor, targets: Tensor) -> Tensor:
    """The gradient stops at numpy."""
    return cross_entropy(torch.from_numpy(scores.detach().numpy()), targets)


class Counting:
    """Grows from call to call."""

    calls = 0

    def __call__(self, scores: Tensor, targets: Tensor) -> Tensor:
        self.calls += 1
        return cross_entropy(scores, targets) * (1 + 1e-6 * self.calls)


def upside_down(scores: Tensor, targets: Tensor) -> Tensor:
    return (scores.softmax(dim=1) * targets).sum(dim=1).mean().detach() - 0 * scores.sum()


def without_a_default(scores: Tensor, targets: Tensor, weight: float = float("nan")) -> Tensor:
    """:param weight: Of nothing."""
    return cross_entropy(scores, targets)


OBJECTIVES: list[tuple[str, Callable[..., Tensor]]] = [
    ("gradient", half_a_gradient),
    ("decreases", no_gradient),
    ("batch-order", of_neighbours),
    ("class-order", of_the_first_class),
    ("one-sample", of_a_deviation),
    ("dtypes", in_single),
    ("leaves-no-trace", in_place),
    ("leaves-no-trace", drawing),
    ("settings", undocumented),
    ("works", of_each_sample),
    ("works", of_what_nobody_gives),
    ("memory-layout", viewed),
    ("borders", logarithm_of_softmax),
    ("leaves-no-trace", wanting_gradients),
    ("leaves-no-trace", gradients_off),
    ("leaves-no-trace", Counting()),
    ("gradient", by_hand),
    ("decreases", upside_down),
    ("settings", without_a_default),
]


def _planted(name: str, objective: Callable[..., Tensor]) -> Fault:
    what = getattr(objective, "__name__", type(objective).__name__)
    return Fault(OBJECTIVE, name, what, lambda: check_objective(objective))


FAULTS = [_planted(*one) for one in OBJECTIVES]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_faults_are_found(fault: Fault) -> None:
    fault.is_found()


def test_an_objective_without_a_fault() -> None:
    assert not check_objective(cross_entropy).skipped and not check_objective(tecoa).skipped
