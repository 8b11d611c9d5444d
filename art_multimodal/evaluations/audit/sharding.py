"""An audit in several processes: each has batches and a log of its own, which are put together in the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from art_multimodal.evaluations.audit.lines import AttackLine
from art_multimodal.evaluations.audit.log import LINES_FILE, RunLog
from art_multimodal.evaluations.audit.schema import line_to_json
from art_multimodal.evaluations.audit.shown_samples import files_of
from art_multimodal.processes import process_count, process_index
from art_multimodal.store import cannot_write, open_regular, replace_file, sealed_line

_OF_PROCESS = "log.{}.jsonl"


def own_log(log: RunLog) -> RunLog:
    """The log that this process appends to: the run's own, or with several processes one beside it."""
    if process_count() == 1:
        return log
    return RunLog(log.folder, log.header, _OF_PROCESS.format(process_index()))


def merge(log: RunLog, order: Sequence[str], pictured: Sequence[str], most_pictures: int) -> None:
    """Put the logs of processes, those of earlier runs too, into the run's own: as one process would have written it.

    The new log takes the place of the old one when it is whole, so a kill loses nothing. Does nothing where there is
    nothing to put in and all is in order.

    :param order: Names of what is run on every batch, in this order.
    :param pictured: Names of the attacks that keep pictures.
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
            found.setdefault((line.batch, place[line.attack]), (one, start))
    if not parts and lines == len(found) and list(found) == sorted(found):
        return
    taken = dict.fromkeys(pictured, 0)
    target = log.folder / LINES_FILE
    dropped: list[Path] = []

    def write(new: Path) -> None:
        with open_regular(new, "r+b") as stream:
            for key in sorted(found):
                one, start = found[key]
                line = one.line_at(start)
                if isinstance(line, AttackLine) and line.attack in taken:
                    line, files = _keep_first(line, taken, most_pictures)
                    dropped.extend(log.pictures / name for name in files)
                stream.write(sealed_line(line_to_json(line)))

    try:
        replace_file(target, write)
        for path in (*(part.folder / part.lines_file for part in parts), *dropped):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(target, error) from error


def _keep_first(line: AttackLine, taken: dict[str, int], most: int) -> tuple[AttackLine, list[str]]:
    """Take pictures beyond the first ones out of a line; with the names of their files.

    :param taken: How many there are already, by attack; counted on.
    """
    samples, dropped = [], []
    for sample in line.samples:
        if sample.pictured is not None and taken[line.attack] >= most:
            dropped += files_of(line.attack, sample)
            sample = replace(sample, pictured=None)
        taken[line.attack] += sample.pictured is not None
        samples.append(sample)
    return replace(line, samples=tuple(samples)), dropped
