"""What is said of attackers who do not see the model: with models of their own, or with its labels alone."""

from __future__ import annotations

from typing import Any

from art_multimodal.evaluations.audit.threats.threat import Circumstances, Quote, Threat, consequence
from art_multimodal.evaluations.suite.transfer import steps_on_surrogates


class OnSurrogates(Threat):
    """Images made on other models."""

    name = "transfer"
    colour = "#4f6fb0"

    def sentence(self, report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
        return f"Under images that were made on other models, {consequence(report, row)}."

    def protocol(self, of: Circumstances) -> dict[str, str]:
        options = {"ensemble": "logits", "decay": 1.0, "diversity": 0.5, **of.budget.transfer}
        views = [f"{options['crops']} local crops"] if options.get("crops") else []
        if scales := options.get("scales"):
            views.append(f"the whole at scales {', '.join(f'{scale:g}' for scale in scales)}")
        return {
            "transfer": (
                f"{steps_on_surrogates(of.budget)} steps along gradients of each surrogate by itself, and of the mean "
                f"{options['ensemble']} of all where there are several, with momentum (decay {options['decay']:g}) and "
                f"input diversity (chance {options['diversity']:g}, sides of at least 0.9)"
                f"{', looking at ' + ' and '.join(views) if views else ''}; the model is asked once about what comes "
                "out; queries of surrogates are not counted"
            )
        }


class OnLabels(Threat):
    """Labels alone."""

    name = "decision"
    colour = "#75589e"

    def sentence(self, report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
        return f"Under attackers who see its labels alone, {consequence(report, row)}."

    def protocol(self, of: Circumstances) -> dict[str, str]:
        return {
            "decision": (
                f"each search sees labels alone, and is stopped at {of.budget.max_queries} queries for each sample, "
                "all included, or as soon as what it found is within the radius; otherwise the nearest image that "
                "misleads the model is brought into the ball and asked about last"
            )
        }
