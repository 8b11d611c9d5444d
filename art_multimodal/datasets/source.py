"""The contract of a data source: labelled images, read one at a time, or labelled samples of any modalities."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from art_multimodal.modalities.modality import Modality
from art_multimodal.sample_arrays import field_bytes


@dataclass(frozen=True)
class Sample:
    """A labelled image.

    >>> sample = digits.read(0)
    >>> isinstance(sample, Sample), sample.image.shape, sample.text is None
    (True, (3, 32, 32), True)

    :param name: Names the sample in reports: a path or a row.
    :param image: ``float32`` ``(3, H, W)`` in [0, 1].
    :param label: Index into the class names.
    :param text: What belongs to the image: a question about it, a caption; ``None`` where the data are images alone.
    :param captions: All texts that are true of the image, where captions are looked for.
    """

    name: str
    image: np.ndarray
    label: int
    text: str | None = None
    captions: tuple[str, ...] = ()


class LabelledImages(ABC):
    """Labelled images with the names of their classes. Nothing is read before :meth:`read` asks for it.

    >>> isinstance(digits, LabelledImages), digits.read(0).label == digits.label_of(0)
    (True, True)
    """

    #: Names of the classes, in the order of the labels.
    class_names: tuple[str, ...]
    #: Prompt templates that belong to the data.
    templates: tuple[str, ...]
    #: Words besides the class names whose replacement changes what a text says; text attacks are to leave them alone.
    protected_words: tuple[str, ...] = ()
    #: What a user should know about how the data were understood, one line each, fit to be shown.
    notes: tuple[str, ...] = ()
    #: Folders that the samples lie in: nothing is to be written in them, or above them.
    folders: tuple[Path, ...] = ()

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples listed."""

    @abstractmethod
    def name_of(self, index: int) -> str:
        """Name of a sample, without reading it."""

    @abstractmethod
    def label_of(self, index: int) -> int:
        """Label of a sample, without reading it."""

    def text_of(self, index: int) -> str | None:
        """Text that belongs to a sample, without reading the image; ``None`` where there is none."""
        return None

    def absence(self, index: int) -> str | None:
        """Why a sample cannot be read, where that is known without opening it; ``None`` where it may be readable."""
        return None

    def advice(self, index: int) -> str:
        """What may be wrong with one that is absent, in a sentence; empty where nothing is known."""
        return ""

    @abstractmethod
    def image(self, index: int) -> np.ndarray:
        """Read an image: ``float32`` ``(3, H, W)`` in [0, 1]. Raises :class:`UnreadableSample`."""

    def read(self, index: int) -> Sample:
        """Read a sample.

        :raises UnreadableSample: If it cannot be read.
        """
        return Sample(self.name_of(index), self.image(index), self.label_of(index), self.text_of(index))

    def fingerprint(self) -> str:
        """A hash of names, labels, texts and class names, by which a resumed run knows its data again."""
        digest = hashlib.sha256()
        for index in range(len(self)):
            text = self.text_of(index)
            facts = [self.name_of(index), self.label_of(index), *([] if text is None else [text])]
            digest.update("".join(f"{fact}\0" for fact in facts).encode("utf-8", "surrogatepass"))
        digest.update("\0".join(self.class_names).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


class LabelledSamples(ABC):
    """Labelled samples of any modalities, with the names of their classes.

    >>> isinstance(views, LabelledSamples), views.samples(np.array([0, 5])).dtype.names
    (True, ('pix', 'fou', 'kar'))
    """

    #: What a sample consists of, by name, in the order of the fields.
    modalities: dict[str, Modality]
    #: Names of the classes, in the order of the labels.
    class_names: tuple[str, ...]
    #: Of each sample the index into the class names, ``(N,)``.
    labels: np.ndarray
    #: What a user should know about how the data were understood, one line each, fit to be shown.
    notes: tuple[str, ...] = ()
    #: Words whose replacement changes what a text says; text attacks are to leave them alone.
    protected_words: tuple[str, ...] = ()
    #: Folders that the samples lie in: nothing is to be written in them, or above them.
    folders: tuple[Path, ...] = ()

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.labels)

    def name_of(self, index: int) -> str:
        """Name of a sample, in reports."""
        return f"sample {index}"

    def fingerprint(self) -> str:
        """A hash of all values, labels and names, by which a resumed run knows its data again."""
        digest = hashlib.sha256("\0".join(self.class_names).encode("utf-8", "surrogatepass"))
        digest.update(np.ascontiguousarray(self.labels, dtype=np.int64).data)
        x = self.samples()
        for name in x.dtype.names or ():
            digest.update(f"\0{name}\0".encode())
            for part in field_bytes(x[name]):
                digest.update(part)
        return digest.hexdigest()

    @abstractmethod
    def samples(self, rows: np.ndarray | slice | None = None) -> np.ndarray:
        """Return samples, as :func:`art_multimodal.sample_arrays.samples` makes them.

        :param rows: Which ones: indices, booleans or a slice; ``None`` for all.
        """
