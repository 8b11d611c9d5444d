"""How a contract is looked at: nothing that was seen is lost, and nothing that was set stays."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from art_multimodal.evaluations.suite import ZERO_SHOT, Attacked, AttackEntry, PreparedAttack
from art_multimodal.testing import ContractError
from art_multimodal.testing.attack_cases import VICTIMS, Run, small_budget
from art_multimodal.testing.attack_runs import steady
from art_multimodal.testing.comparing import ProcessState, in_other_memory, same
from art_multimodal.testing.contract import Contract, NotChecked, all_of


def looked_at(look: Any) -> Any:
    contract = Contract("a thing")
    contract.holds("it holds", "mend it")(look)
    return contract.check("Mine", None)


def test_what_was_seen_is_told_though_the_rest_could_not_be_looked_at() -> None:
    def _first(case: None) -> Iterator[str]:
        yield "the first is wrong."
        raise NotChecked("the second cannot be looked at")

    with pytest.raises(ContractError, match="the first is wrong"):
        looked_at(_first)

    def _second(case: None) -> Iterator[str]:
        yield "the first is wrong."
        raise ValueError("the second breaks")

    with pytest.raises(ContractError, match="the first is wrong. ValueError: the second breaks"):
        looked_at(_second)


def test_one_that_cannot_look_keeps_no_other_from_it() -> None:
    def cannot() -> Iterator[str]:
        raise NotChecked("the first tells nothing")
        yield

    def _each(case: None) -> Iterator[str]:
        return all_of([cannot(), iter(["the second is wrong."])])

    with pytest.raises(ContractError, match="the second is wrong"):
        looked_at(_each)

    def _none(case: None) -> Iterator[str]:
        return all_of([iter(()), cannot()])

    assert looked_at(_none).skipped == {"none": "the first tells nothing"}


@pytest.mark.parametrize("seed", [0, 1, 42, 1234])
def test_seeding_is_seen_whatever_the_seed(seed: int) -> None:
    def _seeds(case: None) -> Iterator[str]:
        before = ProcessState.now()
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        yield from before.changes()

    with pytest.raises(ContractError, match="of random was .* of numpy was .* of torch was"):
        looked_at(_seeds)


def test_settings_are_put_back() -> None:
    def _sets(case: None) -> Iterator[str]:
        before = ProcessState.now()
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(torch.get_num_threads() + 1)
        np.seterr(all="raise")
        yield from before.changes()

    settings = ProcessState.now().settings
    with pytest.raises(ContractError) as caught:
        looked_at(_sets)
    assert all(name in str(caught.value) for name in settings)
    assert ProcessState.now().settings == settings


def test_nan_is_no_zero() -> None:
    one = torch.tensor([1.0, torch.nan, torch.inf])
    assert same(one, one.clone()) and not same(one, one.nan_to_num()) and not same(one, one.double())


@pytest.mark.parametrize("shape", [(4,), (4, 3), (2, 3, 4, 5)])
def test_other_memory_holds_the_same_and_is_no_row(shape: tuple[int, ...]) -> None:
    values = torch.rand(shape)
    other = in_other_memory(values)
    assert torch.equal(other, values) and not other.is_contiguous()
    if other.ndim > 1:
        with pytest.raises(RuntimeError, match="view"):
            other.view(-1)


class ByTheLastBit(PreparedAttack):
    """The first sample follows a bit of the weights that says nothing."""

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        found = np.clip(x + np.float32(0.05), 0, 1)
        weight = next(self.estimator.model.parameters()).detach().double().numpy()
        found[0] -= np.float32(0.01) * np.float32(weight.view(np.int64).sum() % 7)
        return Attacked(found, self.estimator.predict_labels(found))


def test_a_sample_that_follows_noise_is_known() -> None:
    victim = VICTIMS[ZERO_SHOT](8)
    entry = AttackEntry("noisy", "image", "white box", "follows the last bit", ByTheLastBit)
    weights = [of.detach().clone() for of in victim.estimator.model.parameters()]
    assert steady(Run(entry, victim, small_budget("inf")), 1e-4).tolist() == [False, True, True, True, True]
    assert all(map(torch.equal, victim.estimator.model.parameters(), weights))
