"""What attacks on images and texts share as ART evasion attacks: what comes in and what comes back."""

from __future__ import annotations

import numpy as np
from art.attacks.attack import EvasionAttack
from art.estimators.estimator import BaseEstimator

from art_multimodal.attacks.evasion.text.search import TextRecord
from art_multimodal.attacks.evasion.text.text_attack import TextAttack
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.pairs import check_images, is_pairs
from art_multimodal.texts import check_strings

Estimator = FusionClassifier | ImageTextRetriever | ZeroShotClassifier


class MultimodalAttack(EvasionAttack):
    """Base of attacks on images and texts together.

    What a sample's text is depends on the estimator: on a zero-shot classifier the prompts of the classes, ``(K,)`` for
    all images or ``(N, K)``, on the other estimators the text of its pair.
    """

    _estimator_requirements = (BaseEstimator, (FusionClassifier, ImageTextRetriever, ZeroShotClassifier))

    def __init__(self, estimator: Estimator) -> None:
        super().__init__(estimator=estimator)
        #: On a zero-shot classifier the adversarial prompts of the last call, ``(K,)`` or ``(N, K)``.
        self.prompts: np.ndarray | None = None
        #: What was done to the texts in the last call, as the text attack says it.
        self.records: list[TextRecord] = []

    def images_of(self, x: np.ndarray) -> np.ndarray:
        """Return the images of samples, checked.

        :raises InputError: If the samples are not what the estimator takes.
        """
        if self.estimator.texts_are_prompts:
            if is_pairs(x):
                raise InputError("A ZeroShotClassifier takes images, not pairs: give pairs['image'].")
            return check_images(x)
        if x is None or not is_pairs(x):
            raise InputError(
                f"On {type(self.estimator).__name__} the attack takes pairs, made by image_text_pairs(images, texts)."
            )
        check_strings(x["text"])
        return check_images(x["image"])

    def texts_of(self, x: np.ndarray) -> np.ndarray:
        """Return the texts of samples before the attack: prompts ``(K,)``, or the texts of pairs ``(N,)``."""
        if not self.estimator.texts_are_prompts:
            return x["text"].copy()
        prompts = np.empty(self.estimator.nb_classes, dtype=object)
        prompts[:] = self.estimator.prompts
        return prompts

    def with_images(self, x: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Return samples with other images."""
        if self.estimator.texts_are_prompts:
            return images
        changed = x.copy()
        changed["image"] = images
        return changed

    def attack_texts(
        self, attack: TextAttack, x: np.ndarray, y: np.ndarray | None
    ) -> tuple[np.ndarray, list[TextRecord]]:
        """Run a text attack on samples: the adversarial texts, and what was done to them.

        Of no samples the texts are those of :meth:`texts_of`.
        """
        if not len(x):
            texts = self.texts_of(x)
            return (np.empty((0, len(texts)), dtype=object) if attack.per_image else texts), []
        if not self.estimator.texts_are_prompts:
            return attack.generate(x, y)["text"], list(attack.records)
        # Embeddings of prompts have nothing to do with images.
        prompts = attack.generate(x, y) if attack.loss == "margin" else attack.generate()
        return prompts, list(attack.records)

    def result(self, x: np.ndarray, images: np.ndarray, texts: np.ndarray, records: list[TextRecord]) -> np.ndarray:
        """Keep prompts and records, and return what :meth:`generate` returns: images, or pairs."""
        self.records = records
        adversarial = self.with_images(x, images)
        if self.estimator.texts_are_prompts:
            self.prompts = texts
        else:
            adversarial["text"] = texts
        return adversarial

    def check_same_estimator(self, name: str) -> None:
        """Check that an attack that this one is made of attacks the same estimator.

        :raises ValueError: If it is another object.
        """
        if getattr(self, name).estimator is not self.estimator:
            raise ValueError(f"{name} attacks another estimator. Make it with the one that is attacked here.")

    def check_text_attack(self) -> None:
        """Check the parameter ``text_attack``.

        :raises ValueError: If it is no text attack, or one on another estimator.
        """
        attack = getattr(self, "text_attack", None)
        if not isinstance(attack, TextAttack):
            raise ValueError(f"text_attack must be a BertAttack or a CharacterAttack, not {type(attack).__name__}.")
        self.check_same_estimator("text_attack")
