"""What is said of points that are removed."""

from __future__ import annotations

from typing import Any

from art_multimodal.attacks.evasion.decoupling.search import MOST_BLOCKS, MOST_COMBINATIONS
from art_multimodal.evaluations.audit.rendering import percent
from art_multimodal.evaluations.audit.threats.threat import Circumstances, Quote, Threat
from art_multimodal.evaluations.suite import PAIRS, RETRIEVAL


class Removal(Threat):
    """Pixels and words are removed."""

    name = "decoupling"
    colour = "#8a5bb8"

    def sentence(self, report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
        if row["share_removed_mean"] is None:
            return "Removing parts of the input never changed the answer."
        if report["task"] == RETRIEVAL:
            return (
                f"Removing pixels puts another caption first for {percent(row['attack_success_rate'])} of the images "
                f"that found theirs, by taking away {percent(row['share_removed_mean'], 2)} of the image on average."
            )
        pairs = report["task"] == PAIRS
        return (
            f"Removing pixels or words of the {'text' if pairs else 'prompt'} changes the answer for "
            f"{percent(row['attack_success_rate'])} of the {'samples' if pairs else 'images'} that it had right, by "
            f"taking away {percent(row['share_removed_mean'], 2)} of the input on average and "
            f"{percent(row['share_removed_min'], 2)} at best."
        )

    def protocol(self, of: Circumstances) -> dict[str, str]:
        return {
            "decoupling_guided": "ours, within the limit of queries, a gradient counted as two",
            "decoupling_image": "the same on the image alone: words are nearly free and hide it otherwise",
            "decoupling_exhaustive": (
                f"the published search, label decision, at most {MOST_BLOCKS:,} blocks, each word, and "
                f"{MOST_COMBINATIONS} combinations, whatever the limit of queries: the report says how many it asked"
            ),
            "removal": "removed pixels take the model's mean colour; a removed word is deleted",
            "modality_importance": (
                "accuracy with every pixel removed, and with "
                + ("every word removed" if of.task == PAIRS else "every word but the class names removed")
            ),
        }
