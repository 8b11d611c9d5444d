"""The other direction: models and data of MAITE as what our attacks and audits take."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from art_multimodal.datasets import LabelledImages
from art_multimodal.datasets.naming import notes_on
from art_multimodal.errors import InputError
from art_multimodal.interop.maite.batches import (
    check_counts,
    class_names_of,
    id_of,
    images_by_shape,
    labels_in,
    rows_of,
)
from art_multimodal.models.families.custom.answers import AnsweringModel, Limits
from art_multimodal.prompts import DEFAULT_TEMPLATES, check_class_names, check_templates

if TYPE_CHECKING:
    from maite.protocols.image_classification import Dataset, Model


def from_maite_model(model: Model, *, labels_only: bool = False, limits: Limits | None = None) -> AnsweringModel:
    """A model of MAITE as one that only answers: audits and attacks that need no gradients take it.

    Audit it by ``AuditSettings(from_maite_model(model), from_maite_dataset(data))``, or attack
    ``AnsweringClassifier(from_maite_model(model), class_names_of(model))``.

    :param model: Of image classification.
    :param labels_only: Show attackers the labels alone, and not the scores.
    :param limits: How it may be asked.
    :raises InputError: For what cannot be called; when it is asked, for a model of object detection, or answers that
        are no scores of classes.
    """
    if not callable(model):
        raise InputError(f"A model of MAITE is called with a batch of images; {type(model).__name__} cannot be called.")

    def ask(images: np.ndarray) -> np.ndarray:
        answers = model(list(images))
        if not isinstance(answers, Sequence) and not hasattr(answers, "__len__"):
            raise InputError(f"It answers with {type(answers).__name__}, and not with a row of scores for each image.")
        check_counts(images=list(images), answers=answers)
        scores = rows_of(answers, "answers")
        return scores.argmax(axis=1) if labels_only else scores

    return AnsweringModel(ask, limits, f"the model {id_of(model)} of MAITE", _code_of(model))


def _code_of(model: Any) -> bytes:
    """The file that a model's class stands in, and its name, by which a resumed run knows it again."""
    kind: Callable[..., Any] = model if inspect.isroutine(model) else type(model)
    try:
        code = Path(inspect.getfile(kind)).read_bytes()
    except (TypeError, OSError):
        code = f"{kind.__module__}.{kind.__qualname__}".encode()
    return code + id_of(model).encode("utf-8", "surrogatepass")


def from_maite_dataset(
    dataset: Dataset, class_names: Sequence[str] | None = None, templates: str | Sequence[str] = DEFAULT_TEMPLATES
) -> LabelledImages:
    """A data set of MAITE as labelled images, each read when it is asked for.

    :param dataset: Of image classification: images ``(3, H, W)`` in [0, 1], one-hot rows or probabilities.
    :param class_names: In the order of the targets; those of its ``index2label`` by default.
    :param templates: Prompt templates for models that read class names.
    :raises InputError: For data without class names or length; when samples are read, for images of 0 to 255, another
        shape, or targets that name several classes or none.
    """
    return _FromMaite(dataset, class_names, templates)


class _FromMaite(LabelledImages):
    """See :func:`from_maite_dataset`."""

    def __init__(self, dataset: Any, class_names: Sequence[str] | None, templates: str | Sequence[str]) -> None:
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise InputError(
                f"A data set of MAITE has a length and samples by place; {type(dataset).__name__} has not: a loader "
                "must be made one first."
            )
        self._dataset = dataset
        self.class_names = check_class_names(class_names if class_names is not None else class_names_of(dataset))
        self.templates = check_templates(templates)
        self.notes = notes_on(self.class_names)
        self._known: dict[int, tuple[str, int]] = {}

    def __len__(self) -> int:
        return len(self._dataset)

    def name_of(self, index: int) -> str:
        return self._facts(index)[0]

    def label_of(self, index: int) -> int:
        return self._facts(index)[1]

    def image(self, index: int) -> np.ndarray:
        fieldwise = callable(getattr(self._dataset, "get_input", None))
        image = self._dataset.get_input(index) if fieldwise else self._dataset[index][0]
        return images_by_shape([image])[0][1][0]

    def _facts(self, index: int) -> tuple[str, int]:
        """Name and label of a sample."""
        if index not in self._known:
            if all(callable(getattr(self._dataset, name, None)) for name in ("get_target", "get_metadata")):
                target, metadata = self._dataset.get_target(index), self._dataset.get_metadata(index)
            else:
                _, target, metadata = self._dataset[index]
            self._known[index] = str(metadata["id"]), int(labels_in([target], len(self.class_names))[0])
        return self._known[index]
