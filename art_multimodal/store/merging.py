"""A run in several processes: each has parts of the work and lines of its own, which are put together in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from art_multimodal.processes import process_count, process_index
from art_multimodal.store.documents import sealed_line
from art_multimodal.store.files import cannot_write, open_regular, replace_file
from art_multimodal.store.stored_run import LINES_FILE, StoredRun

Run = TypeVar("Run", bound=StoredRun[Any])
_OF_PROCESS = "log.{}.jsonl"


def own_log(log: Run) -> Run:
    """The log that this process appends to: the run's own, or with several processes one beside it."""
    if process_count() == 1:
        return log
    return type(log)(log.folder, log.header, _OF_PROCESS.format(process_index()))


def shared_out(batches: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """The batches that this process works on, one after the other, each with those that the others work on meanwhile.

    :param batches: Numbers of all that are to be worked on.
    """
    for first in range(0, len(batches), process_count()):
        at_once = list(batches[first : first + process_count()])
        if process_index() >= len(at_once):
            return
        yield at_once[process_index()], at_once


def merge(log: StoredRun[Any], order: Sequence[str], edited: Callable[[Any], Any] | None = None) -> None:
    """Put the logs of processes, those of earlier runs too, into the run's own: as one process would have written it.

    The new log takes the place of the old one when it is whole, so a kill loses nothing. Does nothing where there is
    nothing to put in and all is in order.

    :param order: Names of what is done with every batch, in this order.
    :param edited: Called with each line in order; what it returns is written.
    :raises InputError: If a log is damaged, or cannot be written.
    """
    kind = type(log)
    parts = [kind(log.folder, log.header, path.name) for path in sorted(log.folder.glob(_OF_PROCESS.format("*")))]
    for part in parts:
        part.drop_cut_line()
    place = {name: number for number, name in enumerate(order)}
    # Where each line is, not what it says: memory must not grow with what is logged.
    found: dict[tuple[int, int], tuple[StoredRun[Any], int]] = {}
    lines = 0
    for one in (log, *parts):
        for start, line in one.lines_with_starts():
            lines += 1
            batch, name = line.part
            found.setdefault((batch, place[name]), (one, start))
    if not parts and lines == len(found) and list(found) == sorted(found):
        return
    target = log.folder / LINES_FILE

    def write(new: Any) -> None:
        with open_regular(new, "r+b") as stream:
            for key in sorted(found):
                one, start = found[key]
                line = one.line_at(start)
                stream.write(sealed_line(kind.to_json(line if edited is None else edited(line))))

    try:
        replace_file(target, write)
        for part in parts:
            (part.folder / part.lines_file).unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(target, error) from error
