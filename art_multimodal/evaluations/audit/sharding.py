"""An audit in several processes: each has batches and a log of its own, which are put together in the end."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from art_multimodal.evaluations.audit.log import LINES_FILE, RunLog, cannot_write
from art_multimodal.evaluations.audit.pictures import picture_name, pictures_of
from art_multimodal.processes import process_count, process_index

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
    found: dict[tuple[int, int], tuple[Path, int]] = {}
    lines = 0
    for one in (log, *parts):
        for start, line in one.lines_with_starts():
            lines += 1
            found.setdefault((line["batch"], place[line["attack"]]), (one.folder / one.lines_file, start))
    if not parts and lines == len(found) and list(found) == sorted(found):
        return
    pictured = dict.fromkeys(modalities, 0)
    target, new = log.folder / LINES_FILE, log.folder / (LINES_FILE + ".tmp")
    dropped: list[Path] = []
    try:
        with new.open("wb") as stream:
            for key in sorted(found):
                path, start = found[key]
                line = _line_at(path, start)
                if line["attack"] in pictured:
                    dropped += _keep_first(line, pictured, modalities, most_pictures, log.pictures)
                stream.write(_written(line))
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(target)
        for path in (*(part.folder / part.lines_file for part in parts), *dropped):
            path.unlink(missing_ok=True)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise cannot_write(target, error) from error


def _line_at(path: Path, start: int) -> dict[str, Any]:
    with path.open("rb") as stream:
        stream.seek(start)
        return json.loads(stream.readline())


def _written(line: dict[str, Any]) -> bytes:
    return (json.dumps(line, ensure_ascii=True, allow_nan=False, separators=(",", ":")) + "\n").encode("ascii")


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
