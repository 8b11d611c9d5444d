"""Projected gradient descent on the images of a dual encoder: on class scores or on embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.estimators.estimator import BaseEstimator
from torch import Tensor
from tqdm.auto import tqdm

from art_multimodal.attacks.evasion.image_ascent import (
    CLASS_LOSSES,
    BestSeen,
    ImageBudget,
    Objective,
    Unsaturated,
    ascend,
    check_image_budget,
    class_loss,
    own_generators,
    own_score,
)
from art_multimodal.errors import InputError
from art_multimodal.estimators.defences import preprocessed
from art_multimodal.estimators.test_time import check_embeds
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.functional.losses import embedding_kl, embedding_l2
from art_multimodal.labels import label_indices
from art_multimodal.pairs import check_images

EMBEDDING_LOSSES = {"embedding_kl": embedding_kl, "embedding_l2": embedding_l2}
LOSSES = (*CLASS_LOSSES, *EMBEDDING_LOSSES)


class ProjectedGradientDescentDualEncoder(EvasionAttack):
    """PGD that works on tensors from start to end, and can push embeddings as well as class scores.

    The budget is a guarantee: every image returned is in [0, 1] and within ``eps`` of its original in ``norm``, up to
    one rounding of float32. Equal seeds give equal results, and random starts belong to an image: they depend neither
    on ``batch_size`` nor on what stands beside it. One step costs one forward and one backward pass of the
    image tower; with ``num_random_init`` > 1, one more forward pass per start.

    ART's preprocessing defences on the estimator are attacked through: by autograd where they are torch modules,
    otherwise with the gradients that they estimate for themselves.

    | Paper link: https://arxiv.org/abs/1706.06083 (PGD)
    | Paper link: https://arxiv.org/abs/2404.19287 (MMCoA, the image attack)

    >>> attack = ProjectedGradientDescentDualEncoder(classifier, eps=32 / 255, eps_step=8 / 255, seed=0, verbose=False)
    >>> attacked = attack.generate(images, labels)
    >>> bool(np.abs(attacked - images).max() <= 32 / 255 + 1e-6)
    True
    >>> bool((classifier.predict(attacked).argmax(axis=1) == labels).mean() < 0.5)
    True
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
        :param loss: What is raised: ``"cross_entropy"`` over the class prompts, ``"margin"``, the best other logit
            minus the label's, or ``"embedding_kl"`` or ``"embedding_l2"`` between the clean and the adversarial image
            embedding (labels are not used then).
        :param targeted: Lower the loss of the given labels instead; not with embeddings.
        :param num_random_init: 0 starts at the clean image; otherwise the number of random starts. Of one start the
            last images are returned; of several, for each sample the images with the largest loss on the way.
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
            model's own predictions are used, those with ``prompts`` where given.
        :param mask: (keyword) Where perturbing is allowed, broadcastable to ``x``; 0 forbids.
        :param prompts: (keyword) The prompts to attack, instead of the estimator's: ``(K,)``, shared by all images, or
            ``(N, K)``, a set for each image, as text attacks return them. What the images will be evaluated with.
        :raises InputError: For images, labels or prompts that cannot be used.
        """
        x = check_images(x)
        prompts = kwargs.get("prompts")
        if prompts is not None and self.loss in EMBEDDING_LOSSES:
            raise InputError(f"loss={self.loss!r} looks at no prompts: use one of {', '.join(CLASS_LOSSES)}.")
        labels = label_indices(y, self.estimator.nb_classes, len(x))
        if labels is None:
            if self.targeted:
                raise ValueError("A targeted attack needs the wanted labels in `y`.")
            if prompts is None:
                labels = self.estimator.predict(x, batch_size=self.batch_size).argmax(axis=1)
            else:
                labels = self.estimator.predict_on(x, prompts, batch_size=self.batch_size).argmax(axis=1)
        mask = kwargs.get("mask")
        mask = None if mask is None else np.broadcast_to(np.asarray(mask, dtype=np.float32), x.shape)
        self.estimator.model.eval()
        classes = self._class_features(prompts, len(x))
        generators = own_generators(self.seed, x) if self.num_random_init else []
        adversarial = np.empty_like(x)
        starts = range(0, len(x), self.batch_size)
        for start in tqdm(starts, desc="PGD", disable=not self.verbose):
            rows = slice(start, start + self.batch_size)
            clean = torch.from_numpy(x[rows]).to(self.estimator.device)
            objective = self._objective(
                clean, torch.from_numpy(labels[rows]).to(clean.device), classes[rows] if classes.ndim == 3 else classes
            )
            adversarial[rows] = self._attack_batch(
                clean, objective, None if mask is None else mask[rows], generators[rows]
            )
        return adversarial

    def _class_features(self, prompts: np.ndarray | None, count: int) -> Tensor:
        """Unit embeddings of the classes, ``[K, D]`` or ``[N, K, D]``."""
        if prompts is None:
            return self.estimator.class_features()
        features = self.estimator.prompt_features(prompts)
        if features.ndim == 3 and len(features) != count:
            raise InputError(f"{len(features)} sets of prompts came for {count} images: give one per image, or one.")
        return features

    def _attack_batch(
        self, clean: Tensor, objective: Objective, mask: np.ndarray | None, generators: list[torch.Generator]
    ) -> np.ndarray:
        budget = ImageBudget.of(self)
        allowed = None if mask is None else torch.from_numpy(mask.copy()).to(clean)
        best = BestSeen(clean) if self.num_random_init > 1 else None
        for _ in range(max(1, self.num_random_init)):
            start = budget.random_starts(clean, generators) if self.num_random_init else None
            last = ascend(self.estimator, clean, objective, budget, start, allowed, best)
        return (last if best is None else best.images).cpu().numpy()

    def _objective(self, clean: Tensor, labels: Tensor, classes: Tensor) -> Objective:
        """Return the function from model inputs to what is raised, which also tells which of several starts is best."""
        module, loss = self.estimator.model, self.loss
        if loss in CLASS_LOSSES:
            similarity, targeted, scale = module.head.similarity, self.targeted, Unsaturated(labels, classes.dtype)

            def raised(inputs: Tensor) -> Tensor:
                logits = similarity(module.image_features(inputs), classes)
                return class_loss(loss, scale(logits) if loss == "cross_entropy" else logits, labels, targeted)

            return own_score(raised)
        with torch.no_grad():
            reference = module.image_features(preprocessed(self.estimator, clean))
        return own_score(lambda inputs: EMBEDDING_LOSSES[loss](reference, module.image_features(inputs)))

    def _check_params(self) -> None:
        check_image_budget(self)
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, not {self.loss!r}.")
        if self.loss in EMBEDDING_LOSSES:
            check_embeds(self.estimator)
        if self.loss in EMBEDDING_LOSSES and self.num_random_init == 0:
            raise ValueError(
                "Embedding losses have no gradient at the clean image: num_random_init must be at least 1."
            )
        if self.targeted and self.loss in EMBEDDING_LOSSES:
            raise ValueError(
                f"A targeted attack needs a loss of classes ({' or '.join(map(repr, CLASS_LOSSES))}): embeddings have "
                "no wanted label."
            )
