"""What a report says of what may be changed: an image, a text, points that are removed. Said once, here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from art_multimodal.attacks.budget import Budget
from art_multimodal.evaluations.audit.rendering import percent
from art_multimodal.evaluations.suite import PAIRS, RETRIEVAL

#: Makes a string from data harmless in the format at hand.
Quote = Callable[[str], str]


@dataclass(frozen=True)
class Circumstances:
    """What the words about an attack depend on.

    :param task: What the model is asked to do.
    :param budget: What each attack may spend.
    """

    task: str
    budget: Budget


class Threat:
    """A row of a report that stands for all attacks on something, and what is said of it."""

    #: The row, which is what the attacks change.
    name: str = ""
    #: Of its bars in the plot.
    colour: str = "#2f8f83"

    def __init__(self, name: str = "") -> None:
        self.name = name or self.name

    def sentence(self, report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
        """What happened, in words that need no knowledge of attacks.

        :param report: What ``report.json`` holds.
        :param row: The result of this threat.
        """
        return f"Under attacks on {quote(self.name)} {consequence(report, row)}."

    def protocol(self, of: Circumstances) -> dict[str, str]:
        """What was done, by keys of the protocol."""
        return {}


def consequence(report: dict[str, Any], row: dict[str, Any]) -> str:
    """What an attack leaves."""
    if report["task"] == RETRIEVAL:
        return (
            f"{percent(row['accuracy'])} of the images still find a caption of theirs first: the attacks mislead the "
            f"model on {percent(row['attack_success_rate'])} of those that did before"
        )
    samples = "samples" if report["task"] == PAIRS else "images"
    return (
        f"{percent(row['accuracy'])} remain correct: the attacks mislead the model on "
        f"{percent(row['attack_success_rate'])} of the {samples} that it had right"
    )
