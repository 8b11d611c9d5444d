"""Listed images of a data set, as audits and training take them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from art_multimodal.datasets.captioned import CaptionedImages
from art_multimodal.datasets.named.listing import Captioned, Labelled
from art_multimodal.datasets.named.pictures import Pictures
from art_multimodal.datasets.naming import assign_entries, notes_on
from art_multimodal.datasets.photos import PhotoTransform
from art_multimodal.datasets.source import LabelledImages
from art_multimodal.errors import InputError
from art_multimodal.prompts import DEFAULT_TEMPLATES, check_class_names, check_templates


class _Pictured:
    """The images of a data set, read one at a time, whatever belongs to them.

    :param pictures: The images.
    :param transform: Applied to every decoded photo.
    :param folders: Where the data lie.
    :param advice: How to get images that are not there, in a sentence.
    """

    def __init__(
        self, pictures: Pictures, transform: PhotoTransform | None, folders: tuple[Path, ...], advice: str
    ) -> None:
        self._pictures, self._transform, self._advice = pictures, transform, advice
        self.folders = folders

    def name_of(self, index: int) -> str:
        return self._pictures.name_of(index)

    def absence(self, index: int) -> str | None:
        return self._pictures.absence(index)

    def advice(self, index: int) -> str:
        return self._advice

    def image(self, index: int) -> np.ndarray:
        return self._pictures.image(index, self._transform)


class ListedImages(_Pictured, LabelledImages):
    """Labelled images of a data set, read one at a time.

    :param listing: The images, labels and class names.
    :param classes: Class names instead of these: one for each, in their order, or ``NAME=OTHER`` entries.
    :param transform: Applied to every decoded photo.
    :param templates: Prompt templates of the data set.
    :param folders: Where the data lie.
    :param advice: How to get images that are not there, in a sentence.
    :raises InputError: If the class names do not fit.
    """

    def __init__(
        self,
        listing: Labelled,
        classes: Sequence[str] | None,
        transform: PhotoTransform | None,
        templates: Sequence[str] = (),
        folders: tuple[Path, ...] = (),
        advice: str = "",
    ) -> None:
        if len(listing.pictures) != len(listing.labels):
            raise InputError(
                f"The data have {len(listing.pictures)} images and {len(listing.labels)} labels, so something is "
                f"missing. {advice}"
            )
        if not len(listing.labels):
            raise InputError(f"There are no images in the data. {advice}")
        names, places, notes = _named(listing.class_names, classes)
        super().__init__(listing.pictures, transform, folders, advice)
        self._labels = array("q", (places[label] for label in listing.labels))
        self.class_names = names
        self.templates = check_templates(listing.templates or tuple(templates) or DEFAULT_TEMPLATES)
        self.notes = (*listing.notes, *notes)

    def __len__(self) -> int:
        return len(self._labels)

    def label_of(self, index: int) -> int:
        return self._labels[index]


class ListedCaptions(_Pictured, CaptionedImages):
    """Captioned images of a data set, read one at a time.

    :param listing: The images and captions.
    :param transform: Applied to every decoded photo.
    :param folders: Where the data lie.
    :param advice: How to get images that are not there, in a sentence.
    :raises InputError: If there are none, or one has no caption.
    """

    def __init__(
        self,
        listing: Captioned,
        transform: PhotoTransform | None,
        folders: tuple[Path, ...] = (),
        advice: str = "",
    ) -> None:
        if not len(listing.pictures):
            raise InputError(f"There are no images in the data. {advice}")
        self._captions = [tuple(dict.fromkeys(text for text in own if text.strip())) for own in listing.captions]
        if (bare := next((row for row, own in enumerate(self._captions) if not own), None)) is not None:
            raise InputError(f"The image {listing.pictures.name_of(bare)!r} has no caption. {advice}")
        super().__init__(listing.pictures, transform, folders, advice)
        self.notes = listing.notes

    def __len__(self) -> int:
        return len(self._captions)

    def captions_of(self, index: int) -> tuple[str, ...]:
        return self._captions[index]


def _named(
    own: tuple[str, ...], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], Sequence[int], tuple[str, ...]]:
    """Class names, of each of the data's classes its place among them, and notes."""
    if classes is None:
        names = check_class_names(own)
        return names, range(len(names)), notes_on(names)
    if all("=" in entry for entry in classes):
        naming = assign_entries(own, classes, "class")
        return naming.class_names, naming.labels, naming.notes
    names = check_class_names(classes)
    if len(names) != len(own):
        raise InputError(
            f"--classes gives {len(names)} names, and the data have {len(own)} classes. Give one for each in the order "
            "of the data, or NAME=OTHER entries."
        )
    return names, range(len(names)), notes_on(names)
