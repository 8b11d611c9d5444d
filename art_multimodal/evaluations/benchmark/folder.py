"""The folder of a benchmark: an audit for each cell, and beside them who works on what, and what failed."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from art_multimodal.errors import InputError, notes_of, one_line
from art_multimodal.evaluations.audit.stored_report import REPORT_FILE, read_report
from art_multimodal.evaluations.benchmark.config import Cell
from art_multimodal.evaluations.typed_json import entries
from art_multimodal.shown import shown
from art_multimodal.store import (
    FolderLock,
    cannot_write,
    check_place,
    open_regular,
    opened_document,
    read_regular,
    refuse_links,
    sealed_document,
    write_atomically,
)

CELLS, WORK = "cells", "work"
#: What a benchmark writes besides, by the ending.
STEM = "benchmark"
TABLES = tuple(f"{STEM}.{ending}" for ending in ("json", "csv", "md", "html", "tex"))
LEADERBOARD_FILES = ("leaderboard.json", "leaderboard.md")
_FAILED, _BEGUN = "failed.json", "begun"
#: Bytes of a note about a failure.
_MOST_BYTES = 1 << 20
#: Lines of a traceback that are kept.
_LINES = 60


@dataclass(frozen=True)
class Failure:
    """Why a cell failed.

    :param reason: In one line.
    :param tries: How often it was tried.
    """

    reason: str
    tries: int


class BenchmarkFolder:
    """Where a benchmark is kept.

    ``cells/ID`` is the folder of an audit, in the audit's own format. ``work/ID`` is held by the process that works on
    the cell, which the system ends with that process, and holds the note of why it failed, if it did.

    :param path: Of the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def check(self) -> None:
        """Find out, without leaving a trace, whether a benchmark can live there.

        :raises InputError: If it could not be written, or holds something else.
        """
        check_place(self.path)
        known = {CELLS, WORK, *TABLES, *LEADERBOARD_FILES}
        try:
            names = sorted(entry.name for entry in self.path.iterdir()) if self.path.is_dir() else []
        except OSError as error:
            raise InputError(f"--out {shown(self.path)} cannot be used: {error.strerror}. Choose another.") from error
        strange = [name for name in names if name not in known and not name.startswith(".")]
        if strange:
            raise InputError(
                f"--out {shown(self.path)} holds {shown(strange[0])}, which is of no benchmark. Choose another --out."
            )
        refuse_links(self.path, sorted(known))

    def make(self) -> None:
        """Make the folder.

        :raises InputError: If it cannot be made.
        """
        try:
            for name in (CELLS, WORK):
                (self.path / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def cell(self, cell: Cell) -> Path:
        """The folder of a cell's audit."""
        return self.path / CELLS / cell.id

    @contextmanager
    def held(self, cell: Cell) -> Iterator[bool]:
        """Hold a cell in the body, unless another process does; whether this one does.

        :raises InputError: If the folder cannot be written.
        """
        place = self._work(cell)
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(place, error) from error
        with FolderLock(place) as lock:
            yield lock.taken()

    def report(self, cell: Cell) -> dict[str, Any] | None:
        """The report of a cell that is finished; ``None`` of one that is not, or whose files do not fit together."""
        folder = self.cell(cell)
        if not os.path.lexists(folder / REPORT_FILE):
            return None
        try:
            report = read_report(folder)
        except InputError:
            # The audit goes on with it, or says what is wrong.
            return None
        return report if report["complete"] and cell.fits(report) else None

    def failure(self, cell: Cell) -> Failure | None:
        """Why a cell failed when it was tried last; ``None`` where it did not, or nobody can say."""
        try:
            value = opened_document(read_regular(self._work(cell) / _FAILED, _MOST_BYTES))
            return Failure(**entries(value, {"reason": str, "tries": int}, "the note"))
        except (OSError, ValueError):
            return None

    def failed(self, cell: Cell, error: Exception) -> Failure:
        """Note that a cell failed.

        :raises InputError: If that cannot be written.
        """
        before = self.failure(cell)
        failure = Failure(reason_of_failure(error), 1 if before is None else before.tries + 1)
        note: dict[str, Any] = {"cell": str(cell), "reason": failure.reason, "tries": failure.tries}
        if not isinstance(error, InputError):
            lines = "".join(traceback.format_exception(error)).splitlines()
            note["traceback"] = [shown(line) for line in lines[-_LINES:]]
        write_atomically(self._work(cell) / _FAILED, sealed_document(note))
        return failure

    def begun(self, cell: Cell) -> int:
        """How often a cell was begun, and whoever did so came to no end."""
        try:
            return (self._work(cell) / _BEGUN).stat().st_size
        except OSError:
            return 0

    def begin(self, cell: Cell) -> None:
        """Note that a cell is begun.

        :raises InputError: If that cannot be written.
        """
        path = self._work(cell) / _BEGUN
        try:
            with open_regular(path, "ab") as stream:
                stream.write(b".")
        except OSError as error:
            raise cannot_write(path, error) from error

    def ended(self, cell: Cell) -> None:
        """Note that whoever had begun a cell has come to an end with it."""
        (self._work(cell) / _BEGUN).unlink(missing_ok=True)

    def succeeded(self, cell: Cell) -> None:
        """Forget that a cell failed before."""
        (self._work(cell) / _FAILED).unlink(missing_ok=True)

    def _work(self, cell: Cell) -> Path:
        return self.path / WORK / cell.id


def reason_of_failure(error: Exception) -> str:
    """What is said of a failed cell, in one line."""
    where = notes_of(error)
    said = one_line(error, 600) or type(error).__name__
    if not isinstance(error, InputError):
        said = f"{type(error).__name__}: {said}"
    return f"{said} ({shown(', '.join(where))})" if where else said
