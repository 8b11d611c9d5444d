"""What fits on a phone: the verdict, three numbers, the weakest point, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from art_multimodal.evaluations.audit.findings.weakest import family_of_row
from art_multimodal.evaluations.audit.lines import CLEAN
from art_multimodal.evaluations.audit.rendering import interval, percent
from art_multimodal.evaluations.audit.threats import Quote
from art_multimodal.evaluations.suite import RETRIEVAL
from art_multimodal.evaluations.threat_models import threat_model_of


@dataclass(frozen=True)
class Number:
    """One of the numbers.

    :param value: As it is shown.
    :param what: What it is.
    :param ci95: Its 95 % interval, as it is shown.
    """

    value: str
    what: str
    ci95: str


@dataclass(frozen=True)
class Brief:
    """A report in a few lines.

    :param verdict: Of what was declared; empty where nothing was.
    :param numbers: At most three.
    :param weakest: Where the model is weakest, and who could use it.
    :param next: What to do next.
    """

    verdict: str
    numbers: tuple[Number, ...]
    weakest: str
    next: str


def brief_of(report: Mapping[str, Any], quote: Quote) -> Brief:
    """A report in a few lines, without a word that is not in it.

    :param report: What ``report.json`` holds.
    """
    clean, row = report["results"][CLEAN], report["weakest"]
    right = "find a caption of theirs first" if report["task"] == RETRIEVAL else "right"
    numbers = [_number(clean, "accuracy", f"{right} without an attack")] if clean["n"] else []
    weakest = "Nothing was attacked, so nothing is known of attacks."
    if row is not None and row != CLEAN:
        result = report["results"][row]
        numbers.append(_number(result, "accuracy", f"{right} under {quote(row)}, the weakest point"))
        if result.get("attack_success_rate") is not None:
            numbers.append(_number(result, "attack_success_rate", "of what was right is wrong after the attack"))
        model = threat_model_of(family_of_row(report, row), tuple(report.get("by_modality", ())))
        weakest = f"Weakest point: {quote(row)}. {model.attacker}"
    elif row == CLEAN:
        weakest = "Weakest point: the model without any attack, which is below what was declared."
    # Rather what can be done at once than what is to be thought about.
    steps = sorted(report["next_steps"], key=lambda step: step["command"] is None)
    verdicts = report.get("verdicts")
    return Brief(
        verdicts["overall"] if verdicts else "",
        tuple(numbers),
        weakest,
        quote(steps[0]["do"]) if steps else "",
    )


def _number(result: Mapping[str, Any], key: str, what: str) -> Number:
    return Number(percent(result[key]), what, interval(result[f"{key}_ci95"]))
