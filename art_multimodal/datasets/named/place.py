"""Where a named data set lies: its folder under the root, and files in it that are read before any image."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from art_multimodal.datasets.named.entry import NamedData
from art_multimodal.errors import InputError
from art_multimodal.shown import brief

#: The environment variable that names the root folder of data sets.
VARIABLE = "ART_MULTIMODAL_DATA"
#: Most bytes of a list of images. That of COCO's training images has 92 million.
_MOST_BYTES = 2**29


@dataclass(frozen=True)
class Place:
    """The folder of a data set.

    :param name: Of the data set, as it is written (``"food101"``).
    :param entry: What is known about it.
    :param root: The root folder.
    :param folder: Its own folder below, with links followed.
    """

    name: str
    entry: NamedData
    root: Path
    folder: Path

    def advice(self) -> str:
        """How to get what is missing, and where else to look, in two sentences."""
        return f"{self.entry.how_to_get(brief(self.root))} Or name another root folder, with --data-root or {VARIABLE}."

    def wrong(self, what: str) -> InputError:
        """The error for a data set that is there and cannot be used.

        :param what: What is wrong, without a full stop.
        """
        return InputError(f"data:{self.name}: {what}. {self.advice()}")

    def path(self, name: str) -> Path:
        """A file or a folder of the data set.

        :param name: Relative to its folder.
        :raises InputError: If it is not there, or a link leads out of the folder.
        """
        path = self.folder / name
        if not _exists(path):
            raise self.wrong(
                f"there is no {brief(name)} in {brief(self.folder)}, so the download is not complete{packed(path)}"
            )
        if not is_inside(self.folder, path):
            raise InputError(
                f"data:{self.name}: {brief(path)} is a link that leads out of the folder of the data, which is not "
                "followed. Copy what it leads to in its place."
            )
        return path

    def lines(self, name: str) -> list[str]:
        """The lines of a text file, without empty ones.

        :raises InputError: If it is not there, too large, or no UTF-8.
        """
        return [line for line in self._text(name).splitlines() if line.strip()]

    def fields(self, name: str, count: int, separator: str | None = None) -> list[list[str]]:
        """The lines of a text file in columns.

        :param count: Least number of columns; what follows the last separator that counts stays in the last.
        :param separator: Between columns; ``None`` for white space.
        :raises InputError: If a line has fewer columns, or as :meth:`lines` does.
        """
        rows = [line.split(separator, count - 1) for line in self.lines(name)]
        for number, row in enumerate(rows, start=1):
            if len(row) < count:
                raise self.wrong(f"line {number} of {brief(name)} is not complete: {brief(' '.join(row), 60)!r}")
        return rows

    def json(self, name: str) -> dict[str, Any]:
        """What a JSON file holds.

        :raises InputError: If it is not there, or is no JSON object.
        """
        from art_multimodal.models.checked_json import read_json

        return read_json(self.path(name))

    def _text(self, name: str) -> str:
        path = self.path(name)
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise self.wrong(f"{brief(name)} is larger than {_MOST_BYTES >> 20} MiB, and no list of images")
            return path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise self.wrong(f"{brief(name)} is no text in UTF-8, so it is damaged") from None
        except OSError as error:
            raise self.wrong(f"{brief(name)} cannot be read ({error.strerror})") from None


def data_root(given: str | None) -> Path:
    """The root folder of data sets.

    :param given: That of the user; ``None`` for the one of the environment variable ``ART_MULTIMODAL_DATA``.
    :raises InputError: If neither is given, or there is no such folder.
    """
    named = given if given is not None else os.environ.get(VARIABLE, "")
    if not named:
        raise InputError(
            f"data:NAME is looked for in a root folder of data sets: name it with --data-root FOLDER, "
            f"data:NAME:root=FOLDER or the environment variable {VARIABLE}."
        )
    try:
        root = Path(named).expanduser()
        there = root.is_dir()
    except (OSError, ValueError, RuntimeError):
        there, root = False, Path(named)
    if not there:
        source = "--data-root" if given is not None else VARIABLE
        raise InputError(f"{source}: there is no folder {brief(named)!r}. Give the folder that the data sets lie in.")
    return root


def find_place(name: str, entry: NamedData, root: Path, split: str) -> Place:
    """Where a data set lies, with all that a split of it needs.

    :param split: One of its splits.
    :raises InputError: If something is missing, saying what and how to get it.
    """
    candidates = [root / folder for folder in entry.folders]
    folder = next((one for one in candidates if has_all(one, entry, split)), None)
    folder = folder or next((one for one in candidates if one != root / "." and _exists(one)), None)
    if folder is None or not folder.is_dir():
        missing = Place(name, entry, root, candidates[0])
        raise missing.wrong(f"there is no folder {brief(entry.folders[0])} in {brief(root)}{packed(candidates[0])}")
    place = Place(name, entry, root, Path(os.path.realpath(folder)))
    for needed in entry.splits[split].needs:
        place.path(needed)
    return place


def packed(path: Path) -> str:
    """A hint at an archive beside something that is missing; empty where there is none."""
    archives = [path.with_name(path.name + ending) for ending in (".gz", ".tar.gz", ".tgz", ".tar", ".zip")]
    found = next((archive.name for archive in archives if _exists(archive)), None)
    return f" (unpack {brief(found)}, which is there)" if found else ""


def splits_found(entry: NamedData, root: Path) -> list[str]:
    """Which splits of a data set have all that they need under a root, as far as can be seen without reading it."""
    return [split for split in entry.splits if any(has_all(root / one, entry, split) for one in entry.folders)]


def has_all(folder: Path, entry: NamedData, split: str) -> bool:
    """Whether a folder has what a split of a data set needs."""
    return all(_exists(folder / needed) for needed in entry.splits[split].needs)


def is_inside(folder: Path, path: Path) -> bool:
    """Whether a path is in a folder, wherever links lead.

    :param folder: With links followed.
    """
    try:
        return Path(os.path.realpath(path)).is_relative_to(folder)
    except (OSError, ValueError):
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
