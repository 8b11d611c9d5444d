"""Reports with verdicts, made by hand."""

from __future__ import annotations

import copy
from typing import Any

PLAN = "ab" * 32


def gate(outcome: str, row: str = "image", kind: str = "floor", radius: str = "", **more: Any) -> dict[str, Any]:
    """A limit and what became of it."""
    found = None if outcome == "NOT RUN" else 0.2
    said = f"Under {row} at least 30.0 % of the samples were to be right. {outcome.capitalize()}."
    return {
        "family": row,
        "row": row,
        "radius": radius,
        "metric": "accuracy",
        "kind": kind,
        "limit": 0.3,
        "outcome": outcome,
        "value": found,
        "ci95": None if found is None else [0.1, 0.28],
        "said": said,
        **more,
    }


def judged(report: dict[str, Any], *gates: dict[str, Any], overall: str = "FAIL") -> dict[str, Any]:
    """A report with verdicts."""
    families = {one["family"]: one["outcome"] for one in gates}
    verdicts = {"plan": PLAN, "overall": overall, "families": families, "gates": list(gates), "without_limit": []}
    return {**copy.deepcopy(report), "verdicts": verdicts}


def every_outcome(report: dict[str, Any]) -> dict[str, Any]:
    """A report with a limit for each outcome."""
    return judged(
        report,
        gate("FAIL"),
        gate("WARN", "clean"),
        gate("PASS", "image", radius="4/255"),
        gate("NOT RUN", "detectors", kind="false_positives"),
    )
