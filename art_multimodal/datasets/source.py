"""The contract of a data source: labelled images, read one at a time."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

#: Changes a decoded photo before it becomes an array, to the model's size for example.
PhotoTransform = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True)
class Sample:
    """A labelled image.

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


class UnreadableSample(Exception):
    """A sample that cannot be read; the others can.

    :param name: Names the sample.
    :param reason: What is wrong with it.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


class LabelledImages(ABC):
    """Labelled images with the names of their classes. Nothing is read before :meth:`read` asks for it."""

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


def read_photo(path: Path, name: str, transform: PhotoTransform | None) -> np.ndarray:
    """Decode an image file: ``float32`` ``(3, H, W)`` in [0, 1], turned upright, in RGB.

    :raises UnreadableSample: If it is missing, empty or damaged.
    """
    try:
        if path.stat().st_size == 0:
            raise UnreadableSample(name, "the file is empty")
        with Image.open(path) as opened:
            photo = ImageOps.exif_transpose(opened)
            if photo.mode == "F" and np.asarray(photo).max(initial=0) <= 1:
                photo = Image.fromarray((np.asarray(photo).clip(0, 1) * 255).round().astype(np.uint8))
            if photo.mode.startswith("I"):
                # 16-bit grey: convert("RGB") would clip at 255 instead of scaling.
                values = np.asarray(photo, dtype=np.float32) / 257.0
                photo = Image.fromarray(values.clip(0, 255).astype(np.uint8))
            photo = photo.convert("RGB")
        if transform is not None:
            photo = transform(photo)
    except UnreadableSample:
        raise
    except FileNotFoundError:
        raise UnreadableSample(name, "there is no such file") from None
    except Exception as error:  # PIL raises OSError, SyntaxError, ValueError, DecompressionBombError, ...
        reason = " ".join(str(error).split()).replace(str(path), path.name)
        raise UnreadableSample(name, f"not a readable image ({type(error).__name__}: {reason[:120]})") from None
    return np.ascontiguousarray(np.asarray(photo, dtype=np.float32).transpose(2, 0, 1)) / np.float32(255)
