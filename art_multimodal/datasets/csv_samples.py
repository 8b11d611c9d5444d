"""``csv:PATH`` of samples: a file with a column for each modality, and ``label``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from art_multimodal.datasets.csv_files import classes_of, columns_with_labels, folders_of
from art_multimodal.datasets.files import is_url, locate
from art_multimodal.datasets.labelled_samples import LabelledSampleArrays
from art_multimodal.datasets.sample_fields import Entry, File, gather
from art_multimodal.datasets.sample_files import kind_of_file
from art_multimodal.datasets.table import Table, column_of, header_of, read_table
from art_multimodal.errors import InputError
from art_multimodal.modalities.modality import Modality
from art_multimodal.sample_arrays import samples
from art_multimodal.shown import brief, quoted

#: A column of a table: ``vitals.pulse`` or ``vitals[0]``.
_OF_TABLE = re.compile(r"([^.\[]+)(?:\.(.+)|\[([0-9]{1,6})\])")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_FILES = ("picture", "sound", "array")


class CsvSamples(LabelledSampleArrays):
    """``csv:PATH``: a column for each modality, and ``label``.

    A cell is a path, relative to the file, of a picture, a sound (``.wav``) or an array (``.npy``); or a number; or a
    text. Columns ``NAME.COLUMN`` or ``NAME[0]`` are the columns of one table ``NAME``, in the order of the header. An
    empty cell is a modality that the sample lacks.

    :param path: The file.
    :param modalities: Those of the model; columns of others are left aside. Without them each column is one, of the
        kind that all of its cells have.
    :param classes: Class names; with them labels may be indices. Or ``LABEL=NAME`` entries.
    :raises InputError: If a column is missing, or a file cannot be read or does not fit.
    """

    def __init__(self, path: str, modalities: Iterable[Modality] = (), classes: Sequence[str] | None = None) -> None:
        given = {modality.name: modality for modality in modalities}

        def choose(header: Sequence[str]) -> list[tuple[str, str]] | None:
            return _columns(header, Path(path).name, given)

        wanted = ", ".join(given) if given else "one for each modality"
        read = read_table(path, choose, f"label and {wanted}", filled=("label",))
        values = [fields[1] for _, fields in read.rows]
        names, index_of, notes = classes_of(values, classes, read)
        places = [f"line {line} of {brief(read.file.name)}" for line, _ in read.rows]
        groups = _grouped([column for column in read.columns if column != "label"], given)
        if strange := [name for name in groups if not name.isidentifier()]:
            raise InputError(
                f"A column of {brief(read.file.name)} is called {quoted(strange[0], 60)}, which cannot be the name of "
                "a modality. Give it one such as rgb, or the columns of a table names such as vitals.pulse."
            )
        entries: dict[str, list[Entry]] = {}
        for name, columns in groups.items():
            entries[name], said = _entries(name, columns, read, places, given.get(name))
            notes = (*notes, *said)
        fields, described = gather(entries, places, given)
        files = [entry.name for column in entries.values() for entry in column if isinstance(entry, File)]
        labels = np.array([index_of[value] for value in values], dtype=np.int64)
        super().__init__(samples(**fields), labels, names, [f"line {line}" for line, _ in read.rows], described)
        self.folders = folders_of(read.file.parent, files)
        self.notes = tuple(dict.fromkeys((*read.notes, *notes)))


def lists_samples(path: str) -> bool:
    """Whether a file lists samples of modalities, and no images with labels, captions or questions.

    It does if it has a label and at least two other columns, and none of those that a list of images has.

    :raises InputError: If there is no such file, or it is none.
    """

    def choose(header: Sequence[str]) -> list[tuple[str, str]] | None:
        return columns_with_labels(header, Path(path).name) or _columns(header, Path(path).name, {})

    header = header_of(path, choose)
    if columns_with_labels(header, Path(path).name) is not None:
        return False
    found = _columns(header, Path(path).name, {})
    return found is not None and len(found) > 2


def _columns(header: Sequence[str], file: str, given: dict[str, Modality]) -> list[tuple[str, str]] | None:
    """The label's column, as the second, and those of the modalities, as :func:`read_table` takes them."""
    label = column_of("label", header, file)
    if label is None:
        return None
    names = {name.lower() for name in given}
    others = [
        column
        for column in dict.fromkeys(header)
        if column and column != label and (not given or column in names or _table_of(column) in names)
    ]
    if not others:
        return None
    return [(others[0], others[0]), ("label", label), *((column, column) for column in others[1:])]


