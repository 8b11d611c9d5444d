"""The folder of a run: what the run is, and one line for each part of its work, written when that part ends."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from art_multimodal.errors import InputError
from art_multimodal.processes import failing_together, is_main_process
from art_multimodal.shown import shown
from art_multimodal.store.documents import opened_document, opened_line, sealed_document, sealed_line
from art_multimodal.store.files import (
    cannot_write,
    check_place,
    open_regular,
    read_regular,
    reason_of,
    refuse_links,
    sync_folder,
    write_atomically,
)
from art_multimodal.store.lock import FolderLock

HEADER_FILE, LINES_FILE = "run.json", "log.jsonl"
#: Bytes of the header, and of a line; both are far smaller.
_MOST_BYTES = 64 << 20


class StoredLine(Protocol):
    """What a line must say of itself."""

    @property
    def part(self) -> tuple[int, str]:
        """Which part of the work it is about: number of the batch, and name of what was done with it."""

    @property
    def listed(self) -> int:
        """Samples of the batch, those that could not be read among them."""

    @property
    def seconds(self) -> float:
        """What it took."""


LineT = TypeVar("LineT", bound=StoredLine)


class Reader(Protocol[LineT]):
    """Reads the lines of a run, in their order."""

    def line(self, value: Any) -> LineT:
        """Read one line by itself.

        :raises ValueError: Saying what is wrong.
        """

    def in_order(self, line: LineT) -> None:
        """Check that a line belongs where it stands.

        :raises ValueError: Saying what is wrong.
        """


class StoredRun(ABC, Generic[LineT]):
    """The folder of a run; a subclass says what its header and its lines are.

    ``run.json`` is the header, ``log.jsonl`` holds the lines. A line that was cut off by a kill is dropped when the run
    is opened again, so what is read is always whole. Both carry checksums, and links among the files are not followed:
    see :mod:`art_multimodal.store`.

    :param folder: Of the run.
    :param header: What identifies it, in JSON types.
    :param lines_file: Where its lines are; of several processes each has one of its own.
    """

    #: What such a run is, for errors: ``"an audit"``.
    what: ClassVar[str]
    #: Stands in the header under ``kind``, if anything; by which a run of another kind is told.
    kind: ClassVar[str | None] = None
    #: Raised when what a line or the header says changes.
    schema_version: ClassVar[int]
    #: Further folders of a run.
    folders: ClassVar[tuple[str, ...]] = ()
    #: Parts of the header that must be the same for a run to go on.
    identity: ClassVar[tuple[str, ...]]
    #: Whether a run that goes on keeps its header as it was logged, in what may differ, too.
    goes_on_as_logged: ClassVar[bool] = False
    #: Entries of these parts that may differ: like the device, they are the machine's affair.
    indifferent: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, folder: Path, header: dict[str, Any], lines_file: str = LINES_FILE) -> None:
        self.folder = folder
        self.header = header
        self.lines_file = lines_file

    @classmethod
    @abstractmethod
    def check_header(cls, header: dict[str, Any]) -> None:
        """Check what later steps read from the header.

        :raises ValueError: Saying what is wrong.
        """

    @abstractmethod
    def reader(self) -> Reader[LineT]:
        """A reader of the lines, from the first on."""

    @classmethod
    @abstractmethod
    def to_json(cls, line: LineT) -> dict[str, Any]:
        """A line in JSON types, as the reader takes it."""

    @classmethod
    def begin(
        cls,
        folder: Path,
        header: dict[str, Any],
        resume: bool,
        lock: FolderLock,
        anew: Callable[[], None],
        again: Callable[[Self], None],
    ) -> Self:
        """Start a run in a folder, or go on with the one that is there. All processes call it.

        :param lock: Of the folder; the main process takes it.
        :param anew: Done by all before a new run leaves any trace, so that it may still be refused.
        :param again: Done by the main process with a run that goes on, once it is known to be the same.
        :raises InputError: If the folder cannot be used, or holds another run.
        """
        with failing_together():
            check_folder(folder, resume=resume)
            going_on = resume and (folder / HEADER_FILE).exists()
            if not going_on:
                anew()
        with failing_together():
            if is_main_process():
                if going_on:
                    lock.take()
                    cls.open(folder).check_same(header)
                    again(cls(folder, header))
                else:
                    cls.create(folder, header, lock)
        with failing_together():
            if going_on and cls.goes_on_as_logged:
                header = cls.open_header(folder)
        return cls(folder, header)

    @classmethod
    def create(cls, folder: Path, header: dict[str, Any], lock: FolderLock | None = None) -> Self:
        """Start a run in a folder.

        :param lock: Of the folder; taken when the folder is there.
        :raises InputError: If the folder cannot be written, or another command has started a run there.
        """
        refuse_links(folder, cls.folders)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in cls.folders:
                (folder / name).mkdir(exist_ok=True)
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
    def open(cls, folder: Path) -> Self:
        """Open a run, dropping a last line that a kill cut off.

        :raises InputError: If the folder holds no such run, or its files are damaged, changed or links.
        """
        refuse_links(folder, (HEADER_FILE, LINES_FILE, *cls.folders))
        log = cls(folder, cls.open_header(folder))
        log.drop_cut_line()
        for name in cls.folders:
            try:
                (folder / name).mkdir(exist_ok=True)
            except OSError as error:
                raise cannot_write(folder / name, error) from error
        return log

    @classmethod
    def open_header(cls, folder: Path) -> dict[str, Any]:
        """The header of the run in a folder.

        :raises InputError: If the folder holds no such run, or it is damaged.
        """
        path = folder / HEADER_FILE
        try:
            return cls.read_header(path)
        except FileNotFoundError:
            raise InputError(f"{shown(folder)} holds no run to go on with. Start one without --resume.") from None
        except InputError:
            raise
        except (ValueError, OSError) as error:
            raise InputError(
                f"{shown(path)} cannot be read ({shown(reason_of(error))}). Start again in another --out."
            ) from error

    @classmethod
    def read_header(cls, path: Path) -> dict[str, Any]:
        """Read ``run.json``.

        :raises InputError: If another version, or another command, wrote it.
        :raises OSError: If it cannot be read.
        :raises ValueError: If it is damaged or was changed.
        """
        text = read_regular(path, _MOST_BYTES)
        try:
            header = opened_document(text)
        except ValueError:
            # Of another version the checksum says nothing.
            found = re.search(rb'"schema_version": ?(\d{1,6})\b', text)
            if found and int(found[1]) != cls.schema_version:
                raise cls.other_version(int(found[1])) from None
            raise
        cls._check_kind(path.parent, header)
        cls.check_header(header)
        return header

    @classmethod
    def refuse_other_kinds(cls, folder: Path) -> None:
        """Refuse a folder that holds a run of another kind, before it is replaced.

        :raises InputError: If it does.
        """
        try:
            header = opened_document(read_regular(folder / HEADER_FILE, _MOST_BYTES))
        except (OSError, ValueError):  # none, or one that nobody can go on with
            return
        cls._check_kind(folder, header)

    @classmethod
    def _check_kind(cls, folder: Path, header: Mapping[str, Any]) -> None:
        if header.get("kind") != cls.kind:
            raise InputError(f"{shown(folder)} holds another run than {cls.what}. Choose another --out.")

    @classmethod
    def other_version(cls, version: Any) -> InputError:
        """Return the error for a run that another version made."""
        return InputError(
            f"The run was made by another version of art-multimodal (schema {shown(version)[:40]}, here "
            f"{cls.schema_version}). Start again in another --out."
        )

    def check_same(self, wanted: Mapping[str, Any]) -> None:
        """Compare all that numbers depend on; another device or library version is let through and stays as logged.

        :param wanted: The header of the run that is to go on.
        :raises InputError: Naming what differs.
        """
        logged = self.header
        if logged.get("schema_version") != self.schema_version:
            raise self.other_version(logged.get("schema_version"))
        differences: dict[str, str] = {}
        for part in self.identity:
            for key in sorted({*logged.get(part, {}), *wanted.get(part, {})}):
                before, now = (self.as_written_now(key, of.get(part, {}).get(key)) for of in (logged, wanted))
                if before != now and key not in self.indifferent:
                    differences.setdefault(key, f"{key}: {_short(before)} then, {_short(now)} now")
        if differences:
            raise InputError(
                f"The run to resume had other settings ({'; '.join(differences.values())}). "
                "Give the same ones, or another --out."
            )

    @classmethod
    def as_written_now(cls, key: str, value: Any) -> Any:
        """A value of a header as this version writes it, where another one wrote the same thing otherwise."""
        return value

    def append(self, line: LineT) -> None:
        """Add a line and see it onto the disk."""
        self._append(sealed_line(self.to_json(line)))

    def lines(self) -> Iterator[LineT]:
        """Read the lines one after the other.

        :raises InputError: If a line is damaged, or does not belong there.
        """
        reader = self.reader()
        for number, (_, line) in enumerate(self._read(reader), start=1):
            try:
                reader.in_order(line)
            except ValueError as error:
                raise self._damaged(number, error) from error
            yield line

    def lines_with_starts(self) -> Iterator[tuple[int, LineT]]:
        """Read the lines one after the other, each with the byte that it starts at; in whatever order they are.

        :raises InputError: If a line is damaged.
        """
        return self._read(self.reader())

    def line_at(self, start: int) -> LineT:
        """Read a line that was checked before.

        :raises InputError: If it has changed since.
        """
        path = self.folder / self.lines_file
        try:
            with open_regular(path) as stream:
                stream.seek(start)
                return self.reader().line(opened_line(stream.readline()))
        except (OSError, ValueError) as error:
            raise InputError(f"{shown(path)} has changed while it was read. Start again in another --out.") from error

    def _read(self, reader: Reader[LineT]) -> Iterator[tuple[int, LineT]]:
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


def _short(value: Any) -> str:
    text = shown(value)
    return text if len(text) <= 40 else text[:37] + "..."
