"""An attack on the time that an equilibrium takes: its objective in closed form, its budget, its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from attacks.voting import CLASSES, NAMES, WIDTH, classifier, drawn, model
from torch import Tensor

from art_multimodal import FusionClassifier
from art_multimodal.attacks.evasion import SlowDownAttack, with_fusion_options
from art_multimodal.attacks.evasion.multimodal.balls import Batch
from art_multimodal.errors import InputError
from art_multimodal.functional.fixed_point import anderson, relative_residual, unrolled
from art_multimodal.models.families.modular.model import ModularModel
from art_multimodal.models.fusions import Equilibrium

RATE = 0.7


class Contraction(Equilibrium):
    """``z = RATE z + x_a + x_b``, whose plain iteration leaves ``RATE ** k`` of the first step."""

    def iteration(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        given = torch.stack(self._there(features, present)).sum(dim=0)
        return (lambda states: RATE * states + given), torch.zeros_like(given)


def contracting(max_iter: int = 100) -> FusionClassifier:
    towers = list(model("deq").towers.values())
    fusion = Contraction(dict.fromkeys(NAMES, WIDTH), len(CLASSES), max_iter=max_iter).double()
    return FusionClassifier(ModularModel(towers, fusion, CLASSES).eval(), device_type="cpu")


def summed(found: FusionClassifier, x: np.ndarray) -> np.ndarray:
    """What the contraction adds in each step, from the weights, ``(N, D)``."""
    parts = {name: of.detach().numpy() for name, of in found.multimodal.named_parameters()}
    return sum(
        x[name].astype(np.float64) @ parts[f"towers.{name}.module.weight"].T + parts[f"towers.{name}.module.bias"]
        for name in NAMES
    )


@pytest.mark.parametrize("steps", [0, 1, 4, 20])
def test_the_residual_of_a_linear_contraction(steps: int) -> None:
    found, x = contracting(), drawn()
    attack = SlowDownAttack(found, {"a": 0.1}, unroll=steps, verbose=False)
    batch = Batch(attack, x)
    look = batch.look(batch.clean)
    (goal,) = attack.raised(look, torch.zeros(len(x), dtype=torch.long))
    size = np.linalg.norm(summed(found, x), axis=1)
    # f(z_k) - z_k = RATE^k s, and f(z_k) = z_{k + 1} = (1 - RATE^(k + 1)) / (1 - RATE) s.
    wanted = RATE**steps * size / (1 + (1 - RATE ** (steps + 1)) / (1 - RATE) * size)
    np.testing.assert_allclose(goal(look).detach().numpy(), wanted, rtol=1e-11)
    given = batch.clean["a"].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda part: goal(batch.look({"a": part})), (given,), atol=1e-6)


def test_where_the_longest_step_is_a_corner_it_is_found() -> None:
    # One application from 0 leaves |s| / (1 + |s|): more the longer s is, and s depends on one number of the sample.
    found, x, eps = contracting(max_iter=1), drawn(), 0.1
    with torch.no_grad():
        for name in NAMES:
            tower = found.multimodal.towers[name].module
            tower.weight.zero_()
            tower.bias.zero_()
            tower.weight[2, 1] = 1.0
    attack = SlowDownAttack(
        found, {"a": eps}, eps_step={"a": 0.05}, max_iter=6, unroll=0, num_random_init=0, verbose=False
    )
    after = attack.generate(x)
    longer = np.sign(x["a"][:, 1] + x["b"][:, 1])
    np.testing.assert_allclose(after["a"][:, 1], x["a"][:, 1] + eps * longer, atol=1e-6)
    assert not attack.before.converged.any() and not attack.no_longer_converged.any()
    assert (attack.after.steps == 1).all() and (attack.after.residual > attack.before.residual).all()


def test_the_residual_is_that_of_the_solver() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    matrix = matrix * 0.6 / torch.linalg.matrix_norm(matrix, 2)
    given = torch.randn(3, 4, generator=generator, dtype=torch.float64)

    def layer(states: Tensor) -> Tensor:
        return states @ matrix.T + given

    one = anderson(layer, torch.zeros_like(given), 1, 1e-9)
    torch.testing.assert_close(one.residual, relative_residual(torch.zeros_like(given), layer(torch.zeros_like(given))))
    state = unrolled(layer, torch.zeros_like(given), 200)
    assert (relative_residual(state, layer(state)) < 1e-15).all()


@pytest.fixture(scope="module")
def attacked() -> tuple[FusionClassifier, np.ndarray, np.ndarray, SlowDownAttack]:
    found, x = classifier("deq", seed=3, tolerance=1e-8), drawn(missing=(2,))
    settings = {"max_iter": 6, "unroll": 4, "num_random_init": 2, "seed": 0, "verbose": False}
    attack = SlowDownAttack(found, {"a": 0.5}, batch_size=3, **settings)
    return found, x, attack.generate(x), attack


def test_samples_are_slower_within_their_budget(attacked) -> None:
    found, x, after, attack = attacked
    assert (attack.after.steps >= attack.before.steps).all()
    assert (attack.after.steps > attack.before.steps).any()
    assert after["b"].tobytes() == x["b"].tobytes() and after["a"][2].tobytes() == x["a"][2].tobytes()
    rest = np.arange(len(x)) != 2
    assert np.abs(after["a"][rest].astype(np.float64) - x["a"][rest]).max() <= 0.5 + 1e-6
    assert np.abs(after["a"][rest]).max() <= 1
    # What is reported is what the model does when it answers.
    found.predict(after)
    solved = found.multimodal.fusion.found
    assert solved is not None
    assert np.abs(solved.steps.numpy() - attack.after.steps).max() <= 1
    np.testing.assert_array_equal(solved.converged.numpy(), attack.after.converged)
    np.testing.assert_array_equal(attack.no_longer_converged, attack.before.converged & ~attack.after.converged)


def test_a_sample_is_slowed_down_as_it_is_alone(attacked) -> None:
    found, x, after, attack = attacked
    for row in (5, 0):
        alone = SlowDownAttack(
            found, {"a": 0.5}, max_iter=6, unroll=4, num_random_init=2, seed=0, batch_size=1, verbose=False
        )
        np.testing.assert_allclose(alone.generate(x[row : row + 1])["a"][0], after["a"][row], atol=1e-6)
        # Where a residual just meets the tolerance, rounding decides about one more step.
        assert abs(alone.after.steps[0] - attack.after.steps[row]) <= 1


def test_denial_of_service_is_told() -> None:
    found, x = classifier("deq", seed=3, tolerance=1e-8), drawn()
    before = SlowDownAttack(found, {"a": 0.5}, verbose=False).solved(x)
    # Hardly more steps than the slowest of them needs: slower ones do not get there any more.
    tight = with_fusion_options(found, max_iter=int(before.steps.max()) + 1)
    settings = {"max_iter": 8, "unroll": 4, "seed": 0, "verbose": False}
    attack = SlowDownAttack(tight, {"a": 1.0, "b": 1.0}, **settings)
    attack.generate(x)
    assert attack.before.converged.all()
    assert attack.no_longer_converged.any()
    assert (attack.after.residual[attack.no_longer_converged] > 1e-8).all()


def test_no_samples_and_zero_eps() -> None:
    found, x = classifier("deq"), drawn()
    attack = SlowDownAttack(found, {"a": 0.0}, max_iter=2, verbose=False)
    assert attack.generate(x).tobytes() == x.tobytes()
    np.testing.assert_array_equal(attack.before.steps, attack.after.steps)
    assert len(attack.generate(x[:0])) == 0 and len(attack.after.steps) == 0


def test_what_cannot_be_slowed_down() -> None:
    with pytest.raises(InputError, match=r"^SlowDownAttack needs a model whose fusion is an equilibrium: deq\."):
        SlowDownAttack(classifier("qmf"), {"a": 0.1})
    with pytest.raises(InputError, match=r"always takes 5 steps"):
        SlowDownAttack(classifier("deq", unroll=5), {"a": 0.1})
    with pytest.raises(InputError, match=r"^The model knows no modality 'depth'"):
        SlowDownAttack(classifier("deq"), {"depth": 0.1})
    with pytest.raises(ValueError, match="unroll must be a whole number"):
        SlowDownAttack(classifier("deq"), {"a": 0.1}, unroll=-1)
    attack = SlowDownAttack(classifier("deq"), {"a": 0.1})
    attack.set_params(max_iter=3, unroll=2)
    assert (attack.max_iter, attack.unroll) == (3, 2)
    with pytest.raises(ValueError, match="max_iter"):
        attack.set_params(max_iter=-1)
