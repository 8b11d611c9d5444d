"""Data that are in memory already: arrays of images with labels, or with captions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from art_multimodal.datasets.captioned import CaptionedImages
from art_multimodal.datasets.naming import notes_on
from art_multimodal.datasets.source import LabelledImages
from art_multimodal.errors import InputError
from art_multimodal.groups import first_rows, image_groups
from art_multimodal.labels import class_indices, label_indices, listed_names
from art_multimodal.pairs import check_images, is_pairs
from art_multimodal.prompts import DEFAULT_TEMPLATES, check_class_names, check_templates
from art_multimodal.texts import as_texts


class LabelledArrays(LabelledImages):
    """Images in memory with their labels, and texts where a fusion model is asked about them.

    >>> data = LabelledArrays(images, labels, digits.class_names)
    >>> len(data), data.class_names[data.label_of(1)]
    (8, 'six')

    :param images: ``(N, 3, H, W)`` in [0, 1], one array or, for images of several shapes, a list of ``(3, H, W)``; or
        pairs, made by :func:`image_text_pairs`.
    :param labels: Class indices ``(N,)``, one-hot rows, or names of classes.
    :param class_names: Names of the classes, in the order of the indices. Several classes may have one name; labels
        are then no such names.
    :param texts: One for each image.
    :param templates: Prompt templates for models that read class names.
    :param names: Of the images, in reports; numbers if left out.
    :raises InputError: If anything does not fit together.
    """

    def __init__(
        self,
        images: np.ndarray | Sequence[np.ndarray],
        labels: np.ndarray | Sequence,
        class_names: Sequence[str],
        texts: Sequence[str] | None = None,
        templates: str | Sequence[str] = DEFAULT_TEMPLATES,
        names: Sequence[str] | None = None,
    ) -> None:
        if is_pairs(images):
            if texts is not None:
                raise InputError("Pairs hold their texts: leave out texts.")
            images, texts = images["image"], images["text"].tolist()
        self._images = _images(images)
        count = len(self._images)
        self.class_names = check_class_names(class_names)
        self.templates = check_templates(templates)
        self._labels = label_numbers(labels, self.class_names, count)
        self._texts = None if texts is None else _as_many(as_texts(texts), count, "texts")
        self._names = _names(names, count)
        self.notes = notes_on(self.class_names)

    def __len__(self) -> int:
        return len(self._images)

    def name_of(self, index: int) -> str:
        return self._names[index]

    def label_of(self, index: int) -> int:
        return int(self._labels[index])

    def text_of(self, index: int) -> str | None:
        return None if self._texts is None else self._texts[index]

    def image(self, index: int) -> np.ndarray:
        return self._images[index].copy()

    def fingerprint(self) -> str:
        """A hash of names, labels, texts, class names and pixels."""
        return _with_pixels(super().fingerprint(), self._images)


class CaptionedArrays(CaptionedImages):
    """Images in memory with their captions, for retrieval.

    >>> data = CaptionedArrays(captioned)
    >>> len(data), data.captions_of(0) == (captioned["text"][0],)
    (8, True)

    :param images: As for :class:`LabelledArrays`. Of pairs, rows of equal pixels are one image with several captions.
    :param captions: For each image a text, or several; not with pairs.
    :param names: Of the images, in reports; numbers if left out.
    :raises InputError: If anything does not fit together.
    """

    def __init__(
        self,
        images: np.ndarray | Sequence[np.ndarray],
        captions: Sequence[str | Sequence[str]] | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        if is_pairs(images):
            if captions is not None:
                raise InputError("Pairs hold their captions: leave out captions.")
            image_of = image_groups(images["image"])
            captions = [images["text"][image_of == number].tolist() for number in range(image_of.max(initial=-1) + 1)]
            images = images["image"][first_rows(image_of)]
        if captions is None or isinstance(captions, str):
            raise InputError("Captions are needed: for each image a text, or a list of texts.")
        self._images = _images(images)
        listed = _as_many(list(captions), len(self._images), "lists of captions")
        self._captions = [tuple(dict.fromkeys(as_texts(texts))) for texts in listed]
        for row, texts in enumerate(self._captions):
            if not texts or not all(text.strip() for text in texts):
                raise InputError(f"Image {row} has no caption, or an empty one.")
        self._names = _names(names, len(self._images))

    def __len__(self) -> int:
        return len(self._images)

    def name_of(self, index: int) -> str:
        return self._names[index]

    def captions_of(self, index: int) -> tuple[str, ...]:
        return self._captions[index]

    def image(self, index: int) -> np.ndarray:
        return self._images[index].copy()

    def fingerprint(self) -> str:
        """A hash of names, captions and pixels."""
        return _with_pixels(super().fingerprint(), self._images)


def _images(images: np.ndarray | Sequence[np.ndarray]) -> list[np.ndarray]:
    if isinstance(images, (list, tuple)):
        return [check_images(np.asarray(image)[None])[0] for image in images]
    return list(check_images(images))


def label_numbers(labels: np.ndarray | Sequence, class_names: tuple[str, ...], count: int) -> np.ndarray:
    """Labels as indices ``(N,)``, given as such, as one-hot rows or as names.

    :raises InputError: For a name that no class has, a number out of range, or another count.
    """
    given = np.asarray(labels)
    if given.dtype.kind in "UO" and given.ndim == 1:
        unknown = next((label for label in given.tolist() if label not in class_names), None)
        if unknown is not None:
            raise InputError(f"The label {unknown!r:.60} is none of the class names: {listed_names(class_names)}.")
        kinds = sorted(set(given.tolist()))
        index_of = dict(zip(kinds, class_indices(kinds, class_names), strict=True))
        given = np.array([index_of[label] for label in given.tolist()], dtype=np.int64)
    found = label_indices(given, len(class_names), count)
    assert found is not None
    return found


def _names(names: Sequence[str] | None, count: int) -> list[str]:
    if names is None:
        return [f"image {number}" for number in range(count)]
    return _as_many(as_texts(names), count, "names")


def _as_many(given: list, count: int, what: str) -> list:
    if len(given) != count:
        raise InputError(f"{len(given)} {what} came for {count} images: give one per image.")
    return given


def _with_pixels(fingerprint: str, images: Iterable[np.ndarray]) -> str:
    digest = hashlib.sha256(fingerprint.encode())
    for image in images:
        digest.update(f"{image.shape}".encode())
        digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()
