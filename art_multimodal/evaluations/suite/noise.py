"""Noise within the radius: what no attack with gradients may be worse than."""

from __future__ import annotations

from typing import Any

import numpy as np

from art_multimodal.attacks.budget import Budget
from art_multimodal.evaluations.suite import costs
from art_multimodal.evaluations.suite.entry import (
    EACH,
    LABELS,
    PAIRS,
    RETRIEVAL,
    SAMPLES,
    ZERO_SHOT,
    Attacked,
    AttackEntry,
    PreparedAttack,
    register,
)
from art_multimodal.evaluations.suite.gallery import also_on_gallery
from art_multimodal.evaluations.suite.image import inside_budget
from art_multimodal.evaluations.suite.samples import WithinBall
from art_multimodal.evaluations.suite.selection import NOISE
from art_multimodal.pairs import is_pairs

#: Draws for each sample, of which the worst counts; every other one goes as far as it may everywhere.
DRAWS = 10


def noise(generator: np.random.Generator, shape: tuple[int, ...], budget: Budget, draw: int) -> np.ndarray:
    """Noise ``(N, ...)`` within the radius.

    In l_inf uniform in the ball for even draws, and at a corner of it for odd ones; in l_2 in a random direction, as
    long as it may be.

    :param draw: Its number.
    """
    if budget.art_norm == np.inf:
        drawn = generator.uniform(-1, 1, size=shape)
        return (budget.eps * (np.sign(drawn) if draw % 2 else drawn)).astype(np.float32)
    drawn = generator.standard_normal(shape)
    length = np.sqrt((drawn**2).sum(axis=tuple(range(1, drawn.ndim)), keepdims=True))
    return (budget.eps * drawn / np.maximum(length, np.finfo(np.float64).tiny)).astype(np.float32)


class _Worst:
    """Keeps, of several draws, the first that misleads the model on each sample."""

    def __init__(self, estimator: Any, x: np.ndarray, y: np.ndarray, size: int) -> None:
        self.estimator, self.y, self.size = estimator, y, size
        self.x, self.labels, self.left = x.copy(), np.array(y, dtype=np.int64), np.arange(len(x))

    def take(self, drawn: np.ndarray) -> None:
        """What the samples that are left look like in one draw."""
        said = self.estimator.predict_labels(drawn, batch_size=self.size)
        self.x[self.left], self.labels[self.left] = drawn, said
        self.left = self.left[said == self.y[self.left]]


class NoiseOnImages(PreparedAttack):
    """Noise on images, of samples that are images or pairs."""

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        worst, generator = _Worst(self.estimator, x, y, self.budget.batch_size), np.random.default_rng(seed)
        for draw in range(DRAWS):
            if not len(worst.left):
                break
            before = x[worst.left]
            drawn = before.copy()
            images = drawn["image"] if is_pairs(drawn) else drawn
            # For all samples, so that what one meets does not depend on which others have fallen.
            images += noise(generator, (len(x), *images.shape[1:]), self.budget, draw)[worst.left]
            worst.take(inside_budget(drawn, before, self.budget))
        return Attacked(worst.x, worst.labels)


class NoiseOnModality(WithinBall):
    """Noise on one modality of numbers; the others stay as they are."""

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        worst, generator = _Worst(self.estimator, x, y, self.budget.batch_size), np.random.default_rng(seed)
        kind = self.estimator.modalities[self.modality]
        for draw in range(DRAWS):
            if not len(worst.left):
                break
            before = x[worst.left]
            values = np.ascontiguousarray(kind.values(before[self.modality]))
            moved = before.copy()
            drawn = noise(generator, (len(x), *values.shape[1:]), self.within, draw)[worst.left]
            moved[self.modality] = kind.with_values(before[self.modality], values + drawn)
            worst.take(self.inside(moved, before))
        return Attacked(worst.x, worst.labels)


register(
    AttackEntry(
        NOISE,
        NOISE,
        "black box",
        f"noise within the radius, of {DRAWS} draws the worst: what no attack with gradients may be worse than (ours)",
        also_on_gallery(NoiseOnImages),
        tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
        needs=LABELS,
        within_radius=True,
        cost=costs.fixed(DRAWS + 1),
        calls=costs.asks(0, 0, {ZERO_SHOT: DRAWS, PAIRS: DRAWS, RETRIEVAL: DRAWS + 1}),
    )
)
register(
    AttackEntry(
        f"{NOISE}{EACH}",
        NOISE,
        "black box",
        f"noise within the radius on one modality, of {DRAWS} draws the worst (ours)",
        NoiseOnModality,
        tasks=(SAMPLES,),
        within_radius=True,
        cost=costs.fixed(DRAWS),
    )
)
