"""Photos on disk that something lists: a folder, or a CSV file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np

from art_multimodal.datasets.photos import PhotoTransform, UnreadableSample, absence, read_photo
from art_multimodal.datasets.source import LabelledImages
from art_multimodal.prompts import DEFAULT_TEMPLATES
from art_multimodal.shown import brief

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_IS_URL = "a URL, which is not fetched: download the images, and list the local files"
_QUOTES = "'\"“”‘’«»`"
#: Files of a folder that are looked at for advice.
_LOOKED_AT = 10_000


class ListedPhotos:
    """Listed image files.

    :param root: What names are relative to.
    :param names: Paths relative to it, as they are written; see :func:`locate`.
    """

    def __init__(self, root: Path, names: Sequence[str], transform: PhotoTransform | None) -> None:
        self.root = root
        self.names = names
        self.transform = transform

    def __len__(self) -> int:
        return len(self.names)

    def name_of(self, index: int) -> str:
        return self.names[index]

    def absence(self, index: int) -> str | None:
        name = self.names[index]
        if is_url(name):
            return _IS_URL
        return absence(locate(self.root, name))

    def advice(self, index: int) -> str:
        name = self.names[index]
        return "" if is_url(name) else _advice(self.root, name, locate(self.root, name))

    def image(self, index: int) -> np.ndarray:
        name = self.names[index]
        reason = self.absence(index)
        if reason is not None:
            raise UnreadableSample(name, reason)
        return read_photo(locate(self.root, name), name, self.transform)


class LabelledPhotos(ListedPhotos, LabelledImages):
    """Listed image files with labels.

    :param files: ``(path relative to root, label)``.
    """

    def __init__(
        self, root: Path, files: list[tuple[str, int]], class_names: tuple[str, ...], transform: PhotoTransform | None
    ) -> None:
        super().__init__(root, [name for name, _ in files], transform)
        self.labels = [label for _, label in files]
        self.class_names = class_names
        self.templates = DEFAULT_TEMPLATES

    def label_of(self, index: int) -> int:
        return self.labels[index]


def is_url(name: str) -> bool:
    """Whether the name of an image is a URL, other than of a file here."""
    return _URL.match(name) is not None and not name.lower().startswith("file://")


def locate(root: Path, name: str) -> Path:
    r"""Where the file is that a list names.

    As it is written, if it is there. Otherwise without quotes around it, with ``/`` for ``\``, with the home folder
    for ``~``, or what a ``file://`` URL says: the first of these that is there.
    """
    path = root / name
    if not ("\\" in name or name.startswith(("~", *_QUOTES)) or name.lower().startswith("file:")):
        return path
    readings = [name, name.strip(_QUOTES)]
    if name.lower().startswith("file:"):
        readings.append(unquote(urlsplit(name).path))
    readings += [reading.replace("\\", "/") for reading in readings]
    places = [path, *(root / reading for reading in dict.fromkeys(readings))]
    if name.startswith("~"):
        places += [_at_home(reading) for reading in readings]
    return next((place for place in places if _is_there(place)), path)


def _at_home(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _advice(root: Path, name: str, path: Path) -> str:
    """What may be wrong with a name whose file is not there; empty where nothing is known."""
    if _is_there(path):
        return ""
    if re.match(r"[A-Za-z]:[\\/]", name):
        return "It is a path of Windows: give paths of this machine."
    if not Path(name).is_absolute() and _is_there(Path(name)):
        return f"Names are relative to the folder {brief(root)}, and this one is there from the current folder."
    try:
        folder = path.parent
        if not folder.is_dir():
            return f"There is no folder {brief(folder)} either: names are relative to {brief(root)}."
        wanted = path.stem.casefold()
        for number, entry in enumerate(folder.iterdir()):
            if number == _LOOKED_AT:
                break
            if entry.stem.casefold() == wanted:
                return f"In its folder there is {brief(entry.name)}: mend the names."
    except (OSError, ValueError):
        pass
    return ""
