"""The numbers of an audit's smoothed model: clean, under the attack on its votes, and what is certified."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from art_multimodal.evaluations.audit.rows import Row
from art_multimodal.evaluations.suite.selection import CERTIFIED, FLIPPED, SMOOTHED
from art_multimodal.functional.statistics import proportion_ci95


def smoothed_results(rows: Mapping[str, Row]) -> dict[str, dict[str, Any]]:
    """Results of the rows of the smoothed model, by name; all are over the samples that it was asked about.

    :param rows: What the lines of its passes add up to.
    """
    smoothed, flipped = rows[SMOOTHED], rows[FLIPPED]
    right = {index for index, correct in smoothed.correct.items() if correct}
    left = {index for index, correct in flipped.correct.items() if correct}
    # While a run is unfinished, right samples that were not attacked yet are left out rather than counted either way.
    attacked = len(flipped.correct)
    asked, among = len(smoothed.correct), len(smoothed.correct) - len(right) + attacked
    fooled = attacked - len(left)
    return {
        SMOOTHED: {
            "modality": CERTIFIED,
            **_share(len(right), asked),
            "abstained": len(smoothed.silent) / asked if asked else None,
            "queries": smoothed.queries / asked if asked else None,
            "seconds": smoothed.seconds,
        },
        FLIPPED: {
            "modality": CERTIFIED,
            "knowledge": "white box",
            **_share(len(left), among),
            "attacked": attacked,
            "attack_success_rate": fooled / attacked if attacked else None,
            "attack_success_rate_ci95": proportion_ci95(fooled, attacked),
            "queries": flipped.queries / attacked if attacked else None,
            "gradients": flipped.gradients / attacked if attacked else None,
            # Where votes are drawn at random a few may be; otherwise the run would have stopped.
            "broken_certificates": len(smoothed.certified & (set(flipped.correct) - left)),
            "seconds": flipped.seconds,
        },
        # From the votes of the first row, so it costs nothing of its own.
        CERTIFIED: {"modality": CERTIFIED, **_share(len(right & smoothed.certified), asked)},
    }


def is_done(rows: Mapping[str, Row], clean: Mapping[int, bool]) -> bool:
    """Whether the smoothed model was asked about all samples, and attacked on all that it has right.

    :param clean: Of each sample whether the model is right about it.
    """
    right = {index for index, correct in rows[SMOOTHED].correct.items() if correct}
    return rows[SMOOTHED].correct.keys() == clean.keys() and rows[FLIPPED].correct.keys() == right


def _share(right: int, n: int) -> dict[str, Any]:
    return {"n": n, "accuracy": right / n if n else None, "accuracy_ci95": proportion_ci95(right, n)}
