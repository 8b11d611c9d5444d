"""The log of a run: what it is, and one line for each attack on each batch, written when that batch ends."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.lines import Line
from art_multimodal.evaluations.audit.schema import LineReader, check_header, line_to_json
from art_multimodal.shown import shown
from art_multimodal.store import (
    FolderLock,
    cannot_write,
    check_place,
    open_regular,
    opened_document,
    opened_line,
    read_regular,
    refuse_links,
    replace_file,
    sealed_document,
    sealed_line,
    sync_folder,
)
from art_multimodal.store.files import reason_of

HEADER_FILE, LINES_FILE, PICTURES_FOLDER = "run.json", "log.jsonl", "pictures"
#: Raised when what a line or the header says changes.
SCHEMA_VERSION = 5
#: Bytes of the header, and of a line; both are far smaller.
_MOST_BYTES = 64 << 20


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that it is either the old one or the new one, never half of it.

    :raises InputError: If it cannot be written.
    """
    try:
        replace_file(path, text)
    except OSError as error:
        raise cannot_write(path, error) from error


class RunLog:
    """The folder of a run.

    ``run.json`` is the header: settings, model, data and versions. ``log.jsonl`` holds one line per attack and batch.
    A line that was cut off by a kill is dropped when the log is opened again, so what is read is always whole batches.
    Both carry checksums, and links among the files are not followed: see :mod:`art_multimodal.store`.
    """

    def __init__(self, folder: Path, header: dict[str, Any], lines_file: str = LINES_FILE) -> None:
        self.folder = folder
        self.header = header
        self.lines_file = lines_file

    @classmethod
    def create(cls, folder: Path, header: dict[str, Any], lock: FolderLock | None = None) -> RunLog:
        """Start a run in a folder.

        :param lock: Of the folder; taken when the folder is there.
        :raises InputError: If the folder cannot be written, or another command has started a run there.
        """
        refuse_links(folder, (PICTURES_FOLDER,))
        try:
            (folder / PICTURES_FOLDER).mkdir(parents=True, exist_ok=True)
            sync_folder(folder.absolute().parent)
        except OSError as error:
            raise cannot_write(folder, error) from error
        if lock is not None:
            lock.take()
            check_folder(folder, resume=False)
        write_atomically(folder / HEADER_FILE, sealed_document(header))
        log = cls(folder, header)
        log._append(b"")
        return log

    @classmethod
    def open(cls, folder: Path) -> RunLog:
        """Open the log of a run, dropping a last line that a kill cut off.

        :raises InputError: If the folder holds no run, or its files are damaged, changed or links.
        """
        refuse_links(folder, (HEADER_FILE, LINES_FILE, PICTURES_FOLDER))
        path = folder / HEADER_FILE
        try:
            header = read_header(path)
        except FileNotFoundError:
            raise InputError(f"{shown(folder)} holds no run to go on with. Start one without --resume.") from None
        except (ValueError, OSError) as error:
            raise InputError(
                f"{shown(path)} cannot be read ({shown(reason_of(error))}). Start again in another --out."
            ) from error
        log = cls(folder, header)
        log.drop_cut_line()
        try:
            log.pictures.mkdir(exist_ok=True)
        except OSError as error:
            raise cannot_write(log.pictures, error) from error
        return log

    def append(self, line: Line) -> None:
        """Add a line and see it onto the disk."""
        self._append(sealed_line(line_to_json(line)))

    def lines(self) -> Iterator[Line]:
        """Read the lines one after the other.

        :raises InputError: If a line is damaged, or does not belong there.
        """
        reader = LineReader(self.header)
        for number, (_, line) in enumerate(self._read(reader), start=1):
            try:
                reader.in_order(line)
            except ValueError as error:
                raise self._damaged(number, error) from error
            yield line

    def lines_with_starts(self) -> Iterator[tuple[int, Line]]:
        """Read the lines one after the other, each with the byte that it starts at; in whatever order they are.

        :raises InputError: If a line is damaged.
        """
        return self._read(LineReader(self.header))

    def line_at(self, start: int) -> Line:
        """Read a line that was checked before.

        :raises InputError: If it has changed since.
        """
        path = self.folder / self.lines_file
        try:
            with open_regular(path) as stream:
                stream.seek(start)
                return LineReader(self.header).line(opened_line(stream.readline()))
        except (OSError, ValueError) as error:
            raise InputError(f"{shown(path)} has changed while it was read. Start again in another --out.") from error

    def _read(self, reader: LineReader) -> Iterator[tuple[int, Line]]:
        path, start, number = self.folder / self.lines_file, 0, 0
        if not os.path.lexists(path):
            return
        try:
            with open_regular(path) as stream:
                while text := stream.readline(_MOST_BYTES):
                    number += 1
                    yield start, reader.line(opened_line(text))
                    start += len(text)
        except ValueError as error:
            raise self._damaged(number, error) from error
        except OSError as error:
            raise InputError(f"{shown(path)} cannot be read ({reason_of(error)}). Choose another --out.") from error

    def _damaged(self, number: int, error: ValueError) -> InputError:
        return InputError(
            f"Line {number} of {shown(self.folder / self.lines_file)} is damaged: {error}. Start again in another "
            "--out."
        )

    @property
    def pictures(self) -> Path:
        """The folder of pictures."""
        return self.folder / PICTURES_FOLDER

    def _append(self, text: bytes) -> None:
        path = self.folder / self.lines_file
        try:
            new = not os.path.lexists(path)
            with open_regular(path, "ab") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            if new:
                sync_folder(path.parent)
        except OSError as error:
            raise cannot_write(path, error) from error

    def drop_cut_line(self) -> None:
        """Cut a last line off that is not whole.

        :raises InputError: If the file cannot be written, or is a link.
        """
        path = self.folder / self.lines_file
        if not os.path.lexists(path):
            return
        try:
            with open_regular(path, "r+b") as stream:
                position, end = stream.seek(0, os.SEEK_END), 0
                while position:
                    step = min(position, 1 << 16)
                    position -= step
                    stream.seek(position)
                    place = stream.read(step).rfind(b"\n")
                    if place >= 0:
                        end = position + place + 1
                        break
                stream.truncate(end)
        except OSError as error:
            raise cannot_write(path, error) from error


