"""Images as data sets store them: files of a folder, or numbers in one large array. One is read at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from art_multimodal.datasets import photos
from art_multimodal.datasets.named.place import is_inside
from art_multimodal.datasets.photos import PhotoTransform, UnreadableSample


class Pictures(ABC):
    """Images in an order. Nothing is opened before :meth:`image` asks for it."""

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @abstractmethod
    def name_of(self, index: int) -> str:
        """Name of an image in reports."""

    def absence(self, index: int) -> str | None:
        """Why an image cannot be read, where that is known without opening it."""
        return None

    @abstractmethod
    def image(self, index: int, transform: PhotoTransform | None) -> np.ndarray:
        """Read an image: ``float32`` ``(3, H, W)`` in [0, 1].

        :raises UnreadableSample: If it cannot be read.
        """


class Files(Pictures):
    """Image files of a folder. One that lies outside, by its name or by a link, is not read.

    :param root: The folder, with links followed.
    :param names: Of the files, relative to it, with ``/`` between folders.
    """

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self.root = root
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def name_of(self, index: int) -> str:
        return self.names[index]

    def absence(self, index: int) -> str | None:
        name = PurePosixPath(self.names[index])
        if name.is_absolute() or ".." in name.parts:
            return "its name leads out of the folder of the data"
        path = self.root / name
        reason = photos.absence(path)
        if reason is None and not is_inside(self.root, path):
            return "it is a link that leads out of the folder of the data, which is not followed"
        return reason

    def image(self, index: int, transform: PhotoTransform | None) -> np.ndarray:
        name = self.names[index]
        reason = self.absence(index)
        if reason is not None:
            raise UnreadableSample(name, reason)
        return photos.read_photo(self.root / name, name, transform)


class Pixels(Pictures):
    """Images of one size in an array, in memory or on disk.

    :param pixels: ``uint8`` ``(N, H, W, 3)``, or what gives one of them by its index.
    :param origin: Where they come from, for names.
    """

    def __init__(self, pixels: Any, origin: str) -> None:
        self.pixels = pixels
        self.origin = origin

    def __len__(self) -> int:
        return len(self.pixels)

    def name_of(self, index: int) -> str:
        return f"{self.origin}/{index}"

    def image(self, index: int, transform: PhotoTransform | None) -> np.ndarray:
        name = self.name_of(index)
        try:
            pixels = np.asarray(self.pixels[index])
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise UnreadableSample(name, f"it cannot be read ({type(error).__name__})") from None
        return photos.read_pixels(pixels, name, transform)
