"""An image attack and a text attack that know nothing of each other, both applied."""

from __future__ import annotations

from typing import Any

import numpy as np
from art.attacks.attack import EvasionAttack

from art_multimodal.attacks.evasion.multimodal.base import Estimator, MultimodalAttack
from art_multimodal.attacks.evasion.text.text_attack import TextAttack
from art_multimodal.errors import InputError
from art_multimodal.pairs import is_pairs


class IndependentAttack(MultimodalAttack):
    """Attack the images with the texts as they were, the texts with the images as they were, and apply both.

    This is what MMCoA's paper calls its multimodal attack. Neither part knows of the other, so together they may do
    less than one of them alone; :class:`CoAttack` attacks jointly.

    On a :class:`ZeroShotClassifier` adversarial images come back and the adversarial prompts are in :attr:`prompts`,
    ``(K,)`` or, where the text attack has ``per_image=True``, ``(N, K)``: ``estimator.predict_on(images, prompts)``
    evaluates them. On the other estimators pairs come back. :attr:`records` are those of the text attack.

    Guarantees: the images are exactly those of the image attack, and the texts those of the text attack, so the budgets
    of both hold.

    | Paper link: https://arxiv.org/abs/2404.19287 (MMCoA)

    >>> from art_multimodal.attacks.evasion import BertAttack, ProjectedGradientDescentDualEncoder
    >>> on_images = ProjectedGradientDescentDualEncoder(classifier, max_iter=1, seed=0, verbose=False)
    >>> attack = IndependentAttack(classifier, on_images, BertAttack(classifier, verbose=False))
    >>> attacked = attack.generate(images, labels)
    >>> classifier.predict_on(attacked, attack.prompts).shape
    (8, 10)
    """

    attack_params = EvasionAttack.attack_params + ["image_attack", "text_attack"]

    def __init__(self, estimator: Estimator, image_attack: EvasionAttack, text_attack: TextAttack) -> None:
        """
        :param estimator: What is attacked.
        :param image_attack: Any attack on the same estimator, ours or ART's: on images for a zero-shot classifier, on
            pairs elsewhere (:class:`ImageAttackOnPairs`, for example), of which the images are taken.
        :param text_attack: A text attack on the same estimator.
        """
        super().__init__(estimator)
        self.image_attack = image_attack
        self.text_attack = text_attack
        self._check_params()

    @property
    def targeted(self) -> bool:
        """Whether the labels given are wanted; as with both parts."""
        return bool(self.image_attack.targeted)

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs: Any) -> np.ndarray:
        """Return adversarial images, or pairs.

        :param x: Images ``(N, 3, H, W)`` in [0, 1], or pairs ``(N,)``.
        :param y: Labels for both attacks, as indices or one-hot rows.
        :param kwargs: For the image attack.
        :raises InputError: For samples or labels that cannot be used, or an image attack that does not return one
            image per sample.
        """
        images = self.images_of(x)
        texts, records = self.attack_texts(self.text_attack, x, y)
        if len(x):
            samples = images if self.estimator.texts_are_prompts else x
            found = self.image_attack.generate(samples, y, **kwargs)
            if not self.estimator.texts_are_prompts and is_pairs(found):
                found = found["image"]
            if getattr(found, "shape", None) != images.shape:
                raise InputError(f"{type(self.image_attack).__name__} does not return one image per sample.")
            images = np.asarray(found, dtype=np.float32)
        return self.result(x, images, texts, records)

    def _check_params(self) -> None:
        if not isinstance(self.image_attack, EvasionAttack) or isinstance(self.image_attack, TextAttack):
            raise ValueError(
                f"image_attack must be an evasion attack on images, not {type(self.image_attack).__name__}."
            )
        self.check_same_estimator("image_attack")
        self.check_text_attack()
        if self.text_attack.loss == "margin" and bool(self.image_attack.targeted) != self.text_attack.targeted:
            raise ValueError("One of the attacks is targeted and the other is not: labels would mean two things.")
