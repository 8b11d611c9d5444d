"""``csv:PATH``: files that list images, with labels, texts or captions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from art_multimodal.datasets.captioned import CaptionedImages
from art_multimodal.datasets.files import LabelledPhotos, ListedPhotos, is_url, locate
from art_multimodal.datasets.naming import as_index, assign_entries, fold, is_number, notes_on, repr_of
from art_multimodal.datasets.photos import PhotoTransform
from art_multimodal.datasets.table import Table, column_of, read_table
from art_multimodal.datasets.twins import MOST_COMPARED, note_on_labels, repeated, twins
from art_multimodal.errors import InputError
from art_multimodal.prompts import check_class_names
from art_multimodal.shown import brief


class CsvData(LabelledPhotos):
    """``csv:PATH``: a header, a column ``image`` (path relative to the file), and ``label`` or ``text`` or both.

    With ``label``: class names, or indices into ``classes``; a column ``text`` beside it holds the text that belongs to
    each image, a question for example. With ``text`` alone: every distinct text is a class and its own prompt, so the
    task is to find an image's caption among all captions. :data:`~art_multimodal.datasets.table.ALIASES` has other
    names of columns that are understood.

    :param path: The file.
    :param classes: Class names; with them the label column may hold indices. Or ``LABEL=NAME`` entries.
    :raises InputError: If columns are missing, a field is empty, or a label is out of range.
    """

    def __init__(self, path: str, classes: Sequence[str] | None, transform: PhotoTransform | None) -> None:
        def choose(header: Sequence[str]) -> list[tuple[str, str]] | None:
            return columns_with_labels(header, Path(path).name)

        table = read_table(path, choose, "image and label (or text, or both)")
        values = [fields[1] for _, fields in table.rows]
        names, index_of, notes = classes_of(values, classes, table)
        labels = [index_of[value] for value in values]
        files = [(fields[0], label) for (_, fields), label in zip(table.rows, labels, strict=True)]
        super().__init__(table.file.parent, files, names, transform)
        self.texts = [fields[2] for _, fields in table.rows] if len(table.columns) > 2 else None
        if table.columns[1] == "text":
            self.templates = ("{}",)
        _check_no_urls(self.names, table)
        self.folders = folders_of(self.root, self.names)
        self.notes = (*table.notes, *notes, *self._contradictions(table))

    def text_of(self, index: int) -> str | None:
        return None if self.texts is None else self.texts[index]

    def _contradictions(self, table: Table) -> list[str]:
        """Samples that are listed more than once: the same image with the same text."""
        files = [_same(name) for name in self.names]
        copies: dict[str, str] = {}
        if len(files) <= MOST_COMPARED:
            places = zip(files, self.names, strict=True)
            copies = twins({key: locate(self.root, name) for key, name in places if not is_url(name)})
        keys = [(copies.get(key, key), self.text_of(index)) for index, key in enumerate(files)]
        other, again = repeated(keys, self.labels)
        notes = []
        if other:
            hint = ": are they captions? Then give --task retrieval" if table.columns[1] == "text" else ""
            notes.append(f"{note_on_labels(other, keys, self.names, self.labels, self.class_names)}{hint}")
        if again:
            notes.append(
                f"{len(again)} row(s) list an image again, for example {brief(self.names[again[0]])}; each counts"
            )
        return notes


def columns_with_labels(header: Sequence[str], file: str) -> list[tuple[str, str]] | None:
    if "label" in header or "text" in header:
        role = "label" if "label" in header else "text"
        column: str | None = role
    else:
        role, column = "label", column_of("label", header, file)
        if column is None:
            role, column = "text", column_of("text", header, file)
    image = column_of("image", header, file) if column is not None else None
    if image is None or column is None:
        return None
    text = [("text", "text")] if role == "label" and "text" in header else []
    return [("image", image), (role, column), *text]


def classes_of(
    values: Sequence[str], classes: Sequence[str] | None, table: Table
) -> tuple[tuple[str, ...], dict[str, int], tuple[str, ...]]:
    """Class names, the index of each kind of label, and notes."""
    file = brief(table.file.name)
    kinds = sorted(set(values))
    if classes and all("=" in entry for entry in classes) and not set(kinds) <= set(classes):
        naming = assign_entries(kinds, classes, "label")
        return naming.class_names, dict(zip(kinds, naming.labels, strict=True)), naming.notes
    if not classes:
        if table.columns[1] == "label" and all(map(is_number, kinds)):
            raise InputError(f"The labels of {file} are numbers. Say what they stand for: --classes names.txt.")
        names = check_class_names(kinds)
        captions = table.columns[1] == "text"
        return names, {name: index for index, name in enumerate(names)}, () if captions else notes_on(names)
    names = check_class_names(classes)
    lines = {value: line for (line, _), value in zip(reversed(table.rows), reversed(values), strict=True)}
    index_of = {kind: _index_of(kind, names, lines[kind], file) for kind in kinds}
    return names, index_of, notes_on(names)


def _index_of(label: str, names: tuple[str, ...], line: int, file: str) -> int:
    places = [index for index, name in enumerate(names) if name == label]
    if not places and (number := as_index(label)) is not None:
        if 0 <= number < len(names):
            return number
        raise InputError(
            f"Line {line} of {file}: label {number} is out of range; there are {len(names)} classes from 0."
        )
    places = places or [index for index, name in enumerate(names) if fold(name) == fold(label)]
    if len(places) == 1:
        return places[0]
    if places:
        raise InputError(
            f"Line {line} of {file}: {len(places)} classes have the name {repr_of(label)}. Give indices as labels."
        )
    raise InputError(f"Line {line} of {file}: label {repr_of(label)} is none of the {len(names)} classes.")


class CaptionedCsvData(ListedPhotos, CaptionedImages):
    """``csv:PATH`` for retrieval: a header, and the columns ``image`` (path relative to the file) and ``text``.

    Rows that name one file, or files with the same bytes, are one image with several captions, in the order of the
    rows; a caption that an image is given again counts once. Other columns are left aside.

    :param path: The file.
    :raises InputError: If a column is missing or a field is empty.
    """

    def __init__(self, path: str, transform: PhotoTransform | None) -> None:
        def choose(header: Sequence[str]) -> list[tuple[str, str]] | None:
            text = column_of("text", header, Path(path).name)
            image = column_of("image", header, Path(path).name) if text is not None else None
            return None if image is None or text is None else [("image", image), ("text", text)]

        table = read_table(path, choose, "image and text")
        root = table.file.parent
        names: dict[str, str] = {}
        captions: dict[str, dict[str, None]] = {}
        for _, (name, text) in table.rows:
            names.setdefault(_same(name), name)
            captions.setdefault(_same(name), {})[text] = None
        copies = twins({key: locate(root, name) for key, name in names.items() if not is_url(name)})
        for key, other in copies.items():
            captions[other] |= captions.pop(key)
            one = names.pop(key)
        super().__init__(root, list(names.values()), transform)
        self.captions = [tuple(texts) for texts in captions.values()]
        _check_no_urls(self.names, table)
        self.folders = folders_of(root, self.names)
        self.notes = table.notes
        if copies:
            self.notes += (
                f"{len(copies)} file(s) have the same bytes as another one, for example {brief(one)}: they count as "
                "one image with the captions of all",
            )

    def captions_of(self, index: int) -> tuple[str, ...]:
        return self.captions[index]


def _same(name: str) -> str:
    r"""What names of one file have in common: ``./a/b.png``, ``a//b.png`` and ``a\b.png`` are the same."""
    return str(Path(name.replace("\\", "/")))


def _check_no_urls(names: Sequence[str], table: Table) -> None:
    if all(map(is_url, names)):
        raise InputError(
            f"The images of {brief(table.file.name)} are URLs, such as {brief(names[0])[:80]}, which are not fetched. "
            "Download them, and list the local files."
        )


def folders_of(root: Path, names: Iterable[str]) -> tuple[Path, ...]:
    """Folders that the images lie in, but for that of the list itself, where other things may lie, too."""
    parents = {name.replace("\\", "/").rpartition("/")[0] for name in names if not is_url(name)}
    folders = [Path(root, parent) for parent in sorted(parents)]
    return tuple(folder for folder in folders if Path(root / folder) != root)
