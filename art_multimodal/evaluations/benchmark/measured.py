"""A finished cell as tables count it: of each column which samples are right, within each radius."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from art_multimodal.evaluations.audit.curve import radii_of
from art_multimodal.evaluations.audit.lines import CLEAN, CleanLine
from art_multimodal.evaluations.audit.log import RunLog
from art_multimodal.evaluations.audit.outcomes import Outcomes, rows_of
from art_multimodal.evaluations.audit.passes import Pass, attacked_alone, passes_in
from art_multimodal.evaluations.audit.rows import outcomes_of
from art_multimodal.evaluations.benchmark.config import Cell
from art_multimodal.store import HEADER_FILE

#: Columns that every table has, in this order, besides :data:`CLEAN`, and after them those of other families.
IMAGE, TEXT, MULTIMODAL, WORST = "image", "text", "multimodal", "worst"
COLUMNS = (CLEAN, IMAGE, TEXT, MULTIMODAL, WORST)


@dataclass(frozen=True)
class Measured:
    """What a cell has found.

    :param cell: The cell.
    :param header: Of its audit.
    :param names: Of each sample, by its place in the data.
    :param radii: Names of the radii, ascending; the last one is the largest.
    :param shares: Of each radius, how large it is, the largest being 1.
    :param columns: By radius and column, of each sample that counts whether it is right.
    """

    cell: Cell
    header: dict[str, Any]
    names: dict[int, str]
    radii: tuple[str, ...]
    shares: tuple[float, ...]
    columns: Mapping[str, Mapping[str, Outcomes]]


def measure(cell: Cell, folder: Path) -> Measured:
    """Read a finished cell.

    :param folder: Of its audit.
    :raises InputError: If the log is damaged.
    """
    log = RunLog(folder, RunLog.read_header(folder / HEADER_FILE))
    lines = list(log.lines())
    names = {one.index: one.name for line in lines if isinstance(line, CleanLine) for one in line.samples}
    rows, clean = rows_of(log.header, lines)
    passes = passes_in(log.header)
    radii = radii_of(log.header)
    columns: dict[str, dict[str, Outcomes]] = {}
    for radius in radii:
        found: dict[str, Outcomes] = {CLEAN: clean}
        for column, members in members_of_columns(log.header).items():
            within = [Pass.of(name).within(passes, radius.key).name for name in members]
            found[column] = outcomes_of(list(dict.fromkeys(within)), rows, clean)
        columns[radius.name] = found
    shares = tuple(radius.share_of(radii[-1], "") for radius in radii)
    return Measured(cell, log.header, names, tuple(radius.name for radius in radii), shares, columns)


def members_of_columns(header: Mapping[str, Any]) -> dict[str, list[str]]:
    """The passes within the largest radius that each column stands for; columns without any are left out.

    ``image`` and ``text`` hold the attacks on that modality alone, ``multimodal`` those that change several at once,
    each with their ensembles; ``worst`` all of these, since whoever may change several may change one: it is what the
    row ``multimodal`` of a report is. What keeps to no budget of changes, or is no attack (removals, pasted words,
    noise, missing modalities), has a column of its own, and does not count there.

    :param header: Of the audit.
    """
    by_column: dict[str, list[str]] = {}
    changing: list[str] = []
    for name in passes_in(header):
        one = Pass.of(name)
        if one.eps:
            continue
        column = _column_of(one)
        by_column.setdefault(column, []).append(name)
        if column in (IMAGE, TEXT, MULTIMODAL) or attacked_alone(one.attack) or column != one.entry.modality:
            changing.append(name)
    return by_column | ({WORST: changing} if changing else {})


def _column_of(one: Pass) -> str:
    """The column of a pass: what it changes."""
    attack, at, modality = one.attack.partition("@")
    if attack == WORST and at:
        return modality
    if attack.startswith("worst_"):
        return attack.removeprefix("worst_")
    return one.entry.modality


def in_order(columns: Sequence[Mapping[str, Any]]) -> list[str]:
    """All columns of several cells: the usual ones first, then single modalities and other families as they come."""
    there = list(dict.fromkeys(column for one in columns for column in one))
    usual = [column for column in COLUMNS if column in there]
    return usual + [column for column in there if column not in usual]
