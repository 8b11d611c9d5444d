"""The numbers of an audit's smoothed model: clean, under the attack on its votes, and what is certified."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from art_multimodal.evaluations.audit.columns import Column
from art_multimodal.evaluations.audit.rows import Row, accuracy_of, count, share_right, wrong_in
from art_multimodal.evaluations.suite.selection import CERTIFIED, FLIPPED, SMOOTHED
from art_multimodal.functional.statistics import proportion_ci95


def smoothed_results(rows: Mapping[str, Row]) -> dict[str, dict[str, Any]]:
    """Results of the rows of the smoothed model, by name; all are over the samples that it was asked about.

    :param rows: What the lines of its passes add up to.
    """
    smoothed, flipped = rows[SMOOTHED], rows[FLIPPED]
    left = count(flipped.correct.dense)
    # While a run is unfinished, right samples that were not attacked yet are left out rather than counted either way.
    attacked = len(flipped.correct)
    asked, fooled = len(smoothed.correct), attacked - left
    return {
        SMOOTHED: {
            "modality": CERTIFIED,
            **share_right(smoothed.correct),
            "abstained": len(smoothed.silent) / asked if asked else None,
            "queries": smoothed.queries / asked if asked else None,
            "seconds": smoothed.seconds,
        },
        FLIPPED: {
            "modality": CERTIFIED,
            "knowledge": "white box",
            **accuracy_of(left, wrong_in(smoothed.correct) + attacked),
            "attacked": attacked,
            "attack_success_rate": fooled / attacked if attacked else None,
            "attack_success_rate_ci95": proportion_ci95(fooled, attacked),
            "queries": flipped.queries / attacked if attacked else None,
            "gradients": flipped.gradients / attacked if attacked else None,
            # Where votes are drawn at random a few may be; otherwise the run would have stopped.
            "broken_certificates": count(smoothed.certified.there & flipped.correct.there & ~flipped.correct.dense),
            "seconds": flipped.seconds,
        },
        # From the votes of the first row, so it costs nothing of its own.
        CERTIFIED: {
            "modality": CERTIFIED,
            **accuracy_of(count(smoothed.correct.dense & smoothed.certified.there), asked),
        },
    }


def is_done(rows: Mapping[str, Row], clean: Column[bool]) -> bool:
    """Whether the smoothed model was asked about all samples, and attacked on all that it has right.

    :param clean: Of each sample whether the model is right about it.
    """
    before, after = rows[SMOOTHED].correct, rows[FLIPPED].correct
    return bool((before.there == clean.there).all() and (after.there == before.dense).all())