def _table_of(column: str) -> str | None:
    """The table whose column this is, by its name; ``None`` where it is none."""
    found = _OF_TABLE.fullmatch(column)
    return found[1].strip() if found else None


def _grouped(columns: Sequence[str], given: dict[str, Modality]) -> dict[str, list[str]]:
    """Columns of each modality; headers are in lower case, and modalities as the model writes them come first."""
    written = {name.lower(): name for name in given}
    groups: dict[str, list[str]] = {}
    for column in columns:
        name = _table_of(column) or column
        groups.setdefault(written.get(name, name), []).append(column)
    return {name: groups[name] for name in (*given, *groups) if name in groups}


def _entries(
    name: str, columns: Sequence[str], read: Table, places: Sequence[str], modality: Modality | None
) -> tuple[list[Entry], list[str]]:
    """What each sample has of a modality, and notes."""
    at = [read.columns.index(column) for column in columns]
    cells = [[fields[place] for place in at] for _, fields in read.rows]
    if len(columns) > 1 or _table_of(columns[0]) is not None:
        if name in columns:
            raise InputError(
                f"{brief(read.file.name)} has a column {brief(name)} beside {brief(columns[-1])}: is {brief(name)} a "
                "table? Rename one."
            )
        return [_row(name, row, columns, place) for row, place in zip(cells, places, strict=True)], []
    single = [row[0] for row in cells]
    if modality is not None and not modality.numeric:
        return [cell or None for cell in single], []
    kinds = {cell: _kind_of(cell) for cell in single if cell}
    found = set(kinds.values())
    if modality is None and "text" in found:
        if found & set(_FILES):
            one, other = (
                next(cell for cell in single if cell and (kinds[cell] == "text") is text) for text in (False, True)
            )
            raise InputError(
                f"The column {brief(name)} of {brief(read.file.name)} holds files, such as {brief(one, 60)}, and other "
                f"texts, such as {brief(other, 60)} ({places[single.index(other)]}). Mend it, or leave cells empty."
            )
        said = []
        if "number" in found:
            odd = next(cell for cell in single if cell and kinds[cell] == "text")
            where = places[single.index(odd)]
            said = [f"the column {brief(name)} is read as texts: {where} has {quoted(odd, 40)}, which is no number"]
        return [cell or None for cell in single], said
    return [
        _entry(name, cell, kinds.get(cell), read.file.parent, place) for cell, place in zip(single, places, strict=True)
    ], []


def _kind_of(cell: str) -> str:
    if _NUMBER.fullmatch(cell) or cell.lower() == "nan":
        return "number"
    kind = kind_of_file(cell)
    return kind if kind in _FILES else "text"


def _entry(name: str, cell: str, kind: str | None, root: Path, place: str) -> Entry:
    if kind is None:
        return None
    if kind == "number":
        return _row(name, [cell], [name], place)
    if kind == "text":
        raise InputError(
            f"{place}, {brief(name)}: {quoted(cell, 60)} is neither a number nor the name of a picture, of a .wav or "
            "of a .npy file."
        )
    if is_url(cell):
        raise InputError(f"{place}, {brief(name)}: {brief(cell, 80)} is a URL, which is not fetched. Download it.")
    return File(locate(root, cell), cell)


def _row(name: str, cells: Sequence[str], columns: Sequence[str], place: str) -> np.ndarray | None:
    """Numbers of a row of a table; ``None`` where all are missing."""
    missing = [not cell or cell.lower() == "nan" for cell in cells]
    if all(missing):
        return None
    if any(missing):
        raise InputError(
            f"{place} has an empty {brief(columns[missing.index(True)])}, and other columns of {brief(name)} are "
            "filled. A table is there or missing as a whole: fill the gap, with a mean for example."
        )
    for cell, column in zip(cells, columns, strict=True):
        if not _NUMBER.fullmatch(cell):
            raise InputError(f"{place}: {quoted(cell, 60)} in the column {brief(column)} is no number.")
    with np.errstate(over="ignore"):
        numbers = np.array([float(cell) for cell in cells]).astype(np.float32)
    if not np.isfinite(numbers).all():
        raise InputError(f"{place}: a number of {brief(name)} is too large.")
    return numbers
