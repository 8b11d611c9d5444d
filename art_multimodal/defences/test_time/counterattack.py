"""Test-time counterattacks (TTC)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from art_multimodal.defences.test_time.contract import Passes, TestTimeDefence, drawn, number_between, whole_number
from art_multimodal.estimators.test_time import BareModel


class TestTimeCounterattack(TestTimeDefence):
    """Perturb the image away from its own embedding: adversarial images are "falsely stable", and leave their basin.

    With ``f`` the image embedding and ``d_0`` uniform in the l_inf ball: where random noise moves the embedding by the
    share ``|f(x + d_0) - f(x)| / |f(x)| >= threshold``, the image counts as clean and gets the noise alone. Elsewhere
    ``d_i`` follows the sign of the gradient of ``|f(x + d) - f(x)|`` for ``max_iter`` steps, and what is added is the
    mean of ``d_0, d_1, ...`` with weights proportional to ``exp(beta * i)``.

    Chosen here, since our sources leave it open: ``f`` is not normalised; the gradient is that of the squared distance,
    whose signs are the same; images stay in [0, 1]; the step is three quarters of ``eps``.

    | Paper link: https://arxiv.org/abs/2503.03613

    >>> defence = TestTimeCounterattack(eps=4 / 255, max_iter=2)
    >>> classifier.with_test_time_defence(defence).predict(images).shape, defence.passes().backward
    ((8, 10), 2)
    """

    defence_params = ["eps", "eps_step", "max_iter", "beta", "threshold", *TestTimeDefence.defence_params]
    random = True
    has_alarm = True

    def __init__(
        self,
        eps: float = 4 / 255,
        eps_step: float | None = None,
        max_iter: int = 2,
        beta: float = 2.0,
        threshold: float = 0.2,
        seed: int = 0,
        draws: int = 1,
        gradient: str = "unrolled",
        softness: float = 0.5,
    ) -> None:
        """
        :param eps: Radius of the l_inf ball of the counterattack, in the units of images in [0, 1].
        :param eps_step: Length of a step; default ``0.75 * eps``.
        :param max_iter: Number of steps.
        :param beta: How much later steps outweigh earlier ones.
        :param threshold: Share of the embedding that noise must move for the image to count as clean.
        """
        super().__init__(seed, draws, gradient, softness)
        self.eps, self.eps_step, self.max_iter = eps, 0.75 * eps if eps_step is None else eps_step, max_iter
        self.beta, self.threshold = beta, threshold
        self._check_params()

    def passes(self) -> Passes:
        # The image, each of d_0, ..., d_N but the last, whose embedding nobody asks for, and what comes out.
        return Passes(2 + self.max_iter if self.max_iter else 3, self.max_iter)

    def one_answer(
        self, bare: BareModel, images: Tensor, classes: Tensor, generators: Sequence[torch.Generator]
    ) -> Tensor:
        start = self._inside(images, self.eps * drawn(generators, images))
        reference = bare.embed(images)
        moved: list[Tensor] = []

        def distance(at: Tensor) -> Tensor:
            moved.append(bare.embed(at))
            return (moved[-1] - reference).square().sum(dim=1)

        steps = [start]
        for _ in range(self.max_iter):
            direction = self.sign(self.gradient_of(distance, images + steps[-1]))
            steps.append(self._inside(images, (steps[-1] + self.eps_step * direction).clamp(-self.eps, self.eps)))
        if not moved:
            distance(images + start)
        weights = torch.tensor([math.exp(self.beta * (i - self.max_iter)) for i in range(len(steps))]).to(images)
        countered = torch.einsum("s,s...->...", weights / weights.sum(), torch.stack(steps))
        share = (moved[0] - reference).norm(dim=1) / reference.norm(dim=1)
        attacked = self.above(self.threshold - share, 0.0, self.threshold)[:, None, None, None]
        added = attacked * countered + (1 - attacked) * start
        return bare.logits(bare.embed(images + (added.detach() if self.gradient == "bpda" else added)), classes)

    def alarm(self, bare: BareModel, images: Tensor, classes: Tensor) -> Tensor:
        noisy = images + self._inside(images, self.eps * drawn(self.generators(images), images))
        reference = bare.embed(images)
        return self.threshold - (bare.embed(noisy) - reference).norm(dim=1) / reference.norm(dim=1)

    def _inside(self, images: Tensor, perturbation: Tensor) -> Tensor:
        """The perturbation for which images stay in [0, 1]."""
        return (images + perturbation).clamp(0, 1) - images

    def _check_params(self) -> None:
        super()._check_params()
        number_between(self, "eps", 0, 1)
        number_between(self, "eps_step", 0, 1)
        whole_number(self, "max_iter", 0, 100)
        number_between(self, "beta", -100, 100)
        number_between(self, "threshold", 1e-6, 100)
