"""The log of a run: what it is, and one line for each attack on each batch, written when that batch ends."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from art_multimodal.errors import InputError

HEADER_FILE, LINES_FILE, PICTURES_FOLDER = "run.json", "log.jsonl", "pictures"


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that it is either the old one or the new one, never half of it."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> InputError:
    """Return the error for a file that could not be written."""
    return InputError(
        f"Cannot write {path}: {error.strerror or error}. What is there already is kept; make room or choose another "
        "--out, and go on with --resume."
    )


class RunLog:
    """The folder of a run.

    ``run.json`` is the header: settings, model, data and versions. ``log.jsonl`` holds one line per attack and batch.
    A line that was cut off by a kill is dropped when the log is opened again, so what is read is always whole batches.
    """

    def __init__(self, folder: Path, header: dict[str, Any], lines_file: str = LINES_FILE) -> None:
        self.folder = folder
        self.header = header
        self.lines_file = lines_file

    @classmethod
    def create(cls, folder: Path, header: dict[str, Any]) -> RunLog:
        """Start a run in a folder.

        :raises InputError: If the folder cannot be written.
        """
        try:
            (folder / PICTURES_FOLDER).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(folder, error) from error
        write_atomically(folder / HEADER_FILE, json.dumps(header, indent=2, ensure_ascii=True))
        log = cls(folder, header)
        log._append("")
        return log

    @classmethod
    def open(cls, folder: Path) -> RunLog:
        """Open the log of a run, dropping a last line that a kill cut off.

        :raises InputError: If the folder holds no run, or its files are damaged.
        """
        try:
            header = json.loads((folder / HEADER_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{folder} holds no run to go on with. Start one without --resume.") from None
        except (ValueError, OSError) as error:
            raise InputError(
                f"{folder / HEADER_FILE} cannot be read ({error}). Start again in another --out."
            ) from error
        log = cls(folder, header)
        log.drop_cut_line()
        try:
            log.pictures.mkdir(exist_ok=True)
        except OSError as error:
            raise cannot_write(log.pictures, error) from error
        return log

    def append(self, line: dict[str, Any]) -> None:
        """Add a line and see it onto the disk."""
        self._append(json.dumps(line, ensure_ascii=True, allow_nan=False, separators=(",", ":")) + "\n")

    def lines(self) -> Iterator[dict[str, Any]]:
        """Read the lines one after the other.

        :raises InputError: If a line is damaged.
        """
        for _, line in self.lines_with_starts():
            yield line

    def lines_with_starts(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Read the lines one after the other, each with the byte that it starts at.

        :raises InputError: If a line is damaged.
        """
        path, start = self.folder / self.lines_file, 0
        if not path.exists():
            return
        with path.open("rb") as stream:
            for number, text in enumerate(stream, start=1):
                try:
                    line = json.loads(text)
                except ValueError as error:
                    raise InputError(f"Line {number} of {path} is damaged. Start again in another --out.") from error
                yield start, line
                start += len(text)

    @property
    def pictures(self) -> Path:
        """The folder of pictures."""
        return self.folder / PICTURES_FOLDER

    def _append(self, text: str) -> None:
        path = self.folder / self.lines_file
        try:
            with path.open("ab") as stream:
                stream.write(text.encode("ascii"))
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise cannot_write(path, error) from error

    def drop_cut_line(self) -> None:
        """Cut a last line off that is not whole."""
        path = self.folder / self.lines_file
        if not path.exists():
            return
        try:
            with path.open("r+b") as stream:
                end = stream.seek(0, os.SEEK_END)
                position, tail = end, b""
                while position and b"\n" not in tail:
                    step = min(position, 1 << 16)
                    position -= step
                    stream.seek(position)
                    tail = stream.read(step) + tail
                stream.truncate(position + tail.rfind(b"\n") + 1)
        except OSError as error:
            raise cannot_write(path, error) from error


def check_folder(folder: Path, resume: bool) -> None:
    """Find out, before any work and without leaving a trace, whether a run can live in a folder.

    :raises InputError: If it could not be written, or holds a run that is not to be resumed.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise InputError(f"Cannot write to {folder}: {existing} is a file. Choose another --out.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"Cannot write to {folder}: no permission to write in {existing}. Choose another --out.")
    if not (folder / HEADER_FILE).exists():
        lost = [path.name for path in (folder / LINES_FILE, *sorted(folder.glob("log.*.jsonl"))) if path.exists()]
        if lost:
            # Whose lines they are, nobody knows: they must not become part of another run.
            raise InputError(
                f"{folder} holds {lost[0]} of a run whose {HEADER_FILE} is gone. Choose another --out, or remove the "
                "folder."
            )
    elif not resume:
        raise InputError(
            f"{folder} holds a run already. Go on with it by --resume, replace it by "
            "--overwrite, or choose another --out."
        )