def read_header(path: Path) -> dict[str, Any]:
    """Read ``run.json``.

    :raises InputError: If another version wrote it.
    :raises OSError: If it cannot be read.
    :raises ValueError: If it is damaged or was changed.
    """
    text = read_regular(path, _MOST_BYTES)
    try:
        header = opened_document(text)
    except ValueError:
        _check_version(text)
        raise
    check_header(header)
    return header


def _check_version(text: bytes) -> None:
    """Of another version the checksum says nothing."""
    found = re.search(rb'"schema_version": ?(\d{1,6})\b', text)
    if found and int(found[1]) != SCHEMA_VERSION:
        raise other_version(int(found[1]))


def other_version(version: Any) -> InputError:
    """Return the error for a run that another version made."""
    return InputError(
        f"The run was made by another version of art-multimodal (schema {shown(version)[:40]}, here {SCHEMA_VERSION}). "
        "Start again in another --out."
    )


def check_folder(folder: Path, resume: bool) -> None:
    """Find out, before any work and without leaving a trace, whether a run can live in a folder.

    :raises InputError: If it could not be written, or holds a run that is not to be resumed.
    """
    check_place(folder)
    if not os.path.lexists(folder / HEADER_FILE):
        logs = (folder / LINES_FILE, *sorted(folder.glob("log.*.jsonl")))
        lost = [path.name for path in logs if os.path.lexists(path)]
        if lost:
            # Whose lines they are, nobody knows: they must not become part of another run.
            raise InputError(
                f"{shown(folder)} holds {shown(lost[0])} of a run whose {HEADER_FILE} is gone. Choose another "
                "--out, or remove the folder."
            )
    elif not resume:
        raise InputError(
            f"{shown(folder)} holds a run already. Go on with it by --resume, replace it by "
            "--overwrite, or choose another --out."
        )
