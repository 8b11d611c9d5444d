"""A bandit: which of several arms to pull next, by upper confidence bounds."""

from __future__ import annotations

import math

import numpy as np


class UpperConfidence:
    """Several arms of a bandit whose rewards in [0, 1] drift; the most promising are pulled.

    An arm's score is its mean reward plus ``exploration * sqrt(2 log(t) / n)`` (UCB1), where ``t`` counts all pulls and
    ``n`` its own. Since rewards drift, a mean follows the last ones: a new reward counts ``1 / n``, and ``1 - memory``
    at least. No random numbers: equal rewards give equal choices, of equal scores the first arm.

    | Paper link: https://doi.org/10.1023/A:1013689704352 (UCB1)
    | Paper link: https://arxiv.org/abs/2505.05528 (X-Transfer: the arms are surrogates of an attack)

    >>> bandit = UpperConfidence(arms=3, exploration=0.0)
    >>> for arm, reward in enumerate((0.2, 0.9, 0.4)):
    ...     bandit.reward(arm, reward)
    ...
    >>> bandit.choose(2)
    [1, 2]

    :param arms: How many there are.
    :param exploration: Weight of the bound; 0 pulls the best arm so far.
    :param memory: In [0, 1): 0 knows the last reward alone.
    """

    def __init__(self, arms: int, exploration: float = 1.0, memory: float = 0.9) -> None:
        if arms < 1:
            raise ValueError(f"arms must be at least 1, not {arms}.")
        if not (math.isfinite(exploration) and exploration >= 0):
            raise ValueError(f"exploration must be a finite number of at least 0, not {exploration!r}.")
        if not 0 <= memory < 1:
            raise ValueError(f"memory must lie in [0, 1), not {memory!r}.")
        self.exploration, self.memory = exploration, memory
        #: How often each was pulled, and its mean reward.
        self.pulls = np.zeros(arms, dtype=np.int64)
        self.means = np.zeros(arms)

    def choose(self, count: int) -> list[int]:
        """The arms to pull next, the most promising first: those that were never pulled, then by their scores."""
        total = max(2, int(self.pulls.sum()))
        tried = np.maximum(self.pulls, 1)
        scores = self.means + self.exploration * np.sqrt(2 * math.log(total) / tried)
        scores[self.pulls == 0] = np.inf
        return np.argsort(-scores, kind="stable")[:count].tolist()

    def reward(self, arm: int, value: float) -> None:
        """Tell what a pull has brought.

        :raises ValueError: For a reward outside of [0, 1].
        """
        if not 0 <= value <= 1:
            raise ValueError(f"A reward lies in [0, 1], not {value!r}.")
        self.pulls[arm] += 1
        weight = max(1 / self.pulls[arm], 1 - self.memory)
        self.means[arm] += weight * (value - self.means[arm])
