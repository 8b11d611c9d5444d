"""Batches as MAITE passes them, checked: equal counts, labels from rows of probabilities, images of one shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from art_multimodal.errors import InputError
from art_multimodal.labels import label_indices
from art_multimodal.pairs import check_images
from art_multimodal.shown import brief, quoted

#: What answers of detectors hold, in MAITE and in torchvision.
_OF_BOXES = ("boxes", "labels", "scores")


def check_counts(**parts: Sequence[Any]) -> int:
    """The number of samples of a batch.

    :param parts: Of the batch, by what they are called in errors.
    :raises InputError: If they differ.
    """
    counts = {name: len(part) for name, part in parts.items()}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise InputError(f"A batch came with {said}: give one of each for every sample.")
    return next(iter(counts.values()))


def rows_of(targets: Sequence[ArrayLike], what: str) -> np.ndarray:
    """Rows of class scores ``(N, K)`` of a batch that is not empty.

    :param what: What they are called in errors.
    :raises InputError: For boxes, rows of different lengths, or what is no row of numbers.
    """
    if any(holds_boxes(one) for one in targets):
        raise InputError(
            f"The {what} hold boxes: they are of object detection, and attacks here are on classifiers of images. Give "
            "a row of class scores for each image."
        )
    rows = [as_numpy(one) for one in targets]
    shapes = sorted({row.shape for row in rows}, key=str)
    if len(shapes) > 1 or len(shapes[0]) != 1 or rows[0].dtype.kind not in "biuf" or shapes[0][0] < 2:
        raise InputError(
            f"The {what} must be a row of at least two class scores for each sample, all of one length, not "
            f"{brief(', '.join(map(str, shapes)), 120)}."
        )
    return np.stack(rows)


def labels_in(targets: Sequence[ArrayLike], nb_classes: int) -> np.ndarray:
    """Labels ``(N,)`` from one-hot rows or probabilities.

    :param nb_classes: Of the model.
    :raises InputError: For rows of another length, or one that names several classes or none.
    """
    if not len(targets):
        return np.zeros(0, dtype=np.int64)
    rows = rows_of(targets, "targets")
    if rows.shape[1] != nb_classes:
        raise InputError(
            f"The targets are rows of {rows.shape[1]} classes, and the model has {nb_classes}: give the data the "
            "model's classes, in its order."
        )
    labels = label_indices(rows, nb_classes, len(rows))
    assert labels is not None
    return labels


def images_by_shape(images: Sequence[ArrayLike], channels: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images in groups of one shape, in the order in which shapes appear.

    :param images: Each ``(C, H, W)`` in [0, 1].
    :return: For each group its places in the batch ``(n,)`` and its images ``(n, C, H, W)``, float32 and copies.
    :raises InputError: For another shape or order of the axes, values outside of [0, 1], or images of 0 to 255.
    """
    arrays = [as_numpy(image) for image in images]
    for place, image in enumerate(arrays):
        if image.ndim != 3:
            raise InputError(f"Image {place} of the batch must have shape ({channels}, H, W), not {image.shape}.")
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, image in enumerate(arrays):
        groups.setdefault(image.shape, []).append(place)
    return [
        (np.array(places), check_images(np.stack([arrays[place] for place in places]), channels).copy())
        for places in groups.values()
    ]


def class_names_of(component: Any) -> tuple[str, ...]:
    """The class names of a model or data set of MAITE, in the order of their scores.

    >>> class Theirs:
    ...     metadata = {"id": "theirs", "index2label": {0: "cat", 1: "dog"}}
    >>> class_names_of(Theirs())
    ('cat', 'dog')

    :param component: With ``metadata`` that has ``index2label``.
    :raises InputError: If it has none, or they do not count from 0.
    """
    metadata = getattr(component, "metadata", None)
    names = metadata.get("index2label") if isinstance(metadata, Mapping) else None
    if not names:
        raise InputError(
            f"{type(component).__name__} names no classes (metadata has no index2label): give class_names."
        )
    if sorted(names) != list(range(len(names))):
        raise InputError(
            f"index2label of {type(component).__name__} must count from 0 to {len(names) - 1}, and has "
            f"{brief(', '.join(map(repr, sorted(names, key=str))), 80)}: give class_names."
        )
    return tuple(str(names[place]) for place in range(len(names)))


def id_of(component: Any) -> str:
    """What a component of MAITE calls itself, for a message."""
    metadata = getattr(component, "metadata", None)
    known = metadata.get("id") if isinstance(metadata, Mapping) else None
    return quoted(known, 60) if known is not None else type(component).__name__


def holds_boxes(answer: Any) -> bool:
    """Whether an answer is that of a detector of objects."""
    if isinstance(answer, Mapping):
        return all(name in answer for name in _OF_BOXES)
    return all(hasattr(answer, name) for name in _OF_BOXES)


def as_numpy(given: Any) -> np.ndarray:
    """An array from whatever numpy takes, tensors of torch on any device among them."""
    detach: Any = getattr(given, "detach", None)
    if callable(detach):
        tensor: Any = detach()
        tensor = tensor.cpu()
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    try:
        return np.asarray(given)
    except ValueError:
        raise InputError("A sample must be an array of one shape; this one has rows of different sizes.") from None
