"""The clean samples of a bundle as data that an audit's subject is opened on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from art_multimodal.datasets import CaptionedImages, LabelledImages, LabelledSamples, Sample
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.lines import CLEAN
from art_multimodal.evaluations.audit.multimodal import OneSample
from art_multimodal.evaluations.evidence.bundle import Bundle
from art_multimodal.evaluations.evidence.fixtures import (
    IMAGE,
    TEXT,
    Group,
    by_index,
    fields_of_modality,
    given_to_samples,
    read_fixtures,
)
from art_multimodal.evaluations.suite import PAIRS, RETRIEVAL, SAMPLES
from art_multimodal.modalities.modality import Modality
from art_multimodal.pairs import check_images, image_text_pairs
from art_multimodal.sample_arrays import samples
from art_multimodal.shown import shown
from art_multimodal.store.files import reason_of

#: Of a sample: each takes the room of its image.
_MOST_CAPTIONS = 4096


class BundledSamples:
    """Reads samples of a bundle.

    :param bundle: Checked.
    :param modalities: Of the model, where samples have several.
    """

    def __init__(self, bundle: Bundle, modalities: Mapping[str, Modality] | None = None) -> None:
        self.bundle, self.task = bundle, bundle.header["task"]
        self.modalities = dict(modalities or {})
        self.fields: list[str] = [IMAGE]
        if self.task == SAMPLES:
            numeric = [modality for modality in self.modalities.values() if modality.numeric]
            self.fields = [name for one in numeric for name in fields_of_modality(one.name, one.variable)]
        self._batch: int | None = None
        self._clean: list[Group] = []

    def clean(self, batch: int) -> list[Group]:
        """The groups of a batch before any attack; the last one is remembered.

        :raises InputError: If its files do not hold what they should.
        """
        if batch != self._batch:
            self._clean = self._read(CLEAN, batch, None)
            for group in self._clean:
                for line in group.lines:
                    if line.name is None or line.label is None:
                        raise self._unfit(CLEAN, batch, ValueError("a sample has no name, or no label"))
            self._batch = batch
        return self._clean

    def attacked(self, name: str, batch: int) -> list[Group]:
        """The groups of a pass on a batch.

        :raises InputError: If its files do not hold what they should.
        """
        return self._read(name, batch, by_index(self.clean(batch)))

    def _read(self, name: str, batch: int, clean: Mapping[int, tuple[Group, int]] | None) -> list[Group]:
        number = self.bundle.manifest.passes.index(name)
        try:
            head, groups = read_fixtures(self.bundle.fixtures, number, batch, self.fields, clean)
            if (head.attack, head.mode) != (name, self.bundle.manifest.fixtures):
                raise ValueError("it is of another pass")
        except (OSError, ValueError) as error:
            raise self._unfit(name, batch, error) from error
        return groups

    def _unfit(self, name: str, batch: int, error: Exception) -> InputError:
        return InputError(f"The samples of {name} on batch {batch} cannot be used: {shown(reason_of(error))}.")

    def stacked(self, group: Group, version: int = 0) -> np.ndarray:
        """Samples of a group as an estimator takes them.

        :raises InputError: If they are none.
        """
        arrays = group.arrays[version]
        texts = [line.versions[version - 1] if version else line.texts for line in group.lines]
        if self.task == SAMPLES:
            try:
                return samples(**given_to_samples(arrays, texts, list(self.modalities)))
            except (KeyError, ValueError) as error:
                raise InputError(f"Samples of the bundle cannot be used: {shown(error)}.") from error
        if self.task not in (PAIRS, RETRIEVAL):
            return check_images(arrays[IMAGE])
        counts = [len(one.get(TEXT, ())) for one in texts]
        if not all(0 < count <= _MOST_CAPTIONS for count in counts) or (self.task == PAIRS and set(counts) != {1}):
            raise InputError(f"Samples of the bundle have no text, or more than {_MOST_CAPTIONS:,}.")
        images = np.repeat(arrays[IMAGE], counts, axis=0)
        return image_text_pairs(images, [text for one in texts for text in one[TEXT]], allow_empty=True)

    def of_subject(self, group: Group) -> list[Any]:
        """Samples before any attack as an audit's subject reads them; labels are the run's."""
        if self.task == SAMPLES:
            x = self.stacked(group)
            return [OneSample(one.name or "", x[row : row + 1], one.label or 0) for row, one in enumerate(group.lines)]
        return [
            Sample(
                line.name or "",
                group.arrays[0][IMAGE][row],
                line.label or 0,
                line.texts[TEXT][0] if self.task == PAIRS and line.texts.get(TEXT) else None,
                line.texts.get(TEXT, ()) if self.task == RETRIEVAL else (),
            )
            for row, line in enumerate(group.lines)
        ]


class BundledImages(LabelledImages):
    """What opening a classifier needs of images: their classes, and that pairs have texts."""

    def __init__(self, bundle: Bundle) -> None:
        self.class_names = tuple(bundle.header["data"]["class_names"])
        self.templates = tuple(bundle.header["data"]["templates"])
        self.protected_words = bundle.protected_words
        self._text = "" if bundle.header["task"] == PAIRS else None

    def __len__(self) -> int:
        return 1

    def name_of(self, index: int) -> str:
        return ""

    def label_of(self, index: int) -> int:
        return 0

    def text_of(self, index: int) -> str | None:
        return self._text

    def image(self, index: int) -> np.ndarray:
        raise NotImplementedError("samples are read batch by batch")


class BundledCaptions(CaptionedImages):
    """The gallery: images with captions by their place in the run's data.

    :param reader: Of the bundle.
    :param batches: Of each sample the number of its batch, by its place in the run's data, in the order of the run.
    """

    def __init__(self, reader: BundledSamples, batches: Mapping[int, int]) -> None:
        self.reader, self._batch_of = reader, dict(batches)
        self.protected_words = reader.bundle.protected_words
        self._captions: dict[int, tuple[str, ...]] = {}
        for batch in dict.fromkeys(self._batch_of.values()):
            for line in (line for group in reader.clean(batch) for line in group.lines):
                captions = tuple(line.texts.get(TEXT, ()))
                if not captions or not all(text.strip() for text in captions):
                    raise InputError("Samples of the bundle have no caption, or an empty one.")
                self._captions[line.index] = captions
        if self._captions.keys() != self._batch_of.keys():
            raise InputError("The samples of the bundle are not those of its log.")

    @property
    def order(self) -> np.ndarray:
        """Places of the samples, in the order of the run."""
        return np.array(list(self._batch_of), dtype=np.int64)

    def __len__(self) -> int:
        return len(self._captions)

    def name_of(self, index: int) -> str:
        return f"sample {index}"

    def captions_of(self, index: int) -> tuple[str, ...]:
        return self._captions[index]

    def image(self, index: int) -> np.ndarray:
        group, row = by_index(self.reader.clean(self._batch_of[index]))[index]
        return check_images(group.arrays[0][IMAGE][row : row + 1])[0]


class BundledMultimodal(LabelledSamples):
    """What opening a classifier of samples needs of them: some, of the first batch.

    :param reader: Of the bundle.
    :param batch: Number of the first batch.
    """

    def __init__(self, reader: BundledSamples, batch: int) -> None:
        group = reader.clean(batch)[0]
        self.modalities = reader.modalities
        self.class_names = tuple(reader.bundle.header["data"]["class_names"])
        self.protected_words = reader.bundle.protected_words
        self.labels = np.array([line.label for line in group.lines], dtype=np.int64)
        self._x = reader.stacked(group)

    def samples(self, rows: np.ndarray | slice | None = None) -> np.ndarray:
        return self._x if rows is None else self._x[rows]
