"""An audit in several processes: what becomes of pictures when their logs are put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from art_multimodal import store
from art_multimodal.evaluations.audit.lines import AttackLine, Line
from art_multimodal.evaluations.audit.log import RunLog
from art_multimodal.evaluations.audit.shown_samples import files_of
from art_multimodal.store import cannot_write


def merge(log: RunLog, order: Sequence[str], pictured: Sequence[str], most_pictures: int) -> None:
    """Put the logs of processes into the run's own, as :func:`art_multimodal.store.merge` does.

    :param order: Names of what is run on every batch, in this order.
    :param pictured: Names of the attacks that keep pictures.
    :param most_pictures: So many are kept of each attack, the first ones.
    :raises InputError: If a log is damaged, or cannot be written.
    """
    taken = dict.fromkeys(pictured, 0)
    dropped: list[str] = []

    def edited(line: Line) -> Line:
        if not (isinstance(line, AttackLine) and line.attack in taken):
            return line
        line, files = _keep_first(line, taken, most_pictures)
        dropped.extend(files)
        return line

    store.merge(log, order, edited)
    try:
        for name in dropped:
            (log.pictures / name).unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(log.pictures, error) from error


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
