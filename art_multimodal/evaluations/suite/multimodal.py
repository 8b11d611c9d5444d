"""Attacks on images and texts together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from art.attacks.attack import EvasionAttack

from art_multimodal.attacks.art_context import global_seed
from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.evasion.for_each_sample import ImageAttackOnPairs
from art_multimodal.attacks.evasion.multimodal import CoAttack, IndependentAttack
from art_multimodal.attacks.evasion.multimodal.set_level_guidance import SetLevelGuidanceAttack
from art_multimodal.evaluations.suite import costs
from art_multimodal.evaluations.suite.entry import (
    PAIRS,
    RETRIEVAL,
    ZERO_SHOT,
    Attacked,
    AttackEntry,
    PreparedAttack,
    register,
)
from art_multimodal.evaluations.suite.exhaustive import Points, budget_alone, every, every_text_attack, word_curve
from art_multimodal.evaluations.suite.image import art_pgd, away_from_captions, ball, bounded, inside_budget, pgd
from art_multimodal.evaluations.suite.text import bert_attack, labels_for, on_prompts, on_texts

#: Makes an attack on images and texts, within a budget, with a seed.
Build = Callable[[Any, Budget, int], Any]


class OnBoth(PreparedAttack):
    """An attack on both modalities, scored with the images inside the ball.

    :param build: Makes the attack.
    """

    def __init__(self, estimator: Any, budget: Budget, build: Build) -> None:
        super().__init__(estimator, budget)
        self.build = build
        # Bad settings are found before any work.
        build(estimator, budget, 0)

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        estimator, budget = self.estimator, self.budget
        both = self.build(estimator, budget, seed)
        # ART's attacks draw from the global generators.
        with global_seed(seed):
            adversarial = inside_budget(both.generate(x, labels_for(estimator, y)), x, budget)
            if estimator.texts_are_prompts:
                return on_prompts(estimator, both.records, adversarial, y, both.prompts, budget)
            return on_texts(estimator, both, x, adversarial, budget)


def _independent(estimator: Any, budget: Budget, seed: int) -> EvasionAttack:
    if not estimator.classifies:
        image_attack = away_from_captions(estimator, budget, seed)
    elif estimator.texts_are_prompts:
        image_attack = pgd(estimator, budget, seed)
    else:
        image_attack = ImageAttackOnPairs(estimator, lambda view: art_pgd(bounded(view, budget), budget, seed))
    return IndependentAttack(estimator, image_attack, bert_attack(estimator, budget, "embedding_kl"))


def _co_attack(estimator: Any, budget: Budget, seed: int) -> EvasionAttack:
    return CoAttack(estimator, bert_attack(estimator, budget, "embedding_kl"), **ball(budget, seed))


def _joint(estimator: Any, budget: Budget, seed: int, points: Points = budget_alone) -> EvasionAttack:
    text_attack = every_text_attack(estimator, budget, points)
    return CoAttack(estimator, text_attack, loss="margin", rounds=2, **ball(budget, seed))


def _set_level_guidance(estimator: Any, budget: Budget, seed: int) -> EvasionAttack:
    return SetLevelGuidanceAttack(estimator, bert_attack(estimator, budget, "margin"), **ball(budget, seed))


def scales(budget: Budget, texts: costs.Texts) -> costs.Cost:
    """The cost of five scales in each step."""
    return costs.Cost(5 * budget.max_iter + 4, 5 * budget.max_iter)


DESCENT_AND_WORDS = costs.total(costs.DESCENT, costs.words)
#: Rounds of words and images, from the clean image and from random starts.
JOINT_COST = costs.total(costs.steps(6, 8), every, every)

register(
    AttackEntry(
        "independent",
        "multimodal",
        "white box",
        "pgd and bert_attack, each against the other modality as it was (MMCoA's multimodal attack)",
        partial(OnBoth, build=_independent),
        tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
        words=True,
        within_radius=True,
        cost=DESCENT_AND_WORDS,
        calls=costs.asks(1, 1, {ZERO_SHOT: 1, PAIRS: 3, RETRIEVAL: 1}),
    )
)
register(
    AttackEntry(
        "co_attack",
        "multimodal",
        "white box",
        "text first, then the image away from it and from itself, by embeddings (Co-Attack)",
        partial(OnBoth, build=_co_attack),
        tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
        words=True,
        within_radius=True,
        cost=DESCENT_AND_WORDS,
        calls=costs.asks(1, 1, 3),
    )
)
register(
    AttackEntry(
        "joint",
        "multimodal",
        "white box",
        "text and image in turn, each against the other as attacked, to mislead about each sample (ours)",
        partial(OnBoth, build=_joint),
        words=True,
        within_radius=True,
        cost=JOINT_COST,
    )
)
#: Not in the registry by itself: with the language model's whole vocabulary.
JOINT_OF_EVERY_WORD = AttackEntry(
    "joint",
    "multimodal",
    "white box",
    "text and image in turn, each against the other as attacked, with any word of the language model",
    partial(OnBoth, build=partial(_joint, points=word_curve)),
)
register(
    AttackEntry(
        "set_level_guidance",
        "multimodal",
        "white box",
        "all captions of an image, then the image at several scales against them, then captions again (SGA)",
        partial(OnBoth, build=_set_level_guidance),
        tasks=(RETRIEVAL,),
        words=True,
        within_radius=True,
        cost=costs.total(scales, costs.words, costs.words),
        calls=costs.asks(5, 5, 3),
    )
)
