"""Gradient ascent on the images of an ART estimator, through its preprocessing defences: what image attacks share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from art.estimators.pytorch import PyTorchEstimator
from torch import Tensor

from art_multimodal.attacks.checks import check_whole_number
from art_multimodal.estimators.defences import preprocessed, score_and_gradient
from art_multimodal.estimators.modules import LearningModule
from art_multimodal.functional.losses import class_cross_entropy, margin_loss
from art_multimodal.functional.perturbations import norm_of, projected_gradient_ascent, random_start

#: Maps model inputs ``[N, C, H, W]``, that is preprocessed images, to what is raised and to what tells which images of
#: a sample are the best, ``[N]`` each; often one and the same.
Objective = Callable[[Tensor], tuple[Tensor, Tensor]]

#: Losses on logits and labels.
CLASS_LOSSES = ("cross_entropy", "margin")


@dataclass(frozen=True)
class ImageBudget:
    """How far and in what steps images may move.

    :param norm: ``inf`` or ``2.0``.
    :param eps: Radius of the ball, in the units of images in [0, 1].
    :param eps_step: Length of a step.
    :param max_iter: Number of steps.
    """

    norm: float
    eps: float
    eps_step: float
    max_iter: int

    @classmethod
    def of(cls, attack: Any) -> ImageBudget:
        """The budget in an attack's parameters of these names."""
        return cls(norm_of(attack.norm), attack.eps, attack.eps_step, attack.max_iter)

    def random_start(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Draw perturbations inside the ball, all by one generator: they depend on how images are batched."""
        return random_start(clean, self.norm, self.eps, generator)

    def random_starts(self, clean: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Draw a perturbation inside the ball for each image, by its own generator."""
        pairs = zip(clean, generators, strict=True)
        return torch.cat([random_start(image[None], self.norm, self.eps, generator) for image, generator in pairs])


def check_image_budget(attack: Any) -> None:
    """Check the parameters ``norm``, ``eps``, ``eps_step``, ``max_iter``, ``num_random_init`` and ``batch_size``.

    :raises ValueError: Naming the first that cannot be used.
    """
    norm_of(attack.norm)
    if not (np.isfinite(attack.eps) and attack.eps >= 0):
        raise ValueError(f"eps must be a finite number of at least 0, not {attack.eps!r}.")
    if not (np.isfinite(attack.eps_step) and attack.eps_step > 0):
        raise ValueError(f"eps_step must be a finite number greater than 0, not {attack.eps_step!r}.")
    for name, least in (("max_iter", 0), ("num_random_init", 0), ("batch_size", 1)):
        check_whole_number(attack, name, least)


class Unsaturated:
    """Divides logits that are so far apart that their cross-entropy has no gradient left.

    By one number for each sample, found from the first logits that come and kept, so that what is raised stays one
    function. Logits that are nearer are left bit for bit as they are.

    :param labels: Class indices ``[N]``.
    :param dtype: What gradients pass through: that of the model's weights.
    """

    def __init__(self, labels: Tensor, dtype: torch.dtype) -> None:
        self.labels = labels
        # How far the label may lie before the next class, or behind it: half of what the exponents hold.
        self.most_lead = -math.log(torch.finfo(dtype).tiny) / 2
        self._divisor: Tensor | None = None

    def __call__(self, logits: Tensor) -> Tensor:
        if self._divisor is None:
            lead = margin_loss(logits.detach(), self.labels).abs()
            self._divisor = (lead / self.most_lead).clamp_min(1)[:, None]
        return logits / self._divisor


def class_loss(name: str, logits: Tensor, labels: Tensor, targeted: bool) -> Tensor:
    """What to raise, ``[N]``, for the model to err on the labels, or to give them when targeted.

    :param name: One of :data:`CLASS_LOSSES`.
    """
    if name == "margin":
        return margin_loss(logits, labels, targeted)
    return class_cross_entropy(logits, labels) * (-1 if targeted else 1)


def own_score(raised: Callable[[Tensor], Tensor]) -> Objective:
    """The objective whose best images are those for which what is raised is the largest.

    >>> objective = own_score(lambda inputs: inputs.flatten(1).sum(dim=1))
    >>> raised, score = objective(torch.ones(2, 3, 4, 4))
    >>> raised.tolist() == score.tolist() == [48.0, 48.0]
    True

    :param raised: Maps model inputs ``[N, C, H, W]`` to a number each, ``[N]``.
    """

    def objective(inputs: Tensor) -> tuple[Tensor, Tensor]:
        value = raised(inputs)
        return value, value

    return objective


def own_generators(seed: int | Sequence[int] | None, images: np.ndarray) -> list[torch.Generator]:
    """A source of random numbers for each image, which depends on a seed and on its pixels, and on nothing else.

    So it does not matter which images share a batch, in what order they come, or which of them are left.

    :param seed: A number, or several that only together are one; with ``None`` the sources are new ones in every call.
    :param images: ``(N, C, H, W)``.
    """
    key = np.random.default_rng(seed).integers(2**63 - 1).tobytes()
    # Adding 0 makes -0 and 0, which are equal, the same bytes.
    digests = (blake2b(np.ascontiguousarray(image + 0).data, digest_size=8, key=key).digest() for image in images)
    return [torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1) for digest in digests]


class BestSeen:
    """For each sample the images with the highest score so far; the clean ones until something scores at all.

    :param clean: Shape ``[N, C, H, W]``.
    """

    def __init__(self, clean: Tensor) -> None:
        self.images = clean.clone()
        self.scores = torch.full((len(clean),), -torch.inf, device=clean.device)

    def offer(self, images: Tensor, scores: Tensor) -> None:
        """Keep those images that score higher than what there is."""
        better = scores > self.scores
        self.images[better] = images[better]
        self.scores = torch.where(better, scores.to(self.scores), self.scores)


def ascend(
    estimator: PyTorchEstimator,
    clean: Tensor,
    objective: Objective,
    budget: ImageBudget,
    start: Tensor | None = None,
    mask: Tensor | None = None,
    best: BestSeen | None = None,
) -> Tensor:
    """Raise an objective within a budget: one forward and one backward pass for each step.

    :param estimator: Its preprocessing stands between images and objective.
    :param clean: Images ``[N, C, H, W]`` in [0, 1], on the estimator's device.
    :param objective: Of model inputs.
    :param budget: Holds for what is returned, and for all that ``best`` is offered.
    :param start: The perturbation to start with; none when ``None``.
    :param mask: Where perturbing is allowed.
    :param best: Is offered the images of every step, at the price of one more forward pass in the end.
    :return: The images after the last step.
    """

    def gradient(images: Tensor) -> Tensor:
        score, direction = score_and_gradient(estimator, images, objective)
        if best is not None:
            best.offer(images, score)
        return direction

    module = estimator.model
    with module.without_parameters() if isinstance(module, LearningModule) else nullcontext():
        last = projected_gradient_ascent(
            gradient, clean, budget.norm, budget.eps, budget.eps_step, budget.max_iter, mask=mask, start=start
        )
    if best is not None:
        with torch.no_grad():
            best.offer(last, objective(preprocessed(estimator, last))[1])
    return last
