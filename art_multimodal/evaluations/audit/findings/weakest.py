"""Which row of a report is the weakest point of a model, and what family of attacks it is of. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from art_multimodal.evaluations.audit.lines import CLEAN
from art_multimodal.evaluations.suite.selection import SINGLE_SOURCE, SMOOTHED_ROWS

#: Rows of ensembles, by the family whose attacks they hold.
_ENSEMBLES = {"worst_image": "image", "worst_text": "text", "worst_multimodal": "multimodal", "worst": "multimodal"}
#: Families that hold others: whoever can mount these can mount those.
UNIONS = ("multimodal", SINGLE_SOURCE)
#: Families that are no attack by themselves, or no bound: they count where nothing else does.
_LAST = ("decoupling", "modality_missing", "modality_removed", "time_shift")
#: Nobody attacks.
_NEVER = ("noise",)
FAIL = "FAIL"


def family_of_row(report: Mapping[str, Any], row: str) -> str:
    """What a row attacks: ``"image"`` also of ``worst_image``, and ``single_source`` of any modality of several."""
    if row in _ENSEMBLES:
        return _ENSEMBLES[row]
    modalities = report.get("by_modality", {})
    of = report["results"].get(row, {}).get("modality", row)
    at = row.partition("@")[2]
    return SINGLE_SOURCE if of in modalities or (at in modalities and of == "worst") else of


def weakest_row(report: Mapping[str, Any]) -> str | None:
    """The row that stands for the weakest point; ``None`` where nothing was attacked.

    Where limits failed, the lowest of the rows that failed. Else the lowest accuracy under attack; a row that stands
    for several families only where it is below the 95 % interval of the lowest of them; removals, outages and delays
    where nothing else was run. Of equals the first in the report counts.

    >>> weakest_row(report)
    'image'

    :param report: What ``report.json`` holds.
    """
    results, gates = report["results"], report.get("verdicts", {}).get("gates", ())
    failed = {gate["row"] for gate in gates if gate["outcome"] == FAIL and gate["row"] in results}
    if failed:
        return min((row for row in results if row in failed), key=lambda row: _accuracy(results[row]))
    rows = [row for row in results if _stands_for_a_family(report, row)]
    attacks = [row for row in rows if family_of_row(report, row) not in _LAST]
    rows = attacks or rows
    single = [row for row in rows if family_of_row(report, row) not in UNIONS]
    lowest = min(single or rows, key=lambda row: _accuracy(results[row]), default=None)
    if lowest is None or not single:
        return lowest
    ends = results[lowest]["accuracy_ci95"]
    below = [row for row in rows if row not in single and ends and _accuracy(results[row]) < ends[0]]
    return min(below, key=lambda row: _accuracy(results[row]), default=lowest)


def _stands_for_a_family(report: Mapping[str, Any], row: str) -> bool:
    result = report["results"][row]
    if row == CLEAN or row in SMOOTHED_ROWS or result["accuracy"] is None or not result.get("attacked"):
        return False
    family = family_of_row(report, row)
    return family not in _NEVER and (row in _ENSEMBLES or row.startswith("worst@") or result["modality"] == row)


def _accuracy(result: Mapping[str, Any]) -> float:
    return 2.0 if result["accuracy"] is None else float(result["accuracy"])
