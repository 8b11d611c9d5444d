"""Pairs and samples whose labels are answers of a model: what fusion models are trained and measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from art_multimodal.datasets.loading import open_images
from art_multimodal.datasets.photos import PhotoTransform
from art_multimodal.datasets.source import LabelledImages, LabelledSamples
from art_multimodal.errors import InputError
from art_multimodal.labels import class_indices, listed_names
from art_multimodal.modalities.modality import Modality
from art_multimodal.sample_arrays import check_samples, samples
from art_multimodal.shown import quoted


def open_answers(
    spec: str,
    model: str,
    answers: Sequence[str],
    classes: Sequence[str] | None = None,
    transform: PhotoTransform | None = None,
) -> LabelledImages:
    """Open images by name, each with a text and a label that is one of a model's answers.

    :param spec: As for :func:`open_images`.
    :param model: The model's name, for messages.
    :param answers: Its class names; the labels of a file may be indices into them.
    :param classes: Class names instead of the data's own.
    :param transform: Applied to every decoded photo.
    :raises InputError: If the data cannot be used, have no texts, or a class that is no answer.
    """
    in_file = spec.startswith("csv:")
    try:
        data = open_images(spec, classes or (answers if in_file else None), transform)
    except InputError as error:
        if not in_file:
            raise
        named = listed_names(answers)
        raise InputError(
            f"{error} {model} needs the columns image, text and label, with its answers as labels: {named}."
        ) from error
    check_questions(data, spec, model, answers)
    return data


def check_questions(data: LabelledImages, spec: str, model: str, answers: Sequence[str]) -> None:
    """Refuse images without texts, or with a class that is none of a model's answers.

    :param data: What is open already.
    :param spec: Its name, for messages.
    :param model: The model's name.
    :param answers: Its class names.
    :raises InputError: As said.
    """
    if len(data) and data.text_of(0) is None:
        raise InputError(
            f"{model} is a fusion model, which needs a text with every image, and {spec} has none. Use demo:shapes, or "
            "csv:PATH with the columns image, text and label."
        )
    check_labels(data.class_names, model, answers)


def check_labels(class_names: Sequence[str], model: str, answers: Sequence[str]) -> None:
    """Refuse classes of data that are none of a model's answers.

    :raises InputError: Naming the first.
    """
    missing = [name for name in class_names if name not in answers]
    if missing:
        raise InputError(f"The label {quoted(missing[0])} is none of the answers of {model}: {listed_names(answers)}.")


def samples_with_answers(
    data: LabelledSamples,
    spec: str,
    model: str,
    modalities: Mapping[str, Modality],
    answers: Sequence[str],
    rows: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Samples as a model takes them, with labels as indices into its answers.

    Modalities that the model does not take are left out.

    :param data: What is open already.
    :param spec: Its name, for messages.
    :param model: The model's name.
    :param modalities: What the model takes, by name.
    :param answers: Its class names.
    :param rows: Which samples; ``None`` for all.
    :raises InputError: For a class that is no answer, a modality that is not there, or values that cannot be used.
    """
    check_labels(data.class_names, model, answers)
    x = data.samples(rows)
    kept = [name for name in modalities if name in (x.dtype.names or ())]
    if not kept:
        names = ", ".join(x.dtype.names or ())
        raise InputError(f"{model} is a model over {', '.join(modalities)}; {spec} holds {names}.")
    try:
        # All of them, before any work: what is wrong with one is wrong with how the data were made.
        checked = check_samples(samples(**{name: x[name] for name in kept}), modalities.values())
    except InputError as error:
        raise InputError(f"{spec}: {error}") from None
    labels = data.labels if rows is None else data.labels[rows]
    return checked, np.asarray(class_indices(data.class_names, answers))[labels]
