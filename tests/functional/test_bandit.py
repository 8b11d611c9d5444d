"""The bandit: it finds a planted best arm, follows rewards that drift, and is reproducible."""

from __future__ import annotations

import math

import numpy as np
import pytest

from art_multimodal.functional.bandit import UpperConfidence


def play(rewards, rounds: int, count: int = 1, **settings) -> UpperConfidence:
    """Pull arms whose rewards are given by number of round and arm."""
    bandit = UpperConfidence(len(rewards(0)), **settings)
    for number in range(rounds):
        for arm in bandit.choose(count):
            bandit.reward(arm, rewards(number)[arm])
    return bandit


def test_it_finds_the_planted_best_arm() -> None:
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, size=(600, 6))
    means = np.array([0.3, 0.2, 0.8, 0.3, 0.1, 0.4])
    bandit = play(lambda number: np.clip(means + noise[number], 0, 1), 600, exploration=0.5)
    assert bandit.pulls.argmax() == 2 and bandit.pulls[2] > 0.6 * 600 and (bandit.pulls > 0).all()
    assert bandit.means[2] == pytest.approx(0.8, abs=0.1)


def test_a_mean_is_the_plain_one_at_first_and_then_follows() -> None:
    bandit = UpperConfidence(1, memory=0.75)
    for value in (0.0, 1.0, 0.5):
        bandit.reward(0, value)
    assert bandit.means[0] == pytest.approx(0.5)
    for _ in range(40):
        bandit.reward(0, 0.0)
    assert bandit.means[0] < 1e-4


def test_it_notices_that_the_best_arm_has_changed() -> None:
    bandit = play(lambda number: [0.9, 0.5] if number < 100 else [0.1, 0.5], 300, exploration=0.3)
    later = play(lambda number: [0.9, 0.5] if number < 100 else [0.1, 0.5], 100, exploration=0.3)
    assert later.pulls.argmax() == 0
    assert bandit.pulls[1] - later.pulls[1] > 120


def test_scores_by_hand() -> None:
    bandit = UpperConfidence(3, exploration=1.0)
    assert bandit.choose(2) == [0, 1]
    for arm, value in ((0, 0.5), (1, 0.5), (2, 0.2), (0, 0.5)):
        bandit.reward(arm, value)
    scores = [0.5 + math.sqrt(2 * math.log(4) / 2), 0.5 + math.sqrt(2 * math.log(4)), 0.2 + math.sqrt(2 * math.log(4))]
    assert bandit.choose(3) == sorted(range(3), key=lambda arm: -scores[arm])
    # Without exploration the best mean so far; of equal ones the first.
    bandit.exploration = 0.0
    assert bandit.choose(3) == [0, 1, 2]


def test_what_is_refused() -> None:
    for wrong in ({"arms": 0}, {"arms": 2, "exploration": -1.0}, {"arms": 2, "memory": 1.0}):
        with pytest.raises(ValueError, match="must"):
            UpperConfidence(**wrong)
    with pytest.raises(ValueError, match="reward"):
        UpperConfidence(1).reward(0, 1.5)
