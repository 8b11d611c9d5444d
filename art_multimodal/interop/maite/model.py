"""A classifier of images as a model of MAITE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from art.estimators.classification import ClassifierMixin
from numpy.typing import ArrayLike

from art_multimodal.errors import InputError, check_count
from art_multimodal.interop.maite.batches import images_by_shape
from art_multimodal.shown import quoted

if TYPE_CHECKING:
    from maite.protocols import ModelMetadata


class MaiteModel:
    """A classifier of images as a ``Model`` of MAITE: a batch of images in, a row of class scores for each out.

    :param classifier: A :class:`ZeroShotClassifier`, an :class:`AnsweringClassifier` of images, or any classifier of
        ART over images with channels first in [0, 1].
    :param id: What it is called; the class of the model by default.
    :param index2label: Class names by place; the classifier's own by default.
    :param probabilities: Answer with the softmax of the scores. Scores that are probabilities already stay as they are.
    :param batch_size: Images per forward pass.
    :raises InputError: For what is no classifier of images, or class names that are not its classes.
    """

    def __init__(
        self,
        classifier: Any,
        *,
        id: str | None = None,
        index2label: Mapping[int, str] | None = None,
        probabilities: bool = False,
        batch_size: int = 128,
    ) -> None:
        check_takes_images(classifier)
        check_count("batch_size", batch_size)
        self.classifier, self.probabilities, self.batch_size = classifier, probabilities, batch_size
        self.metadata: ModelMetadata = {
            "id": id or name_of(classifier),
            "index2label": names_by_place(classifier, index2label),
        }

    def __call__(self, batch: Sequence[ArrayLike], /) -> list[np.ndarray]:
        """Class scores of images.

        :param batch: Images ``(C, H, W)`` in [0, 1], of one shape or of several.
        :return: For each a row ``(K,)``, float32.
        :raises InputError: For images that cannot be used.
        """
        groups = images_by_shape(batch, channels_of(self.classifier))
        for _, images in groups:
            check_shape(self.classifier, images)
        return answers_to(groups, self.classifier, self.batch_size, self.probabilities)

    def __repr__(self) -> str:
        return f"MaiteModel({self.metadata['id']!r}, {self.classifier.nb_classes} classes)"


def check_takes_images(classifier: Any) -> None:
    """Refuse what is no classifier of images alone.

    :raises InputError: Saying what to take instead.
    """
    if ClassifierMixin not in type(classifier).__mro__ and not hasattr(classifier, "predict_labels"):
        detects = any("ObjectDetector" in base.__name__ for base in type(classifier).__mro__)
        what = "an object detector" if detects else "no classifier"
        raise InputError(
            f"{type(classifier).__name__} is {what}. Give a ZeroShotClassifier or a classifier of ART over images, "
            "such as PyTorchClassifier; a model of MAITE becomes one by AnsweringClassifier(from_maite_model(model), "
            "names)."
        )
    if hasattr(classifier, "texts_are_prompts") and not classifier.texts_are_prompts:
        raise InputError(
            f"{type(classifier).__name__} takes more than images: use SamplesModel, SamplesDataset and SamplesAttack."
        )
    shape, channels_first = classifier.input_shape, getattr(classifier, "channels_first", True)
    if len(shape) != 3 or not channels_first:
        raise InputError(
            f"{type(classifier).__name__} takes inputs of shape {shape}{'' if channels_first else ', channels last'}: "
            "images of MAITE are (C, H, W)."
        )
    clip = getattr(classifier, "clip_values", None)
    if clip is not None and (np.min(clip[0]) != 0 or np.max(clip[1]) != 1):
        raise InputError(
            f"{type(classifier).__name__} takes values in [{np.min(clip[0]):g}, {np.max(clip[1]):g}]: make it take "
            "images in [0, 1] (clip_values=(0, 1), with the scaling inside its model)."
        )


def check_shape(classifier: Any, images: np.ndarray) -> None:
    """Refuse images of a size that a classifier of ART does not declare; ours resize inside.

    :raises InputError: Naming both shapes.
    """
    own = hasattr(classifier, "image_text_model")
    if not own and images.shape[1:] != tuple(classifier.input_shape):
        raise InputError(
            f"{type(classifier).__name__} takes images of shape {tuple(classifier.input_shape)}, not "
            f"{images.shape[1:]}: resize them in the data, or inside its model."
        )


def channels_of(classifier: Any) -> int:
    """How many channels its images have."""
    return int(classifier.input_shape[0])


def name_of(classifier: Any) -> str:
    """What a classifier is called where nothing else is said: the class of what is inside."""
    inner = getattr(classifier, "image_text_model", None) or getattr(classifier, "model", classifier)
    return str(getattr(inner, "name", type(inner).__name__))


def names_by_place(classifier: Any, given: Mapping[int, str] | None) -> dict[int, str]:
    """Class names by place.

    :param given: Instead of the classifier's own.
    :raises InputError: If these are not a name for each class.
    """
    count = int(classifier.nb_classes)
    if given is None:
        return dict(enumerate(getattr(classifier, "class_names", None) or map(str, range(count))))
    if sorted(given) != list(range(count)):
        raise InputError(
            f"index2label must name each of the {count} classes, from 0 on, not {quoted(dict(given), 120)}."
        )
    return {place: str(given[place]) for place in range(count)}


def answers_to(
    groups: Iterable[tuple[np.ndarray, np.ndarray]], classifier: Any, batch_size: int, probabilities: bool
) -> list[np.ndarray]:
    """What a classifier says about the samples of a batch, float32, in the order of the batch.

    :param groups: Places in the batch, and what is there as one array; all places together.
    :param batch_size: Samples per forward pass.
    :param probabilities: Whether scores become probabilities.
    """
    answers: dict[int, np.ndarray] = {}
    for places, x in groups:
        scores = np.asarray(classifier.predict(x, batch_size=batch_size), dtype=np.float32)
        answers |= zip(places.tolist(), as_probabilities(scores) if probabilities else scores, strict=True)
    return [answers[place] for place in range(len(answers))]


def as_probabilities(scores: np.ndarray) -> np.ndarray:
    """The softmax of scores ``(N, K)``; rows that are probabilities already stay as they are."""
    from scipy.special import softmax

    rows = scores.astype(np.float64)
    already = ((rows >= 0).all(axis=1) & (np.abs(rows.sum(axis=1) - 1) < 1e-4))[:, None]
    return np.where(already, rows, softmax(rows, axis=1)).astype(np.float32)
