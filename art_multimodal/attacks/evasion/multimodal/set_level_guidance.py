"""Set-level guidance (SGA): an image at several scales, pushed away from all its captions at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.estimators.estimator import BaseEstimator
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from art_multimodal.attacks.checks import check_whole_number
from art_multimodal.attacks.evasion.image_ascent import ImageBudget, check_image_budget, own_generators
from art_multimodal.attacks.evasion.multimodal.base import MultimodalAttack
from art_multimodal.attacks.evasion.text.search import TextRecord
from art_multimodal.attacks.evasion.text.text_attack import TextAttack
from art_multimodal.estimators.defences import score_and_gradient
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.functional.perturbations import projected_gradient_ascent
from art_multimodal.functional.rescaling import rescaled
from art_multimodal.groups import first_rows, image_groups, numbered
from art_multimodal.labels import label_indices


class SetLevelGuidanceAttack(MultimodalAttack):
    """Attack an image and the set of its captions together, in three steps.

    1. Each caption is attacked by ``text_attack``, against the clean image.
    2. The image is moved so that, over several of its scales, it becomes unlike all of these captions: what falls is
       the sum over captions and scales of the cosine of their embeddings. Every step averages over all scales.
    3. Each original caption is attacked again, now against the adversarial image.

    On an :class:`ImageTextRetriever` the captions of an image are the texts of all rows with its pixels, and pairs come
    back, in which rows of one image still hold one image. On a :class:`ZeroShotClassifier` the captions of an image are
    the prompts of its label; images come back, and the adversarial prompts are in :attr:`prompts`.

    Guarantees: every image returned is in [0, 1] and within ``eps`` of its original in ``norm``, up to one rounding of
    float32; texts differ from the original ones by no more than ``text_attack`` promises; equal seeds give equal
    results, and random numbers do not depend on how images are batched. A step costs one forward and one backward pass
    of the image tower for each scale.

    Only the own captions of an image are looked at, not those that it competes with: where the others are known (the
    classes of a classifier), attacks on their scores are stronger. What guides the images are attacked captions, so a
    text attack that hardly moves them weakens the images, too.

    ART's preprocessing defences on the estimator are attacked through.

    | Paper link: https://arxiv.org/abs/2307.14061 (SGA)

    >>> from art_multimodal.attacks.evasion import BertAttack
    >>> on_texts = BertAttack(retriever, loss="similarity", verbose=False)
    >>> attack = SetLevelGuidanceAttack(retriever, on_texts, eps=4 / 255, max_iter=1, seed=0, verbose=False)
    >>> attacked = attack.generate(captioned)
    >>> bool(np.abs(attacked["image"] - captioned["image"]).max() <= 4 / 255 + 1e-6)
    True
    """

    attack_params = EvasionAttack.attack_params + [
        "text_attack",
        "norm",
        "eps",
        "eps_step",
        "max_iter",
        "scales",
        "noise",
        "num_random_init",
        "batch_size",
        "seed",
        "verbose",
    ]
    _estimator_requirements = (BaseEstimator, (ImageTextRetriever, ZeroShotClassifier))  # type: ignore[assignment]

    def __init__(
        self,
        estimator: ImageTextRetriever | ZeroShotClassifier,
        text_attack: TextAttack | None = None,
        norm: int | float | str = np.inf,
        eps: float = 2 / 255,
        eps_step: float = 0.5 / 255,
        max_iter: int = 10,
        scales: Sequence[float] = (0.5, 0.75, 1.0, 1.25, 1.5),
        noise: float = 0.0,
        num_random_init: int = 1,
        batch_size: int = 32,
        seed: int | None = None,
        verbose: bool = True,
    ) -> None:
        """
        :param estimator: What to attack.
        :param text_attack: An attack on the texts of the same estimator; as published, a :class:`BertAttack` with
            ``loss="similarity"`` that changes one word. ``None`` leaves texts alone.
        :param norm: ``np.inf``, ``"inf"`` or ``2``.
        :param eps: Radius of the images' budget, in the units of images in [0, 1].
        :param eps_step: Length of a step.
        :param max_iter: Number of steps.
        :param scales: Factors for the sides of an image, each greater than 0.
        :param noise: Standard deviation of Gaussian noise that is added in front of each resize, drawn anew each time;
            0.05 in the published code.
        :param num_random_init: 1 starts at random in the budget, 0 at the clean image.
        :param batch_size: Images per forward pass.
        :param seed: Of random starts and noise; ``None`` draws a new one in every call.
        :param verbose: Show a progress bar.
        """
        super().__init__(estimator)
        self.text_attack = text_attack
        self.norm = norm
        self.eps = eps
        self.eps_step = eps_step
        self.max_iter = max_iter
        self.scales = scales
        self.noise = noise
        self.num_random_init = num_random_init
        self.batch_size = batch_size
        self.seed = seed
        self.verbose = verbose
        self._check_params()

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs: Any) -> np.ndarray:
        """Return adversarial pairs on a retriever, adversarial images on a classifier; see the class.

        :param x: Pairs ``(N,)`` on an :class:`ImageTextRetriever`, images ``(N, 3, H, W)`` in [0, 1] on a
            :class:`ZeroShotClassifier`.
        :param y: On a classifier the true labels, as indices or one-hot rows; without them the model's own predictions
            are used. Not used on a retriever.
        :raises InputError: For samples or labels that cannot be used, or texts that the model refuses.
        """
        images = self.images_of(x)
        labels = self._labels(images, y)
        texts, records = self._attacked_texts(x, labels)
        if len(images):
            # Images of a classifier have their own labels, and so their own captions, however equal they are.
            groups = image_groups(images) if labels is None else np.arange(len(images))
            guides = self._guides_of_pairs(x, texts, groups) if labels is None else self._guides_of(texts, labels)
            images = self._move(images[first_rows(groups)], guides)[groups]
            texts, records = self._attacked_texts(self.with_images(x, images), labels)
        return self.result(x, images, texts, records)

    def _labels(self, images: np.ndarray, y: np.ndarray | None) -> np.ndarray | None:
        if not self.estimator.texts_are_prompts:
            return None
        labels = label_indices(y, self.estimator.nb_classes, len(images))
        return self.estimator.predict_labels(images, batch_size=self.batch_size) if labels is None else labels

    def _attacked_texts(self, x: np.ndarray, labels: np.ndarray | None) -> tuple[np.ndarray, list[TextRecord]]:
        if self.text_attack is None:
            return self.texts_of(x), []
        return self.attack_texts(self.text_attack, x, labels)

    def _guides_of_pairs(self, x: np.ndarray, texts: np.ndarray, groups: np.ndarray) -> Tensor:
        """For each distinct image the sum of its captions' unit embeddings, ``[G, D]``."""
        # An image's captions are a set: a text that it has twice counts once.
        rows = first_rows(numbered(zip(groups.tolist(), x["text"], strict=True)))
        captions = F.normalize(self.estimator.text_features(texts[rows].tolist()), dim=-1)
        sums = captions.new_zeros(int(groups.max()) + 1, captions.shape[1])
        return sums.index_add_(0, torch.from_numpy(groups[rows]).to(sums.device), captions)

    def _guides_of(self, prompts: np.ndarray, labels: np.ndarray) -> Tensor:
        """For each image the direction of the sum of its label's prompts, ``[N, D]``."""
        features = self.estimator.prompt_features(prompts)
        classes = torch.from_numpy(labels).to(features.device)
        return features[classes] if features.ndim == 2 else features[torch.arange(len(classes)), classes]

    def _move(self, images: np.ndarray, guides: Tensor) -> np.ndarray:
        """Push images away from their guides ``[N, D]``."""
        self.estimator.model.eval()
        generators = own_generators(self.seed, images)
        budget = ImageBudget.of(self)
        adversarial = np.empty_like(images)
        for start in tqdm(range(0, len(images), self.batch_size), desc="SGA", disable=not self.verbose):
            rows = slice(start, start + self.batch_size)
            clean = torch.from_numpy(images[rows]).to(self.estimator.device)
            draws = generators[rows]
            first = budget.random_starts(clean, draws) if self.num_random_init else None
            with self.estimator.model.without_parameters():
                moved = projected_gradient_ascent(
                    self._gradient(guides[rows], draws),
                    clean,
                    budget.norm,
                    budget.eps,
                    budget.eps_step,
                    budget.max_iter,
                    start=first,
                )
            adversarial[rows] = moved.cpu().numpy()
        return adversarial

    def _gradient(self, guides: Tensor, draws: list[torch.Generator]) -> Callable[[Tensor], Tensor]:
        """Gradient of minus the cosines, summed over captions and scales."""
        module = self.estimator.model

        def objective(inputs: Tensor) -> tuple[Tensor, Tensor]:
            # The sum of cosines with several captions is the product with the sum of their unit vectors.
            unlike = -(F.normalize(module.image_features(inputs), dim=-1) * guides).sum(dim=1)
            return unlike, unlike

        def gradient(images: Tensor) -> Tensor:
            total = torch.zeros_like(images)
            for scale in self.scales:
                leaf = images.detach().requires_grad_(True)
                seen = rescaled(self._noisy(leaf, draws), scale)
                _, towards = score_and_gradient(self.estimator, seen, objective)
                total += torch.autograd.grad(seen, leaf, towards)[0]
            return total

        return gradient

    def _noisy(self, images: Tensor, draws: list[torch.Generator]) -> Tensor:
        if not self.noise:
            return images
        added = torch.stack([torch.randn(images.shape[1:], generator=draw) for draw in draws])
        return images + self.noise * added.to(images)

    def _check_params(self) -> None:
        check_image_budget(self)
        check_whole_number(self, "num_random_init", 0)
        if self.num_random_init > 1:
            raise ValueError(f"num_random_init must be 0 or 1, not {self.num_random_init!r}.")
        if not len(self.scales) or not all(np.isfinite(scale) and scale > 0 for scale in self.scales):
            raise ValueError(f"scales must be finite numbers greater than 0, at least one, not {self.scales!r}.")
        if not (np.isfinite(self.noise) and self.noise >= 0):
            raise ValueError(f"noise must be a finite number of at least 0, not {self.noise!r}.")
        if self.text_attack is not None:
            self.check_text_attack()
