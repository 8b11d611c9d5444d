"""What is said of the rows of a smoothed model."""

from __future__ import annotations

from typing import Any

from art_multimodal.evaluations.audit.lines import CLEAN
from art_multimodal.evaluations.audit.rendering import interval, percent
from art_multimodal.evaluations.audit.threats.threat import Quote, Threat
from art_multimodal.evaluations.suite.selection import CERTIFIED, FLIPPED, SMOOTHED


class Certified(Threat):
    """Edits of elements, within a budget in which the smoothed model is certified."""

    name = CERTIFIED
    colour = "#1d7a3e"

    def sentence(self, report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
        smoothed, flipped = report["results"][SMOOTHED], report["results"][FLIPPED]
        said = (
            f"Smoothed, so that it votes about parts of each sample, the model has {percent(smoothed['accuracy'])} "
            f"right. Whatever an attacker does to {quote(report['smoothing']['budget']['said'])}, at least "
            f"{percent(row['accuracy'])} stay right (95 % interval {interval(row['accuracy_ci95'])}); an attack on the "
            f"votes within the same budget leaves {percent(flipped['accuracy'])}, and the truth lies between."
        )
        if whole := report["smoothing"]["seen_whole"]:
            said += f" {', '.join(map(quote, whole))}: always seen whole, so no change of it is covered."
        if flipped["broken_certificates"]:
            said += (
                f" The attack changed {flipped['broken_certificates']} answers that are certified; votes are drawn at "
                "random, so a few may be."
            )
        counts = report["results"][CLEAN].get("label_counts") or [0]
        constant = max(counts) / max(1, sum(counts))
        return (
            f"{said} One and the same answer to every sample would be right for {percent(constant)} under any attack."
        )
