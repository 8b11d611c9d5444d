"""An attack on what a test-time defence goes by: the image misleads the bare model, and the alarm stays silent."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_multimodal.attacks.evasion.image_ascent import BestSeen, ImageBudget, Objective, ascend
from art_multimodal.attacks.evasion.projected_gradient_descent import ProjectedGradientDescentDualEncoder
from art_multimodal.errors import InputError
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.functional.losses import class_cross_entropy, margin_loss


class AlarmEvasion(ProjectedGradientDescentDualEncoder):
    """Mislead the model in front of which a test-time defence stands, and keep the defence from acting.

    Some defences look whether an image is attacked, and act only then (TTC, DBD). What is raised here is the
    cross-entropy of the *bare* model, less ``weight`` times the alarm where it is above 0. Of all steps the images are
    returned for which the margin of the defended answer is the largest. It needs no gradient through the defence's
    steps, so it is a check on attacks that follow them.

    | Paper link: https://arxiv.org/abs/2002.08347 (attacks on the defence's own criterion)

    >>> from art_multimodal.defences.test_time import TestTimeCounterattack
    >>> defended = classifier.with_test_time_defence(TestTimeCounterattack())
    >>> attack = AlarmEvasion(defended, eps=4 / 255, max_iter=2, seed=0, verbose=False)
    >>> attack.generate(images[:2], labels[:2]).shape
    (2, 3, 32, 32)
    """

    attack_params = [*ProjectedGradientDescentDualEncoder.attack_params, "weight"]

    def __init__(self, estimator: ZeroShotClassifier, *args: Any, weight: float = 10.0, **kwargs: Any) -> None:
        """
        Other parameters are those of :class:`ProjectedGradientDescentDualEncoder`; ``loss`` is the cross-entropy.

        :param estimator: A classifier behind a test-time defence that has an alarm.
        :param weight: Of the alarm.
        :raises InputError: If the defence has none.
        """
        self.weight = weight
        super().__init__(estimator, *args, **kwargs)

    def _attack_batch(
        self, clean: Tensor, objective: Objective, mask: np.ndarray | None, generators: list[torch.Generator]
    ) -> np.ndarray:
        budget, best = ImageBudget.of(self), BestSeen(clean)
        allowed = None if mask is None else torch.from_numpy(mask.copy()).to(clean)
        for _ in range(max(1, self.num_random_init)):
            start = budget.random_starts(clean, generators) if self.num_random_init else None
            ascend(self.estimator, clean, objective, budget, start, allowed, best)
        return best.images.cpu().numpy()

    def _objective(self, clean: Tensor, labels: Tensor, classes: Tensor) -> Objective:
        head, defence = self.estimator.model.head, self.estimator.test_time_defence

        def objective(inputs: Tensor) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                score = margin_loss(head.similarity(inputs, classes), labels)
            bare = class_cross_entropy(head.bare.logits(head.bare.embed(inputs), classes), labels)
            alarm = defence.alarm(head.bare, inputs, classes)
            return bare - self.weight * alarm.clamp_min(0), score

        return objective

    def _check_params(self) -> None:
        super()._check_params()
        if self.loss != "cross_entropy" or self.targeted:
            raise ValueError("AlarmEvasion raises the cross-entropy, untargeted: leave out loss and targeted.")
        if not (np.isfinite(self.weight) and self.weight >= 0):
            raise ValueError(f"weight must be a finite number of at least 0, not {self.weight!r}.")
        if not getattr(self.estimator.test_time_defence, "has_alarm", False):
            raise InputError(
                "AlarmEvasion needs a classifier behind a test-time defence that looks whether images are attacked, "
                "such as TestTimeCounterattack or DirectionalBiasDefence."
            )
