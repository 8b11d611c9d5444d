"""Photos on disk: a folder per class, or a CSV file that lists them."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torchvision.datasets.folder import IMG_EXTENSIONS

from art_multimodal.datasets.captioned import CaptionedImages
from art_multimodal.datasets.source import LabelledImages, PhotoTransform, read_photo
from art_multimodal.errors import InputError
from art_multimodal.prompts import DEFAULT_TEMPLATES, check_class_names


class _Photos:
    """Listed image files.

    :param root: What names are relative to.
    :param names: Paths relative to it.
    """

    def __init__(self, root: Path, names: Sequence[str], transform: PhotoTransform | None) -> None:
        self.root = root
        self.names = names
        self.transform = transform

    def __len__(self) -> int:
        return len(self.names)

    def name_of(self, index: int) -> str:
        return self.names[index]

    def image(self, index: int) -> np.ndarray:
        return read_photo(self.root / self.names[index], self.names[index], self.transform)


class _LabelledPhotos(_Photos, LabelledImages):
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


#: What torchvision takes for an image, and what Pillow reads besides.
ENDINGS = (*IMG_EXTENSIONS, ".gif", ".jfif", ".avif")


def _class_folders(root: Path) -> list[Path]:
    """The visible folders in a folder, sorted."""
    folders = sorted((p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")), key=lambda p: p.name)
    if not folders:
        raise InputError(
            f"The folder {root} has no class folders. Put the images of each class into a folder of its own."
        )
    return folders


def _images_below(folder: Path) -> list[Path]:
    """Image files below a folder, sorted; hidden ones left out, and every real folder visited once."""
    found: list[Path] = []
    visited: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
        real = os.path.realpath(parent)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(parent, n) for n in files if n.lower().endswith(ENDINGS) and not n.startswith(".")]
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error


class ImageFolderData(_LabelledPhotos):
    """``folder:PATH``: one folder per class; its name, with spaces for underscores, is the class name.

    :param path: The folder of folders.
    :param classes: Other names: one per folder in sorted order, or ``FOLDER=NAME`` entries.
    :raises InputError: If there is no such folder, or a class folder holds no images.
    """

    def __init__(self, path: str, classes: Sequence[str] | None, transform: PhotoTransform | None) -> None:
        root = Path(path).expanduser()
        if not root.is_dir():
            raise InputError(f"There is no folder {str(root)!r}. Give a folder with one folder of images per class.")
        try:
            listing = {folder.name: _images_below(folder) for folder in _class_folders(root)}
        except OSError as error:
            raise InputError(f"The folder {error.filename} cannot be read: {error.strerror}.") from error
        empty = [name for name, images in listing.items() if not images]
        if empty:
            raise InputError(
                f"{len(empty)} class folder(s) hold no images: {', '.join(empty[:5])}. Add images or remove "
                f"the folder; files count as images by their ending ({', '.join(sorted(ENDINGS))})."
            )
        files = [
            (image.relative_to(root).as_posix(), label)
            for label, images in enumerate(listing.values())
            for image in images
        ]
        super().__init__(root, files, _folder_names(list(listing), classes), transform)


def _folder_names(folders: list[str], classes: Sequence[str] | None) -> tuple[str, ...]:
    if classes is None:
        return check_class_names([folder.replace("_", " ") for folder in folders])
    if all("=" in entry for entry in classes):
        names = dict(entry.split("=", 1) for entry in classes)
        missing = [folder for folder in folders if folder not in names]
        if missing:
            raise InputError(f"--classes names no class for the folder(s) {', '.join(missing[:5])}.")
        return check_class_names([names[folder] for folder in folders])
    if len(classes) != len(folders):
        raise InputError(
            f"--classes gives {len(classes)} names, but there are {len(folders)} class folders. Give one per folder in "
            "sorted order, or FOLDER=NAME entries."
        )
    return check_class_names(classes)


def _read_csv(
    path: str, choose: Callable[[list[str]], list[str] | None], needed: str
) -> tuple[Path, list[str], list[tuple[int, list[str]]]]:
    """Read some columns of a CSV file with a header.

    :param choose: Maps the header, in lower case, to the columns to read; ``None`` if it lacks one.
    :param needed: The columns that the file needs, for the error.
    :return: The file; the columns; for each row the number of its line and its fields, stripped.
    :raises InputError: If the file cannot be read, lacks a column, has no rows, or a field is empty.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise InputError(f"There is no file {str(file)!r}.")
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            header = [name.strip().lower() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            columns = choose(header)
            if columns is None:
                raise InputError(f"{file.name} needs the columns {needed}; it has {', '.join(header) or 'none'}.")
            rows = []
            for row in reader:
                if None in row:
                    raise InputError(
                        f"Line {reader.line_num} of {file.name} has more fields than the header. "
                        'Put texts with commas into quotes: "a dog, asleep".'
                    )
                rows.append((reader.line_num, [(row.get(name) or "").strip() for name in columns]))
    except UnicodeDecodeError as error:
        raise InputError(f"{file.name} is not UTF-8 (byte {error.start}). Save it as UTF-8.") from error
    except csv.Error as error:
        raise InputError(f"{file.name} is not a readable CSV file: {error}.") from error
    for line, fields in rows:
        for name, field in zip(columns, fields, strict=True):
            if not field:
                raise InputError(f"Line {line} of {file.name} has an empty {name}.")
    if not rows:
        raise InputError(f"{file.name} lists no images.")
    return file, columns, rows


def _columns_with_labels(header: list[str]) -> list[str] | None:
    column = "label" if "label" in header else "text" if "text" in header else None
    if "image" not in header or column is None:
        return None
    return ["image", column, *(["text"] if "text" in header and column != "text" else [])]


class CsvData(_LabelledPhotos):
    """``csv:PATH``: a header, a column ``image`` (path relative to the file), and ``label`` or ``text`` or both.

    With ``label``: class names, or indices into ``classes``; a column ``text`` beside it holds the text that belongs to
    each image, a question for example. With ``text`` alone: every distinct text is a class and its own prompt, so the
    task is to find an image's caption among all captions.

    :param path: The file, in UTF-8.
    :param classes: Class names; with them the label column may hold indices.
    :raises InputError: If columns are missing, a field is empty, or a label is out of range.
    """

    def __init__(self, path: str, classes: Sequence[str] | None, transform: PhotoTransform | None) -> None:
        file, columns, rows = _read_csv(path, _columns_with_labels, "image and label (or text, or both)")
        values = [(line, fields[1]) for line, fields in rows]
        if columns[1] == "label" and not classes and all(value.lstrip("-").isdecimal() for _, value in values):
            raise InputError(f"The labels of {file.name} are numbers. Say what they stand for: --classes names.txt.")
        names = check_class_names(classes if classes else sorted({value for _, value in values}))
        index_of = {name: index for index, name in enumerate(names)}
        labels = [_label(value, line, file.name, index_of, indices=bool(classes)) for line, value in values]
        files = [(fields[0], label) for (_, fields), label in zip(rows, labels, strict=True)]
        super().__init__(file.parent, files, names, transform)
        self.texts = [fields[2] for _, fields in rows] if len(columns) > 2 else None
        if columns[1] == "text":
            self.templates = ("{}",)

    def text_of(self, index: int) -> str | None:
        return None if self.texts is None else self.texts[index]


def _label(value: str, line: int, file: str, index_of: dict[str, int], indices: bool) -> int:
    if value in index_of:
        return index_of[value]
    if indices and value.lstrip("-").isdecimal():
        if 0 <= int(value) < len(index_of):
            return int(value)
        raise InputError(
            f"Line {line} of {file}: label {value} is out of range; there are {len(index_of)} classes from 0."
        )
    raise InputError(f"Line {line} of {file}: label {value!r} is none of the {len(index_of)} classes.")


class CaptionedCsvData(_Photos, CaptionedImages):
    """``csv:PATH`` for retrieval: a header, and the columns ``image`` (path relative to the file) and ``text``.

    Rows that name one file are one image with several captions, in the order of the rows; a caption that an image is
    given again counts once. Other columns are left aside.

    :param path: The file, in UTF-8.
    :raises InputError: If a column is missing or a field is empty.
    """

    def __init__(self, path: str, transform: PhotoTransform | None) -> None:
        file, _, rows = _read_csv(
            path, lambda header: ["image", "text"] if {"image", "text"} <= set(header) else None, "image and text"
        )
        names: dict[Path, str] = {}
        captions: dict[Path, dict[str, None]] = {}
        for _, (name, text) in rows:
            # As a path, "./a.png" is "a.png".
            names.setdefault(Path(name), name)
            captions.setdefault(Path(name), {})[text] = None
        super().__init__(file.parent, list(names.values()), transform)
        self.captions = [tuple(texts) for texts in captions.values()]

    def captions_of(self, index: int) -> tuple[str, ...]:
        return self.captions[index]
