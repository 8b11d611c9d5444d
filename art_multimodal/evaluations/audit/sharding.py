"""An audit in several processes: each has batches and a log of its own, which are put together in the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from art_multimodal.evaluations.audit.log import LINES_FILE, RunLog
from art_multimodal.evaluations.audit.pictures import picture_name, pictures_of
from art_multimodal.processes import process_count, process_index
from art_multimodal.store import cannot_write, open_regular, replace_file, sealed_line

_OF_PROCESS = "log.{}.jsonl"


def own_log(log: RunLog) -> RunLog:
    """The log that this process appends to: the run's own, or with several processes one beside it."""
    if process_count() == 1:
        return log
    return RunLog(log.folder, log.header, _OF_PROCESS.format(process_index()))


def merge(log: RunLog, order: Sequence[str], modalities: dict[str, str], most_pictures: int) -> None:
    """Put the logs of processes, those of earlier runs too, into the run's own: as one process would have written it.

    The new log takes the place of the old one when it is whole, so a kill loses nothing. Does nothing where there is
    nothing to put in and all is in order.

    :param order: Names of what is run on every batch, in this order.
    :param modalities: Of each attack that keeps pictures.
    :param most_pictures: So many are kept of each attack, the first ones.
    :raises InputError: If a log is damaged, or cannot be written.
    """
    parts = [RunLog(log.folder, log.header, path.name) for path in sorted(log.folder.glob(_OF_PROCESS.format("*")))]
    for part in parts:
        part.drop_cut_line()
    place = {name: number for number, name in enumerate(order)}
    # Where each line is, not what it says: memory must not grow with what is logged.
    found: dict[tuple[int, int], tuple[RunLog, int]] = {}
    lines = 0
    for one in (log, *parts):
        for start, line in one.lines_with_starts():
            lines += 1
            found.setdefault((line["batch"], place[line["attack"]]), (one, start))
    if not parts and lines == len(found) and list(found) == sorted(found):
        return
    pictured = dict.fromkeys(modalities, 0)
    target = log.folder / LINES_FILE
    dropped: list[Path] = []

    def write(new: Path) -> None:
        with open_regular(new, "r+b") as stream:
            for key in sorted(found):
                one, start = found[key]
                line = one.line_at(start)
                if line["attack"] in pictured:
                    dropped.extend(_keep_first(line, pictured, modalities, most_pictures, log.pictures))
                stream.write(sealed_line(line))

    try:
        replace_file(target, write)
        for path in (*(part.folder / part.lines_file for part in parts), *dropped):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(target, error) from error


def _keep_first(
    line: dict[str, Any], pictured: dict[str, int], modalities: dict[str, str], most: int, folder: Path
) -> list[Path]:
    """Take pictures beyond the first ones out of a line, and return their files."""
    name, dropped = line["attack"], []
    for sample in line["samples"]:
        if not sample.get("picture"):
            continue
        if pictured[name] < most:
            pictured[name] += 1
            continue
        for key in ("picture", "size", "text"):
            del sample[key]
        dropped += [folder / picture_name(name, sample["index"], what) for what in pictures_of(modalities[name])]
    return dropped
