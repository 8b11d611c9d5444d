"""``folder:PATH``: a folder for each class, with the images of the class in it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from art_multimodal.datasets.files import LabelledPhotos
from art_multimodal.datasets.naming import folder_order, name_folders
from art_multimodal.datasets.photos import ENDINGS, HEIF_ENDINGS, PhotoTransform, endings_read, heif_reader
from art_multimodal.datasets.twins import MOST_COMPARED, note_on_labels, repeated, twins
from art_multimodal.errors import InputError
from art_multimodal.out_folders import is_run_folder
from art_multimodal.shown import brief

#: What archives and network disks leave beside folders of people.
_NO_CLASSES = {"__macosx", "@eadir", "lost+found", "$recycle.bin", "system volume information", "__pycache__"}
NO_FILES = {"thumbs.db", "desktop.ini"}
#: Folders of splits, the ones to measure on first.
_SPLITS = ("val", "valid", "validation", "dev", "test", "testing", "eval", "train", "training")


@dataclass
class _Listing:
    """What lies below a folder: images, files that are not taken for images, and folders of earlier runs."""

    images: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    runs: list[Path] = field(default_factory=list)


class ImageFolderData(LabelledPhotos):
    """``folder:PATH``: one folder per class; its name, with spaces for underscores, is the class name.

    Hidden folders are left out, and those of earlier runs. ``notes`` says what else was left out.

    :param path: The folder of folders.
    :param classes: Other names, as for :func:`~art_multimodal.datasets.naming.name_folders`.
    :raises InputError: If there is no such folder, a class folder holds no images, or the folders are no classes.
    """

    def __init__(self, path: str, classes: Sequence[str] | None, transform: PhotoTransform | None) -> None:
        with reading_folders(path) as root:
            loose, folders = inside(root)
            listings = {folder.name: _below(folder) for folder in folders}
        runs = [run for listing in listings.values() for run in listing.runs]
        listings = {name: found for name, found in listings.items() if root / name not in runs}
        if not listings:
            raise InputError(
                f"The folder {brief(root)} has no class folders{_loose_images(loose)}. Put the images of each class "
                "into a folder of its own."
            )
        named = classes is not None and all("=" in entry for entry in classes)
        if not named:
            check_no_splits(root, listings)
        _check_not_empty(listings)
        order = folder_order(listings)
        if len(order) == 1 and len(inside(root / order[0])[1]) > 1:
            raise InputError(
                f"The folder {brief(root)} has a single folder, {brief(order[0])}, which has others in it. Did you "
                f"mean --data folder:{brief(root / order[0])}?"
            )
        naming = name_folders(order, classes)
        files = [
            (image.relative_to(root).as_posix(), label)
            for name, label in zip(order, naming.labels, strict=True)
            for image in listings[name].images
        ]
        super().__init__(root, files, naming.class_names, transform)
        self.folders = (root,)
        self.notes = (
            *naming.notes,
            *self._contradictions(),
            *_left_out(root, loose, listings.values(), runs),
            *_some_splits(order),
        )

    def _contradictions(self) -> list[str]:
        """The same photo in the folders of several classes."""
        if len(self.names) > MOST_COMPARED:
            return []
        copies = twins({name: self.root / name for name in self.names})
        keys = [copies.get(name, name) for name in self.names]
        other, _ = repeated(keys, self.labels)
        return [note_on_labels(other, keys, self.names, self.labels, self.class_names)] if other else []


@contextmanager
def reading_folders(path: str) -> Iterator[Path]:
    """Give the folder of a name, and turn what goes wrong while it is listed into errors for the user.

    :raises InputError: If there is no such folder, or one below it cannot be read.
    """
    root = Path(path)
    try:
        root = root.expanduser()
        if not root.is_dir():
            raise _no_folder(root)
        yield root
    except InputError:
        raise
    except OSError as error:
        where = brief(error.filename or root)
        raise InputError(f"The folder {where[:200]} cannot be read: {error.strerror}.") from error
    except (RuntimeError, ValueError) as error:
        raise InputError(f"The folder {brief(path)} cannot be read: {brief(error)}.") from error


def _no_folder(root: Path) -> InputError:
    if root.is_file():
        other = f"Did you mean csv:{brief(root)}?" if root.suffix.lower() in (".csv", ".tsv") else "Unpack an archive."
        return InputError(f"{brief(root)} is a file, not a folder. {other}")
    return InputError(f"There is no folder '{brief(root)}'. Give a folder with one folder of images per class.")


def inside(root: Path) -> tuple[list[Path], list[Path]]:
    """Visible files and visible folders in a folder, sorted."""
    entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    folders = [entry for entry in entries if entry.is_dir() and entry.name.lower() not in _NO_CLASSES]
    return [entry for entry in entries if not entry.is_dir()], folders


def _below(folder: Path) -> _Listing:
    """List a folder: hidden files left out, every real folder visited once."""
    found = _Listing()
    visited: set[str] = set()
    endings = endings_read()
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
        real = os.path.realpath(parent)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        if is_run_folder(files):
            found.runs.append(Path(parent))
            folders.clear()
            continue
        folders[:] = sorted(n for n in folders if not n.startswith(".") and n.lower() not in _NO_CLASSES)
        for name in files:
            if not name.startswith(".") and name.lower() not in NO_FILES:
                (found.images if name.lower().endswith(endings) else found.others).append(Path(parent, name))
    found.images.sort()
    found.others.sort()
    return found


def _raise(error: OSError) -> None:
    raise error


def _check_not_empty(listings: dict[str, _Listing]) -> None:
    empty = [name for name, listing in listings.items() if not listing.images]
    if not empty:
        return
    there = [
        f"{brief(name)} ({_by_ending(listings[name].others)})" if listings[name].others else brief(name)
        for name in empty[:5]
    ]
    raise InputError(
        f"{len(empty)} class folder(s) hold no images: {', '.join(there)}. Add images or remove the folder; files "
        f"count as images by their ending ({', '.join(sorted(endings_read()))}){_heif_hint(listings.values())}."
    )


def check_no_splits(root: Path, folders: Iterable[str]) -> None:
    """Refuse ``train`` and ``val`` as classes.

    :raises InputError: If all folders are called so.
    """
    splits = {name.lower(): name for name in folders}
    if not set(splits) <= set(_SPLITS):
        return
    first = root / splits[next(split for split in _SPLITS if split in splits)]
    raise InputError(
        f"The folders in {brief(root)} look like splits of the data ({', '.join(map(brief, folders))}), not like "
        f"classes. Give one of them: --data folder:{brief(first)}; or names with --classes FOLDER=NAME,..."
    )


def _some_splits(names: Sequence[str]) -> list[str]:
    splits = [name for name in names if name.lower() in _SPLITS]
    if len(splits) < 2:
        return []
    return [f"the class folders {', '.join(map(brief, splits))} look like splits of the data, not like classes"]


def _left_out(root: Path, loose: Sequence[Path], listings: Iterable[_Listing], runs: Sequence[Path]) -> list[str]:
    """What a user should know about files that are there and are not read."""
    notes = []
    others = [path for listing in listings for path in listing.others]
    if others:
        example = brief(others[0].relative_to(root).as_posix())
        notes.append(
            f"{len(others)} file(s) in the class folders were not taken for images: {_by_ending(others)}, for example "
            f"{example}{_heif_hint(listings)}"
        )
    images = _images_of(loose)
    if images:
        notes.append(
            f"{len(images)} image(s) beside the class folders belong to no class and are left out, for example "
            f"{brief(images[0].name)}"
        )
    if runs:
        first = brief(runs[0].relative_to(root).as_posix())
        notes.append(f"{len(runs)} folder(s) of earlier runs among the images are left out, for example {first}")
    return notes


def _images_of(files: Sequence[Path]) -> list[Path]:
    return [path for path in files if path.name.lower().endswith((*ENDINGS, *HEIF_ENDINGS))]


def _loose_images(files: Sequence[Path]) -> str:
    images = _images_of(files)
    return f", only {len(images)} image(s) such as {brief(images[0].name)}" if images else ""


def _by_ending(files: Sequence[Path]) -> str:
    """``6 .heic, 1 without an ending``: the most frequent first."""
    counts = Counter(path.suffix.lower()[:12] for path in files)
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    said = [f"{count} {brief(ending) if ending else 'without an ending'}" for ending, count in most[:5]]
    return ", ".join(said) + (", ..." if len(most) > 5 else "")


def _heif_hint(listings: Iterable[_Listing]) -> str:
    others = [path for listing in listings for path in listing.others]
    if heif_reader() is None and any(path.name.lower().endswith(HEIF_ENDINGS) for path in others):
        return "; pip install art-multimodal[heic] reads HEIC, or convert it to JPEG"
    return ""
