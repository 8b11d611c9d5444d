"""The contract of a source of captioned images: every image with one or more texts that are true of it."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np


class CaptionedImages(ABC):
    """Images, each with its captions. No image is read before :meth:`image` asks for it.

    >>> isinstance(scenes, CaptionedImages), scenes.captions_of(0)[0] == captioned["text"][0]
    (True, True)
    """

    #: Words whose replacement changes what a caption says; attacks on texts are to leave them alone.
    protected_words: tuple[str, ...] = ()
    #: What a user should know about how the data were understood, one line each, fit to be shown.
    notes: tuple[str, ...] = ()
    #: Folders that the samples lie in: nothing is to be written in them, or above them.
    folders: tuple[Path, ...] = ()

    @abstractmethod
    def __len__(self) -> int:
        """Number of images listed."""

    @abstractmethod
    def name_of(self, index: int) -> str:
        """Name of an image in reports, without reading it: a path or a number."""

    @abstractmethod
    def captions_of(self, index: int) -> tuple[str, ...]:
        """The captions of an image, one at least and none twice, without reading it."""

    def absence(self, index: int) -> str | None:
        """Why an image cannot be read, where that is known without opening it; ``None`` where it may be readable."""
        return None

    def advice(self, index: int) -> str:
        """What may be wrong with one that is absent, in a sentence; empty where nothing is known."""
        return ""

    @abstractmethod
    def image(self, index: int) -> np.ndarray:
        """Read an image: ``float32`` ``(3, H, W)`` in [0, 1]. Raises :class:`UnreadableSample`."""

    def fingerprint(self) -> str:
        """A hash of names and captions, by which a resumed run knows its data again."""
        digest = hashlib.sha256()
        for index in range(len(self)):
            captions = self.captions_of(index)
            # With the count, a caption cannot be taken for the name of the next image.
            facts = [self.name_of(index), len(captions), *captions]
            digest.update("".join(f"{fact}\0" for fact in facts).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()
