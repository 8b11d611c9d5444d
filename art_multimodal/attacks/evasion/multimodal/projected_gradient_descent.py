"""Projected gradient descent on several modalities at once, each within a budget of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_multimodal.attacks.checks import check_whole_number
from art_multimodal.attacks.evasion.multimodal.balls import AttackInBalls
from art_multimodal.attacks.evasion.multimodal.judging import labels_for
from art_multimodal.attacks.evasion.multimodal.raising import LOSSES, Aim, Look, Raised
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier


class ProjectedGradientDescentMultimodal(AttackInBalls):
    """PGD over the product of balls: all named modalities take a step at once, each in its own norm and units.

    The budget is a guarantee: every modality lies within its ``eps`` and its ``clip_values``, up to one rounding of
    float32. What is not named, what is behind the length of a sequence, and what a sample lacks stay as
    they are. With ``norm=inf`` and without random starts it takes the steps that ART's PGD takes on
    :meth:`FusionClassifier.packed_view`. Random starts belong to a sample: they depend neither on ``batch_size`` nor on
    what stands beside it.

    ===================  ==========================================================================  ================
    loss                 what is raised                                                              models
    ===================  ==========================================================================  ================
    ``cross_entropy``    the cross-entropy of the label                                              all
    ``margin``           the best other score less the label's                                       all
    ``fused``            the squared distance of the fused vector from the clean one; no labels      all
    ``confidence``       what the attacked modalities contribute to a wrong class less what they     late, qmf, mla,
                         contribute to the label, ``w_m (l_mj - l_my)``                              consensus
    ``agreement``        the probability that they add to a wrong class of a mixture, ``w_m p_mj``   consensus
    ===================  ==========================================================================  ================

    With the last two the best of all steps is returned, clean samples included, by the margin of the fused scores.

    | Paper link: https://arxiv.org/abs/1706.06083 (PGD)

    >>> eps = {"pix": 0.1, "fou": 0.05}
    >>> attack = ProjectedGradientDescentMultimodal(sensors, eps, max_iter=3, seed=0, verbose=False)
    >>> attacked = attack.generate(x, y)
    >>> [bool(np.abs(attacked[name] - x[name]).max() <= eps.get(name, 0) + 1e-6) for name in ("pix", "fou", "kar")]
    [True, True, True]
    """

    attack_params = AttackInBalls.attack_params + ["norm", "loss", "targeted", "targets"]

    def __init__(
        self,
        estimator: FusionClassifier,
        eps: Mapping[str, float],
        norm: Mapping[str, float | str] | float | str = np.inf,
        eps_step: Mapping[str, float] | None = None,
        max_iter: int = 10,
        loss: str = "cross_entropy",
        targeted: bool = False,
        num_random_init: int = 1,
        batch_size: int = 32,
        seed: int | None = None,
        verbose: bool = True,
        targets: int | None = None,
    ) -> None:
        """
        :param estimator: The classifier to attack.
        :param eps: Radius of the ball of each modality that is attacked, by name, in its own units.
        :param norm: ``np.inf``, ``"inf"`` or ``2``, for all or by name.
        :param eps_step: Length of a step of each, by name; default: a quarter of ``eps``.
        :param max_iter: Number of steps; one forward and one backward pass each.
        :param loss: What is raised, as listed above.
        :param targeted: Lower the loss of the given labels instead; not with ``"fused"``.
        :param num_random_init: 0 starts at the clean samples; otherwise the number of random starts. Of several the one
            with the largest loss is returned, for each sample.
        :param batch_size: Samples per forward pass.
        :param seed: Of the random starts; ``None`` draws a new one in every call.
        :param verbose: Show a progress bar.
        :param targets: Go for so many of the most likely wrong classes, one after the other from each start, with
            ``max_iter`` steps for each; 0 for the best wrong class of each step. Default: 9 (or as many as there are)
            with ``"confidence"`` and ``"agreement"``, else 0. Not with ``"cross_entropy"`` or ``"fused"``.
        :raises InputError: For a modality that the model does not have or that holds texts, or a loss that the model
            does not allow.
        """
        super().__init__(estimator=estimator)
        self.eps = eps
        self.norm = norm
        self.eps_step = eps_step
        self.max_iter = max_iter
        self.loss = loss
        self._targeted = targeted
        self.num_random_init = num_random_init
        self.batch_size = batch_size
        self.seed = seed
        self.verbose = verbose
        self.targets = targets
        self._check_params()

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs: Any) -> np.ndarray:
        """Return adversarial samples ``(N,)``.

        :param x: Samples ``(N,)`` of the classifier.
        :param y: Labels as indices or one-hot rows: the true ones, or the wanted ones when targeted. Without them the
            model's own predictions are used.
        :raises InputError: For samples or labels that cannot be used.
        """
        x = self.estimator.checked(x)
        return self.moved(x, labels_for(self, x, y))

    def raised(self, clean: Look, labels: Tensor) -> list[Raised]:
        kind, aim = LOSSES[self.loss], Aim(tuple(self.eps), labels, self.targeted)
        count = min(self._most_targets, self.estimator.nb_classes - 1)
        if not count:
            return [kind(clean, aim)]
        others = clean.scores.scatter(1, labels[:, None], -torch.inf)
        likely = others.argsort(dim=1, descending=True, stable=True)[:, :count]
        return [kind(clean, Aim(aim.names, labels, rivals=rivals)) for rivals in likely.unbind(dim=1)]

    @property
    def _most_targets(self) -> int:
        if self.targets is not None:
            return self.targets
        return 0 if self.targeted else LOSSES[self.loss].classes_by_default

    def _check_params(self) -> None:
        super()._check_params()
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, not {self.loss!r}.")
        kind = LOSSES[self.loss]
        if refusal := kind.refusal(self.estimator.multimodal):
            raise InputError(refusal)
        if not kind.uses_labels and (self.targeted or not self.num_random_init):
            raise ValueError(
                f"loss={self.loss!r} has no wanted label and no gradient at the clean samples: untargeted, with at "
                "least one random start."
            )
        if self.targets is not None:
            check_whole_number(self, "targets", 0)
            if self.targets and (self.targeted or not kind.goes_for_classes):
                able = ", ".join(name for name, one in LOSSES.items() if one.goes_for_classes)
                raise ValueError(f"targets is for attacks that are not targeted, with a loss of {able}.")
