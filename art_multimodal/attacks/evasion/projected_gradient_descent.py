"""Projected gradient descent on the images of a dual encoder: on class scores or on embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.estimators.estimator import BaseEstimator
from torch import Tensor
from tqdm.auto import tqdm

from art_multimodal.attacks.checks import check_whole_number
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.functional.losses import class_cross_entropy, embedding_kl, embedding_l2
from art_multimodal.functional.perturbations import norm_of, projected_gradient_ascent
from art_multimodal.labels import label_indices
from art_multimodal.pairs import check_images

LOSSES = ("cross_entropy", "embedding_kl", "embedding_l2")


class ProjectedGradientDescentDualEncoder(EvasionAttack):
    """PGD that works on tensors from start to end, and can push embeddings as well as class scores.

    The budget is a guarantee: every image returned is in [0, 1] and within ``eps`` of its original in ``norm``, up to
    one rounding of float32. Equal seeds give equal results. One step costs one forward and one backward pass of the
    image tower; with ``num_random_init`` > 1, one more forward pass per restart.

    ART's preprocessing defences on the estimator are attacked through: by autograd where they are torch modules,
    otherwise with the gradients that they estimate for themselves.

    | Paper link: https://arxiv.org/abs/1706.06083 (PGD)
    | Paper link: https://arxiv.org/abs/2404.19287 (MMCoA, the image attack)
    """

    attack_params = EvasionAttack.attack_params + [
        "norm",
        "eps",
        "eps_step",
        "max_iter",
        "loss",
        "targeted",
        "num_random_init",
        "batch_size",
        "seed",
        "verbose",
    ]
    _estimator_requirements = (BaseEstimator, ZeroShotClassifier)

    def __init__(
        self,
        estimator: ZeroShotClassifier,
        norm: int | float | str = np.inf,
        eps: float = 1 / 255,
        eps_step: float = 1 / 255,
        max_iter: int = 10,
        loss: str = "cross_entropy",
        targeted: bool = False,
        num_random_init: int = 1,
        batch_size: int = 32,
        seed: int | None = None,
        verbose: bool = True,
    ) -> None:
        """
        :param estimator: The classifier to attack.
        :param norm: ``np.inf``, ``"inf"`` or ``2``.
        :param eps: Radius of the budget, in the units of images in [0, 1].
        :param eps_step: Length of a step.
        :param max_iter: Number of steps.
        :param loss: What is raised: ``"cross_entropy"`` over the class prompts, ``"embedding_kl"`` or
            ``"embedding_l2"`` between the clean and the adversarial image embedding (labels are not used then).
        :param targeted: Lower the loss of the given labels instead; with ``"cross_entropy"`` only.
        :param num_random_init: 0 starts at the clean image; otherwise the number of random starts, of which the one
            with the largest loss is kept for each sample.
        :param batch_size: Images per forward pass.
        :param seed: Of the random starts; ``None`` draws a new one in every call.
        :param verbose: Show a progress bar.
        """
        super().__init__(estimator=estimator)
        self.norm = norm
        self.eps = eps
        self.eps_step = eps_step
        self.max_iter = max_iter
        self.loss = loss
        self._targeted = targeted
        self.num_random_init = num_random_init
        self.batch_size = batch_size
        self.seed = seed
        self.verbose = verbose
        self._check_params()

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs: Any) -> np.ndarray:
        """Return adversarial images, ``float32`` of the shape of ``x``.

        :param x: Images ``(N, 3, H, W)`` in [0, 1].
        :param y: Labels as indices or one-hot rows: the true ones, or the wanted ones when targeted. Without them the
            model's own predictions are used.
        :param mask: (keyword) Where perturbing is allowed, broadcastable to ``x``; 0 forbids.
        :raises InputError: For images or labels that cannot be used.
        """
        x = check_images(x)
        labels = label_indices(y, self.estimator.nb_classes, len(x))
        if labels is None:
            if self.targeted:
                raise ValueError("A targeted attack needs the wanted labels in `y`.")
            labels = self.estimator.predict(x, batch_size=self.batch_size).argmax(axis=1)
        mask = kwargs.get("mask")
        mask = None if mask is None else np.broadcast_to(np.asarray(mask, dtype=np.float32), x.shape)
        self.estimator.model.eval()
        generator = torch.Generator().manual_seed(self._start_seed())
        adversarial = np.empty_like(x)
        starts = range(0, len(x), self.batch_size)
        for start in tqdm(starts, desc="PGD", disable=not self.verbose):
            rows = slice(start, start + self.batch_size)
            adversarial[rows] = self._attack_batch(
                x[rows], labels[rows], None if mask is None else mask[rows], generator
            )
        return adversarial

    def _attack_batch(
        self, x: np.ndarray, y: np.ndarray, mask: np.ndarray | None, generator: torch.Generator
    ) -> np.ndarray:
        device = self.estimator.device
        clean = torch.from_numpy(x).to(device)
        allowed = None if mask is None else torch.from_numpy(mask.copy()).to(device)
        objective = self._objective(clean, torch.from_numpy(y).to(device))

        def run(start: torch.Generator | None) -> Tensor:
            return projected_gradient_ascent(
                lambda images: self._gradient(images, objective),
                clean,
                norm=norm_of(self.norm),
                eps=self.eps,
                eps_step=self.eps_step,
                max_iter=self.max_iter,
                generator=start,
                mask=allowed,
            )

        if self.num_random_init <= 1:
            return run(generator if self.num_random_init else None).cpu().numpy()
        best, best_loss = clean, torch.full((len(x),), -torch.inf, device=device)
        for _ in range(self.num_random_init):
            candidate = run(generator)
            with torch.no_grad():
                loss = objective(self._preprocessed(candidate))
            better = loss > best_loss
            best = torch.where(better.view(-1, 1, 1, 1), candidate, best)
            best_loss = torch.where(better, loss, best_loss)
        return best.cpu().numpy()

    def _objective(self, clean: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the function from model inputs to what is raised, ``[N]``."""
        module = self.estimator.model
        if self.loss == "cross_entropy":
            sign = -1.0 if self.targeted else 1.0
            if module.probabilities:
                return lambda inputs: (
                    sign * torch.nn.functional.nll_loss(module(inputs).clamp_min(1e-30).log(), labels, reduction="none")
                )
            return lambda inputs: sign * class_cross_entropy(module(inputs), labels)
        distance = {"embedding_kl": embedding_kl, "embedding_l2": embedding_l2}[self.loss]
        with torch.no_grad():
            reference = module.image_features(self._preprocessed(clean))
        return lambda inputs: distance(reference, module.image_features(inputs))

    def _preprocessed(self, images: Tensor) -> Tensor:
        """Apply ART's preprocessing defences; differentiable where all of them are torch modules."""
        estimator = self.estimator
        if estimator.all_framework_preprocessing:
            return estimator._apply_preprocessing(images, y=None, fit=False, no_grad=False)[0]
        inputs, _ = estimator._apply_preprocessing(images.detach().cpu().numpy(), y=None, fit=False)
        return torch.from_numpy(inputs).to(images)

    def _gradient(self, images: Tensor, objective: Callable[[Tensor], Tensor]) -> Tensor:
        estimator = self.estimator
        if estimator.all_framework_preprocessing:
            images = images.detach().requires_grad_(True)
            return torch.autograd.grad(objective(self._preprocessed(images)).sum(), images)[0]
        inputs = self._preprocessed(images).detach().requires_grad_(True)
        gradient = torch.autograd.grad(objective(inputs).sum(), inputs)[0]
        # numpy defences answer with the gradient that they define for themselves (straight-through, mostly).
        through = estimator._apply_preprocessing_gradient(images.cpu().numpy(), gradient.cpu().numpy())
        return torch.from_numpy(np.ascontiguousarray(through)).to(images)

    def _start_seed(self) -> int:
        return int(np.random.default_rng(self.seed).integers(2**63 - 1))

    def _check_params(self) -> None:
        norm_of(self.norm)
        if not (np.isfinite(self.eps) and self.eps >= 0):
            raise ValueError(f"eps must be a finite number of at least 0, not {self.eps!r}.")
        if not (np.isfinite(self.eps_step) and self.eps_step > 0):
            raise ValueError(f"eps_step must be a finite number greater than 0, not {self.eps_step!r}.")
        for name, least in (("max_iter", 0), ("num_random_init", 0), ("batch_size", 1)):
            check_whole_number(self, name, least)
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, not {self.loss!r}.")
        if self.loss != "cross_entropy" and self.num_random_init == 0:
            raise ValueError(
                "Embedding losses have no gradient at the clean image: num_random_init must be at least 1."
            )
        if self.targeted and self.loss != "cross_entropy":
            raise ValueError("A targeted attack needs loss='cross_entropy': embeddings have no wanted label.")
