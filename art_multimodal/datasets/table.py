"""Tables in text files: which encoding, which separator and which columns are decided from the file itself."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from art_multimodal.datasets.photos import ENDINGS, HEIF_ENDINGS
from art_multimodal.errors import InputError
from art_multimodal.shown import brief

if TYPE_CHECKING:
    from _csv import Reader

#: Other names of a column, in lower case; ``filepath`` and ``title`` are those of open_clip's training files.
ALIASES = {
    "image": "filepath file_path filename file_name file path image_path image_file image_name img img_path",
    "label": "class class_name category target",
    "text": "title caption sentence prompt question",
}
_SEPARATORS = (",", ";", "\t", "|")
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
#: Largest file that is read, in bytes.
_MOST_BYTES = 2**30
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NO_TEXT = (
    (b"PK\x03\x04", "a spreadsheet or an archive"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet"),
    (b"PAR1", "a Parquet file"),
    (b"\x1f\x8b", "compressed"),
)


@dataclass(frozen=True)
class Table:
    """Some columns of a table.

    :param file: Where it comes from.
    :param columns: What each column is: ``"image"``, ``"label"`` or ``"text"``, or the name of a modality's.
    :param rows: For each row the number of its line, and its fields, stripped.
    :param notes: What a user should know about how the file was understood.
    """

    file: Path
    columns: tuple[str, ...]
    rows: list[tuple[int, list[str]]]
    notes: tuple[str, ...]


#: Maps the header, in lower case, to what is read: pairs of what it is and the column; ``None`` where some is missing.
Choice = Callable[[Sequence[str]], "list[tuple[str, str]] | None"]


def read_table(path: str, choose: Choice, needed: str, filled: Sequence[str] | None = None) -> Table:
    """Read some columns of a text file with a header.

    UTF-8, or UTF-16 or UTF-32 that can be told; separated by commas, semicolons, tabs or bars.

    :param choose: Chooses the columns.
    :param needed: The columns that the file needs, for the error.
    :param filled: What may not be empty; ``None`` for all that is read.
    :raises InputError: If the file cannot be read, lacks a column or has it twice, has no rows, or a field is empty.
    """
    with _opened(path) as (file, stream):
        return _read(file, stream, choose, needed, filled)


def header_of(path: str, choose: Choice) -> list[str]:
    """The names of the columns of a text file, in lower case.

    :param choose: Chooses the columns: of several separators that is right under which it finds them.
    :raises InputError: If the file cannot be read.
    """
    with _opened(path) as (_, stream):
        return _header(stream, choose)[0]


@contextmanager
def _opened(path: str) -> Iterator[tuple[Path, TextIO]]:
    """Open a text file, and turn what goes wrong with it into errors for the user."""
    file = Path(path)
    try:
        file = file.expanduser()
        _check_file(file)
        encoding = _encoding_of(file)
        with file.open(encoding=encoding, newline="") as stream:
            yield file, stream
    except UnicodeError as error:
        raise InputError(
            f"{brief(file.name)} is not UTF-8{_place_of(file)}. Save it as UTF-8 (in a spreadsheet: CSV UTF-8)."
        ) from error
    except csv.Error as error:
        raise InputError(
            f"{brief(file.name)} is not a readable CSV file: {brief(error)}. Look for a quote that is not closed."
        ) from error
    except (OSError, RuntimeError) as error:
        raise InputError(f"{brief(path)[:200]} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{brief(path)[:200]} cannot be read: {brief(error)}.") from error


def column_of(role: str, header: Sequence[str], file: str) -> str | None:
    """The column that holds something: the one of that name, or the only one of another name for it.

    :raises InputError: If there are several others.
    """
    if role in header:
        return role
    found = [name for name in dict.fromkeys(header) if name in ALIASES[role].split()]
    if len(found) > 1:
        raise InputError(
            f"{brief(file)} has no column {role}, and {len(found)} that may be meant: {', '.join(found)}. Rename the "
            f"right one to {role}."
        )
    return found[0] if found else None


def _check_file(file: Path) -> None:
    if file.is_dir():
        raise InputError(f"{brief(file)} is a folder. Did you mean folder:{brief(file)}?")
    if not file.is_file():
        raise InputError(f"There is no file '{brief(file)}'.")
    if file.stat().st_size > _MOST_BYTES:
        raise InputError(f"{brief(file.name)} is larger than {_MOST_BYTES >> 30} GiB. Give a part of it.")


def _encoding_of(file: Path) -> str:
    with file.open("rb") as stream:
        head = stream.read(4096)
    for beginning, what in _NO_TEXT:
        if head.startswith(beginning):
            raise InputError(f"{brief(file.name)} is {what}, not a text file. Save it as CSV in UTF-8.")
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return encoding
    # Without a mark: of ASCII letters in UTF-16 every other byte is zero.
    even, odd = head[0::2], head[1::2]
    if odd.count(0) > 0.4 * len(head) / 2 and not even.count(0):
        return "utf-16-le"
    if even.count(0) > 0.4 * len(head) / 2 and not odd.count(0):
        return "utf-16-be"
    return "utf-8"


def _place_of(file: Path) -> str:
    """`` (line 3)``: where a file stops being UTF-8."""
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError:
                    return f" (line {number})"
    except OSError:
        pass
    return ""


def _header(stream: TextIO, choose: Choice) -> tuple[list[str], Any, str, bool]:
    """The names of the columns, what reads the rows, the separator, and whether a line in front named it."""
    separator, skip = _separator_of(stream, choose)
    stream.seek(0)
    if skip:
        stream.readline()
    reader = csv.reader(stream, delimiter=separator)
    return [name.strip().lower() for name in next(reader, [])], reader, separator, skip


def _read(file: Path, stream: TextIO, choose: Choice, needed: str, filled: Sequence[str] | None) -> Table:
    header, reader, separator, skip = _header(stream, choose)
    chosen = choose(header)
    if chosen is None:
        raise InputError(f"{brief(file.name)} needs the columns {needed}; {_what_it_has(header)}")
    for _, column in chosen:
        if header.count(column) > 1:
            raise InputError(
                f"The column {brief(column)} stands {_times(header.count(column))} in {brief(file.name)}. Remove or "
                "rename one."
            )
    places = [header.index(column) for _, column in chosen]
    rows = list(_rows(reader, header, places, file.name, skip))
    for line, fields in rows:
        for (role, column), field in zip(chosen, fields, strict=True):
            if not field and (filled is None or role in filled):
                raise InputError(f"Line {line} of {brief(file.name)} has an empty {brief(column)}.")
    if not rows:
        raise InputError(f"{brief(file.name)} lists no {'images' if filled is None else 'samples'}.")
    renamed = [(column, role) for role, column in chosen if column != role]
    notes = []
    if renamed:
        taken = " and ".join(f"{column} for {role}" for column, role in renamed)
        notes.append(f"{brief(file.name)}: the column {taken} is taken" if len(renamed) == 1 else "")
        notes[-1] = notes[-1] or f"{brief(file.name)}: the columns {taken} are taken"
    if separator != ",":
        notes.append(f"{brief(file.name)} is read as separated by {_NAMES.get(separator, repr(separator))}")
    return Table(file, tuple(role for role, _ in chosen), rows, tuple(notes))


def _separator_of(stream: TextIO, choose: Choice) -> tuple[str, bool]:
    """The separator under which the first line has the columns, and whether a line in front of it names it."""
    first = stream.readline(1 << 20)
    named = re.match(r'"?sep=([,;|:\t])"?\s*$', first, re.IGNORECASE)
    if named:
        return named.group(1), True
    for separator in _SEPARATORS:
        header = next(csv.reader([first], delimiter=separator), [])
        if choose([name.strip().lower() for name in header]) is not None:
            return separator, False
    return max(_SEPARATORS, key=lambda one: (first.count(one), one == ",")), False


def _rows(
    reader: Reader, header: list[str], places: list[int], file: str, skip: bool
) -> Iterator[tuple[int, list[str]]]:
    for row in reader:
        line = reader.line_num + skip
        while len(row) > len(header) and not row[-1].strip():
            row.pop()
        if not any(field.strip() for field in row):
            continue
        if len(row) > len(header):
            raise InputError(
                f"Line {line} of {brief(file)} has more fields than the header. "
                'Put texts with commas into quotes: "a dog, asleep".'
            )
        yield line, [row[place].strip() if place < len(row) else "" for place in places]


def _what_it_has(header: list[str]) -> str:
    if not any(header):
        return "it has none."
    first = header[0]
    if first.endswith((*ENDINGS, *HEIF_ENDINGS)):
        return f"its first line names a file, {brief(first)[:60]}. Put a line with the names of the columns above it."
    return f"it has {', '.join(brief(name, 40) for name in header[:12])}{', ...' if len(header) > 12 else ''}."


def _times(count: int) -> str:
    return "twice" if count == 2 else f"{count} times"
