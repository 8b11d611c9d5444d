"""A word written into the image."""

from __future__ import annotations

import warnings

import numpy as np

from art_multimodal.attacks.evasion.typographic import TypographicAttack
from art_multimodal.attacks.registry.entry import ATTACKS, Attacked, AttackEntry, Budget, Estimator, Run
from art_multimodal.functional.lettering import LEAST_SIZE


def _typographic(estimator: Estimator, budget: Budget) -> Run:
    def run(x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        attack = TypographicAttack(
            estimator,
            max_share=budget.max_share,
            max_queries=budget.max_queries,
            batch_size=budget.batch_size,
            seed=seed,
            verbose=False,
        )
        with warnings.catch_warnings():
            # Names that are too long for these images or in another script: the others are written.
            warnings.simplefilter("ignore")
            labelled = attack.generate(x)
        labels = np.array([record.label_after for record in attack.records], dtype=np.int64)
        details = [
            {
                "written": record.word,
                "blocks": [] if box is None else [[box.row, box.column, box.height, box.width]],
                "queries": record.queries,
            }
            for record in attack.records
            for box in (record.box,)
        ]
        return Attacked(labelled, labels, details)

    return run


def _legible(shape: tuple[int, ...], budget: Budget) -> bool:
    """Whether a label has room for two letters that can be told apart."""
    return budget.max_share * shape[1] * shape[2] >= (LEAST_SIZE + 2) * 2 * LEAST_SIZE


ATTACKS.add(
    "typographic",
    AttackEntry(
        "typographic",
        "black box",
        "a word on a label is pasted into the image (ours)",
        _typographic,
        applies=_legible,
    ),
)
