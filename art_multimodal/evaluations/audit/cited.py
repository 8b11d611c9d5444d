"""What standards call the rows of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from art_multimodal.evaluations.audit.lines import CLEAN
from art_multimodal.evaluations.audit.summary import members_of
from art_multimodal.evaluations.standards import WHITE_BOX, ids_of, standards_of
from art_multimodal.evaluations.suite import AttackEntry, entry_of
from art_multimodal.evaluations.suite.selection import CERTIFIED, FLIPPED, SMOOTHED, SMOOTHED_ROWS

#: What is certified holds against whoever knows everything; what is asked without an attack says nothing of one.
_OF_SMOOTHED = {SMOOTHED: [], FLIPPED: [(WHITE_BOX, CERTIFIED)], CERTIFIED: [(WHITE_BOX, CERTIFIED)]}


def entries_of_row(report: Mapping[str, Any], row: str) -> list[AttackEntry]:
    """The attacks of the suite that a row stands for: none for the one before any, and of a smoothed model."""
    if row in (CLEAN, *SMOOTHED_ROWS):
        return []
    return [entry_of(name) for name in ([row] if row in report["attacks"] else members_of(row, report["attacks"]))]


def standards_of_rows(report: Mapping[str, Any]) -> dict[str, dict[str, list[str]]]:
    """The ids of each row, by the names of :data:`art_multimodal.evaluations.standards.STANDARDS`.

    :param report: As much of it as ``task``, ``attacks`` and ``results``.
    """
    task = report["task"]
    return {
        row: ids_of(_OF_SMOOTHED[row], task) if row in _OF_SMOOTHED else standards_of(entries_of_row(report, row), task)
        for row in report["results"]
    }
