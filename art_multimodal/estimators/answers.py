"""A model that only answers as an ART classifier: predictions, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from art.estimators.classification import BlackBoxClassifierNeuralNetwork

from art_multimodal.errors import InputError
from art_multimodal.estimators.image_classifier import check_batch_size, finite_labels, shaped_images
from art_multimodal.modalities import Modality
from art_multimodal.models.families.custom.answers import LABELS, AnsweringModel
from art_multimodal.pairs import is_pairs
from art_multimodal.prompts import check_class_names
from art_multimodal.sample_arrays import fields_of


class AnsweringClassifier(BlackBoxClassifierNeuralNetwork):
    """A genuine ART black box over a function: images, or image-text pairs, to scores or labels.

    It has no weights and no gradients, so ART refuses to make attacks on it that need them. Attacks that need scores
    want :attr:`answers_with_scores`; of labels ``predict`` returns the rows of the identity. Images are float32 ``(N,
    3, H, W)`` in [0, 1] at any size.

    >>> from art_multimodal.models.families.custom.answers import AnsweringModel
    >>> def brightness(images):
    ...     return (images.mean(axis=(1, 2, 3)) > 0.5).astype(int)
    ...
    >>> asked = AnsweringClassifier(AnsweringModel(brightness), ["dark", "bright"])
    >>> asked.predict_labels(np.stack([np.zeros((3, 32, 32)), np.ones((3, 32, 32))])).tolist()
    [0, 1]

    :param model: What is asked.
    :param class_names: ``K`` names, at least two distinct ones, in the order of labels and scores.
    :param input_shape: Shape of an image for ART's attacks; other sizes are asked about, too.
    :raises InputError: For class names that cannot be used.
    """

    #: Whether the texts are prompts; there are none, or they belong to samples.
    texts_are_prompts: bool
    of_pairs: bool
    classifies = True
    #: Class prompts, of which there are none.
    prompts: tuple[tuple[str, ...], ...] = ()
    device = torch.device("cpu")

    def __init__(
        self, model: AnsweringModel, class_names: Sequence[str], input_shape: tuple[int, int, int] = (3, 32, 32)
    ) -> None:
        self._class_names = check_class_names(class_names)
        super().__init__(
            predict_fn=lambda x: self._asked(x, None),
            input_shape=input_shape,
            nb_classes=len(self._class_names),
            channels_first=True,
            clip_values=(0.0, 1.0),
            preprocessing=None,
        )
        self._answering = model
        self.of_pairs, self.texts_are_prompts = model.takes_texts, not model.takes_texts

    @property
    def image_text_model(self) -> AnsweringModel:
        """What is asked."""
        return self._answering

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of scores."""
        return self._class_names

    @property
    def modalities(self) -> dict[str, Modality]:
        """What a sample consists of."""
        return self._answering.modalities

    @property
    def answers_with_scores(self) -> bool:
        """Whether the answers so far were scores, and not labels alone."""
        return self._answering.answers not in (None, LABELS)

    def predict(self, x: np.ndarray, batch_size: int = 128, **kwargs: Any) -> np.ndarray:
        """Return scores ``(N, K)``; of labels the rows of the identity.

        :param x: Images ``(N, 3, H, W)`` in [0, 1], or pairs ``(N,)`` where the function takes texts.
        :param batch_size: Most images in one call, where the limits of the function do not say less.
        :raises InputError: For other samples, or answers that cannot be used.
        """
        check_batch_size(batch_size)
        images, texts = self._parts(x)
        found = [
            self._asked(
                images[start : start + batch_size], None if texts is None else texts[start : start + batch_size]
            )
            for start in range(0, len(images), batch_size)
        ]
        return np.concatenate(found) if found else np.zeros((0, self.nb_classes), dtype=np.float32)

    def predict_labels(self, x: np.ndarray, batch_size: int = 128) -> np.ndarray:
        """Return the predicted labels ``(N,)``."""
        return finite_labels(self.predict(x, batch_size=batch_size))

    def _parts(self, x: np.ndarray) -> tuple[np.ndarray, list[str] | None]:
        if not self.of_pairs:
            return shaped_images(x, 3), None
        if not is_pairs(x):
            raise InputError("This model is asked about image-text pairs: make them with image_text_pairs().")
        fields = fields_of(x)
        return np.ascontiguousarray(fields["image"], dtype=np.float32), [str(text) for text in fields["text"]]

    def _asked(self, images: np.ndarray, texts: Sequence[str] | None) -> np.ndarray:
        return self._answering.ask(images, texts, self._class_names)

    def get_activations(self, x: np.ndarray, layer: Any, batch_size: int, framework: bool = False) -> np.ndarray:
        """There are none.

        :raises NotImplementedError: Always.
        """
        raise NotImplementedError("A model that only answers shows no activations.")
