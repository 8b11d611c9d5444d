"""Denial of service: an equilibrium model that takes as long as it may, or never comes to rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_multimodal.attacks.checks import check_whole_number
from art_multimodal.attacks.evasion.multimodal.balls import AttackInBalls
from art_multimodal.attacks.evasion.multimodal.raising import Aim, Look, Raised
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.modules import frozen
from art_multimodal.functional.fixed_point import FixedPoint, relative_residual, unrolled
from art_multimodal.models.fusions import Equilibrium


@dataclass(frozen=True)
class Solved:
    """How the solver of an equilibrium model fared with samples.

    :param steps: Applications of the layer, ``(N,)``.
    :param residual: How far the result is from fixed, ``(N,)``.
    :param converged: Whether that is as small as the model asks for, booleans ``(N,)``.
    """

    steps: np.ndarray
    residual: np.ndarray
    converged: np.ndarray


class ResidualAfter(Raised):
    """The residual of the layer after some plain applications, as a function that gradients pass through.

    The result of a sample is the one for which the model's own solver takes the most steps; of equal numbers, the one
    with the largest residual.

    :param clean: A look at the samples before the attack.
    :param aim: What the attack wants; labels are not used.
    :param equilibrium: The fusion.
    :param steps: Applications of the layer.
    """

    name = "residual"
    uses_labels = False
    keeps_best = True

    def __init__(self, clean: Look, aim: Aim, equilibrium: Equilibrium, steps: int) -> None:
        super().__init__(clean, aim)
        self.equilibrium, self.steps = equilibrium, steps

    def __call__(self, look: Look) -> Tensor:
        with frozen(self.equilibrium):
            layer, start = self.equilibrium.iteration(*look.asking.features(look.seen))
            state = unrolled(layer, start, self.steps)
            return relative_residual(state, layer(state))

    def harm(self, look: Look) -> Tensor:
        found = self.solve(look)
        residual = found.residual.double().nan_to_num(posinf=torch.finfo(torch.float64).max)
        # Below 1, so that a step counts more than any residual.
        return found.steps + residual / (1 + residual)

    def solve(self, look: Look) -> FixedPoint:
        """How the model's own solver fares."""
        return self.equilibrium.solve(*look.asking.features(look.seen))


class SlowDownAttack(AttackInBalls):
    """Raise the work that a fusion by equilibrium (``deq``) does for a sample, within an l_inf ball per modality.

    The number of steps of a solver has no gradient. What is climbed is the residual that is left after some plain
    applications of the layer; what is kept is the sample for which the model's own solver takes the most steps, clean
    ones included, so none gets faster. A model whose samples no longer converge answers with something that is no
    equilibrium, as late as it can: denial of service. Labels are not used: the answer may stay right.

    The budget is a guarantee, as for :class:`ProjectedGradientDescentMultimodal`.

    | Paper link: https://arxiv.org/abs/2306.16645 (the fusion); the attack is ours

    Attributes after :meth:`generate`: :attr:`before` and :attr:`after`, how the solver fared with each sample, and
    :attr:`no_longer_converged`.

    >>> from art_multimodal.models.families.modular.towers import fitting_model
    >>> seed = torch.manual_seed(0)
    >>> equilibrium = FusionClassifier(fitting_model("deq", sensors.modalities.values(), views.class_names))
    >>> attack = SlowDownAttack(equilibrium, {"pix": 0.1}, max_iter=1, seed=0, verbose=False)
    >>> attacked = attack.generate(x[:2])
    >>> bool((attack.after.steps >= attack.before.steps).all()), attack.no_longer_converged.shape
    (True, (2,))
    """

    attack_params = AttackInBalls.attack_params + ["unroll"]

    def __init__(
        self,
        estimator: FusionClassifier,
        eps: Mapping[str, float],
        eps_step: Mapping[str, float] | None = None,
        max_iter: int = 20,
        unroll: int = 10,
        num_random_init: int = 1,
        batch_size: int = 32,
        seed: int | None = None,
        verbose: bool = True,
    ) -> None:
        """
        :param estimator: The classifier to attack; its fusion is ``deq``, and not unrolled.
        :param eps: Radius of the l_inf ball of each modality that is attacked, by name, in its own units.
        :param eps_step: Length of a step of each, by name; default: a quarter of ``eps``.
        :param max_iter: Number of gradient steps; each also runs the model's solver once.
        :param unroll: Plain applications of the layer before the residual that is raised.
        :param num_random_init: 0 starts at the clean samples; otherwise the number of random starts.
        :param batch_size: Samples per forward pass.
        :param seed: Of the random starts; ``None`` draws a new one in every call.
        :param verbose: Show a progress bar.
        :raises InputError: For a model without an equilibrium, or a modality that it does not have or that holds texts.
        """
        super().__init__(estimator=estimator)
        self.eps = eps
        self.eps_step = eps_step
        self.max_iter = max_iter
        self.unroll = unroll
        self.num_random_init = num_random_init
        self.batch_size = batch_size
        self.seed = seed
        self.verbose = verbose
        #: How the solver fared with the samples of the last call, before the attack and after it.
        self.before = self.after = Solved(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, bool))
        self._check_params()

    @property
    def no_longer_converged(self) -> np.ndarray:
        """Which samples of the last call converged before the attack and do not after it, booleans ``(N,)``."""
        return self.before.converged & ~self.after.converged

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs: Any) -> np.ndarray:
        """Return slow samples ``(N,)``.

        :param x: Samples ``(N,)`` of the classifier.
        :param y: Not used.
        :raises InputError: For samples that cannot be used.
        """
        x = self.estimator.checked(x)
        self.before = self.solved(x)
        moved = self.moved(x, np.zeros(len(x), dtype=np.int64))
        self.after = self.solved(moved)
        return moved

    def solved(self, x: np.ndarray) -> Solved:
        """How the model's solver fares with samples.

        :param x: Samples ``(N,)`` of the classifier.
        """
        x = self.estimator.checked(x)
        asking, found = self.estimator.asking(self.batch_size), []
        for start in range(0, len(x), self.batch_size):
            with torch.no_grad():
                seen = asking.all_seen(x[start : start + self.batch_size])
                found.append(self._equilibrium.solve(*asking.features(seen)))
        if not found:
            return Solved(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, bool))
        parts = [[of.cpu().numpy() for of in (one.steps, one.residual, one.converged)] for one in found]
        return Solved(*(np.concatenate(of) for of in zip(*parts, strict=True)))

    def raised(self, clean: Look, labels: Tensor) -> list[Raised]:
        return [ResidualAfter(clean, Aim(tuple(self.eps), labels), self._equilibrium, self.unroll)]

    @property
    def _equilibrium(self) -> Equilibrium:
        fusion = getattr(self.estimator.multimodal, "fusion", None)
        if not isinstance(fusion, Equilibrium):
            raise InputError(
                "SlowDownAttack needs a model whose fusion is an equilibrium: deq. Others take equal time."
            )
        if fusion.unroll:
            raise InputError(
                f"SlowDownAttack needs a solver, and this model always takes {fusion.unroll} steps: deq with unroll=0."
            )
        return fusion

    def _check_params(self) -> None:
        _ = self._equilibrium
        super()._check_params()
        check_whole_number(self, "unroll", 0)
