"""A word written into the image."""

from __future__ import annotations

import warnings

import numpy as np

from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.evasion.typographic import TypographicAttack
from art_multimodal.evaluations.suite import costs
from art_multimodal.evaluations.suite.detail import Detail
from art_multimodal.evaluations.suite.entry import Attacked, AttackEntry, PreparedAttack, register
from art_multimodal.functional.lettering import LEAST_SIZE


class Writing(PreparedAttack):
    """A word on a label is pasted into each image."""

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        writing = TypographicAttack(
            self.estimator,
            max_share=self.budget.max_share,
            max_queries=self.budget.max_queries,
            batch_size=self.budget.batch_size,
            seed=seed,
            verbose=False,
        )
        with warnings.catch_warnings():
            # Names that are too long for these images or in another script: the others are written.
            warnings.simplefilter("ignore")
            labelled = writing.generate(x)
        labels = np.array([record.label_after for record in writing.records], dtype=np.int64)
        details = [
            Detail(
                written=record.word,
                blocks=() if box is None else ((box.row, box.column, box.height, box.width),),
                queries=record.queries,
            )
            for record in writing.records
            for box in (record.box,)
        ]
        return Attacked(labelled, labels, details)


def _legible(shape: tuple[int, ...], budget: Budget) -> bool:
    """Whether a label has room for two letters that can be told apart."""
    return budget.max_share * shape[1] * shape[2] >= (LEAST_SIZE + 2) * 2 * LEAST_SIZE


register(
    AttackEntry(
        "typographic",
        "typographic",
        "black box",
        "a word on a label is pasted into the image (ours)",
        Writing,
        applies=_legible,
        cost=costs.queries,
    )
)
