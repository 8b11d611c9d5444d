"""What somebody reads of a certification who has two minutes, and the contents of its page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from art_multimodal.evaluations.audit.rendering import interval, percent, points
from art_multimodal.evaluations.certification.lines import ATTACKED, CERTIFIED, MODEL
from art_multimodal.evaluations.certification.sentences import best_control


def brief(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """The numbers of the first budget that was asked for, and what they are worth; ``None`` without a sample.

    :param report: What ``report.json`` holds.
    """
    results, asked = report["results"], report["budget"]["asked"][0]
    smoothed, row = results[CERTIFIED], results[CERTIFIED]["certified"][asked["name"]]
    if row["accuracy"] is None:
        return None
    name, control = best_control(dict(report), asked["name"])
    more = row["accuracy"] - control["accuracy"]
    worth = more > 0
    return {
        "complete": report["complete"],
        "numbers": [
            _number(smoothed, "of the samples are right without an attack, by votes"),
            _number(row, f"stay right whatever an attacker does to {asked['said']}"),
            _number(control, f"is what a control reaches that does not see what it certifies ({name})"),
        ],
        "worth": (
            f"Worth {points(more)} points over the best control."
            if worth
            else "Worth nothing: a control that does not see a modality certifies as much."
        ),
        "next": _next(report, worth),
    }


def _number(row: Mapping[str, Any], what: str) -> dict[str, Any]:
    return {"value": percent(row["accuracy"]), "what": what, "ci95": interval(row["accuracy_ci95"])}


def _next(report: Mapping[str, Any], worth: bool) -> str:
    results = report["results"]
    whole, smoothed = results[MODEL]["accuracy"], results[CERTIFIED]["accuracy"]
    if not worth or smoothed < whole - 0.1:
        return (
            "Train the model with the masks that certify it (art-multimodal train ablation ... --keep ...): one that "
            "has only seen whole samples votes badly on parts."
        )
    if not any(name.startswith(ATTACKED) for name in results):
        return "Attack the same smoothed model (--attack-steps 10): the truth lies between the two numbers."
    return (
        "Ask for larger budgets (--budget), or audit the model within the same one, and keep both numbers side by side."
    )


def contents(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The parts of the page that there are: id and title."""
    results = report["results"]
    parts = {
        "happened": ("What was found", True),
        "edits": ("Over edits", True),
        "clean": ("Without an attack", True),
        "budgets": ("Within a budget", True),
        "reach": ("How far certificates reach", True),
        "radii": ("Radii of the model itself", "radii" in results[MODEL]),
        "attacks": ("Attacks on the smoothed model", any(name.startswith(ATTACKED) for name in results)),
        "protocol": ("Protocol", True),
        "classes": ("Predictions by class", True),
        "skipped": ("Skipped samples", bool(report["skipped"])),
    }
    return [(name, title) for name, (title, there) in parts.items() if there]
