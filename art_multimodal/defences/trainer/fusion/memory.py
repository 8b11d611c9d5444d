"""What the training of some fusions remembers from step to step, besides weights."""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from art_multimodal.errors import InputError
from art_multimodal.functional.fusion_objectives import protected, right_alone, sample_losses
from art_multimodal.models.fusions.shared_head import SharedHead

if TYPE_CHECKING:
    from art_multimodal.defences.trainer.fusion.batches import SampleBatch
    from art_multimodal.defences.trainer.fusion.learner import SampleLearner


class Memory:
    """Remember something of every step.

    :param learner: What attacks batches and makes losses of them.
    :param count: Number of samples that are trained on; ``None`` where they are not known again.
    :raises InputError: If that cannot be remembered.
    """

    #: Which quantities of a step are looked at.
    needs: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, learner: SampleLearner, count: int | None) -> None:
        self.learner = learner
        #: What a checkpoint holds, by name.
        self.tensors: dict[str, Tensor] = {}

    def quantities(self, batch: SampleBatch) -> dict[str, Any]:
        """What the objective may ask for."""
        return {}

    def before_step(self, batch: SampleBatch, progress: float) -> None:
        """The optimizer is about to take a step."""

    def after_step(self, batch: SampleBatch, found: dict[str, Any], progress: float) -> None:
        """The optimizer has taken a step."""

    def notes(self) -> tuple[str, ...]:
        """What is to be said when training ends, a sentence each."""
        return ()


class LossHistory(Memory):
    """For each sample and modality the sum of its losses so far (QMF); ``history`` scales them to [0, 1].

    Scaled over the training set, before the first losses all 0.
    """

    needs = frozenset({"unimodal_scores"})

    def __init__(self, learner: SampleLearner, count: int | None) -> None:
        super().__init__(learner, count)
        if count is None:
            raise InputError(
                "This method remembers the losses of each sample, and a generator does not say which ones it gives. "
                "Use fit(x, y)."
            )
        self.tensors = {name: torch.zeros(count, dtype=torch.float64) for name in learner.estimator.modalities}

    def quantities(self, batch: SampleBatch) -> dict[str, Any]:
        assert batch.rows is not None
        scaled = {}
        for name, losses in self.tensors.items():
            low, high = losses.aminmax()
            share = (losses[batch.rows] - low) / (high - low).clamp_min(torch.finfo(losses.dtype).tiny)
            scaled[name] = share.to(batch.targets)
        return {"history": scaled}

    def after_step(self, batch: SampleBatch, found: dict[str, Any], progress: float) -> None:
        assert batch.rows is not None
        for name, scores in found["unimodal_scores"].items():
            losses = sample_losses(scores, batch.targets, batch.present[name])
            self.tensors[name][batch.rows] += losses.detach().cpu().double()


class Contrasts(Memory):
    """Count the pairs of modalities that a contrast leaves out, since neither is right about any sample (UniS-MMC)."""

    needs = frozenset({"unimodal_scores"})

    def __init__(self, learner: SampleLearner, count: int | None) -> None:
        super().__init__(learner, count)
        self.tensors = {"contrasts": torch.zeros(2, dtype=torch.int64)}

    @property
    def left_out(self) -> int:
        """How many pairs were left out, a pair of each step."""
        return int(self.tensors["contrasts"][0])

    def after_step(self, batch: SampleBatch, found: dict[str, Any], progress: float) -> None:
        _, right = right_alone(found["unimodal_scores"], batch.targets, batch.present)
        pairs = [bool((right[one] | right[other]).any()) for one, other in combinations(right, 2)]
        self.tensors["contrasts"] += torch.tensor([pairs.count(False), len(pairs)])

    def notes(self) -> tuple[str, ...]:
        left_out, among = self.tensors["contrasts"].tolist()
        said = (
            f"{left_out:,} of {among:,} pairs of modalities, one of each step, were left out of the contrast: neither "
            "was right about any sample of the batch."
        )
        return (said,) if left_out else ()


class HeadProtection(Memory):
    """Keep what a shared head says about modalities that it has seen before (MLA).

    After a step on one modality, the change of the head's weights and bias is multiplied by the projection ``P``; then
    ``P`` learns the mean feature of that modality. The change is projected and no gradient: momentum, weight decay and
    the scaling of Adam would lead past it. A bias is a weight of a feature that is always 1. ``P`` only shrinks, so
    it begins anew in every epoch.
    """

    needs = frozenset({"features"})

    def __init__(self, learner: SampleLearner, count: int | None) -> None:
        super().__init__(learner, count)
        fusion = getattr(learner.multimodal, "fusion", None)
        if not isinstance(fusion, SharedHead):
            raise InputError("This method trains one head that all modalities share: give a model with the fusion mla.")
        alpha = learner.options["alpha"]
        if not (math.isfinite(alpha) and alpha > 0):
            raise InputError(f"alpha is how much of a direction is left to the head, greater than 0, not {alpha}.")
        head = fusion.heads.head
        assert isinstance(head, nn.Linear)
        self.head = head
        self._begin()
        self._before: Tensor | None = None

    @property
    def remaining(self) -> float:
        """Share of the directions in which the head may still move: the mean of the diagonal of ``P``."""
        return float(self.tensors["projection"].diagonal().mean())

    def before_step(self, batch: SampleBatch, progress: float) -> None:
        if batch.begins_epoch:
            self._begin()
        self._before = self._together().detach().clone()

    def after_step(self, batch: SampleBatch, found: dict[str, Any], progress: float) -> None:
        assert self._before is not None and batch.turn is not None
        projection = self.tensors["projection"]
        moved = self._before + ((self._together() - self._before).double().cpu() @ projection).to(self._before)
        self.head.weight.copy_(moved[:, :-1])
        self.head.bias.copy_(moved[:, -1])
        there = batch.present[batch.turn]
        if bool(there.any()):
            mean = found["features"][batch.turn][there].detach().mean(dim=0).double().cpu()
            alpha = self.learner.options["alpha"] ** (1 + progress)
            self.tensors["projection"] = protected(projection, torch.cat([mean, mean.new_ones(1)]), alpha)

    def _begin(self) -> None:
        """Nothing is protected yet."""
        self.tensors = {"projection": torch.eye(self.head.in_features + 1, dtype=torch.float64)}

    def _together(self) -> Tensor:
        """Weights and bias as one matrix ``[K, D + 1]``."""
        return torch.cat([self.head.weight, self.head.bias[:, None]], dim=1)
