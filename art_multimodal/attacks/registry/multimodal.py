"""Attacks on images and texts together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from art.attacks.attack import EvasionAttack

from art_multimodal.attacks.art_context import global_seed
from art_multimodal.attacks.evasion.for_each_sample import ImageAttackOnPairs
from art_multimodal.attacks.evasion.multimodal import CoAttack, IndependentAttack
from art_multimodal.attacks.evasion.multimodal.set_level_guidance import SetLevelGuidanceAttack
from art_multimodal.attacks.registry.entry import (
    ATTACKS,
    PAIRS,
    RETRIEVAL,
    ZERO_SHOT,
    Attacked,
    AttackEntry,
    Budget,
    Estimator,
    Prepare,
    Run,
)
from art_multimodal.attacks.registry.exhaustive import Points, budget_alone, every_text_attack, word_curve
from art_multimodal.attacks.registry.image import art_pgd, away_from_captions, ball, bounded, inside_budget, pgd
from art_multimodal.attacks.registry.text import bert_attack, labels_for, on_prompts, on_texts
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.zero_shot import ZeroShotClassifier

#: Makes an attack on images and texts, within a budget, with a seed.
Build = Callable[[Estimator, Budget, int], EvasionAttack]


def multimodal_attack(build: Build) -> Prepare:
    """An attack on both modalities, scored with the images inside the ball."""

    def prepare(estimator: Estimator, budget: Budget) -> Run:
        build(estimator, budget, 0)

        def run(x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
            attack = build(estimator, budget, seed)
            # ART's attacks draw from the global generators.
            with global_seed(seed):
                adversarial = inside_budget(attack.generate(x, labels_for(estimator, y)), x, budget)
                if isinstance(estimator, ZeroShotClassifier):
                    return on_prompts(estimator, attack.records, adversarial, y, attack.prompts, budget)
                return on_texts(estimator, attack.records, x, adversarial, budget)

        return run

    return prepare


def _independent(estimator: Estimator, budget: Budget, seed: int) -> EvasionAttack:
    if isinstance(estimator, ZeroShotClassifier):
        image_attack = pgd(estimator, budget, seed)
    elif isinstance(estimator, FusionClassifier):
        image_attack = ImageAttackOnPairs(estimator, lambda view: art_pgd(bounded(view, budget), budget, seed))
    else:
        image_attack = away_from_captions(estimator, budget, seed)
    return IndependentAttack(estimator, image_attack, bert_attack("embedding_kl")(estimator, budget))


def _co_attack(estimator: Estimator, budget: Budget, seed: int) -> EvasionAttack:
    return CoAttack(estimator, bert_attack("embedding_kl")(estimator, budget), **ball(budget, seed))


def _joint(points: Points) -> Build:
    def build(estimator: Estimator, budget: Budget, seed: int) -> EvasionAttack:
        text_attack = every_text_attack(estimator, budget, points)
        return CoAttack(estimator, text_attack, loss="margin", rounds=2, **ball(budget, seed))

    return build


def _set_level_guidance(estimator: Estimator, budget: Budget, seed: int) -> EvasionAttack:
    return SetLevelGuidanceAttack(estimator, bert_attack("margin")(estimator, budget), **ball(budget, seed))


ATTACKS.add(
    "independent",
    AttackEntry(
        "multimodal",
        "white box",
        "pgd and bert_attack, each against the other modality as it was (MMCoA's multimodal attack)",
        multimodal_attack(_independent),
        tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
        words=True,
    ),
)
ATTACKS.add(
    "co_attack",
    AttackEntry(
        "multimodal",
        "white box",
        "text first, then the image away from it and from itself, by embeddings (Co-Attack)",
        multimodal_attack(_co_attack),
        tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
        words=True,
    ),
)
ATTACKS.add(
    "joint",
    AttackEntry(
        "multimodal",
        "white box",
        "text and image in turn, each against the other as attacked, to mislead about each sample (ours)",
        multimodal_attack(_joint(budget_alone)),
        words=True,
    ),
)
#: Not in the registry by itself: with the language model's whole vocabulary.
JOINT_OF_EVERY_WORD = AttackEntry(
    "multimodal",
    "white box",
    "text and image in turn, each against the other as attacked, with any word of the language model",
    multimodal_attack(_joint(word_curve)),
)
ATTACKS.add(
    "set_level_guidance",
    AttackEntry(
        "multimodal",
        "white box",
        "all captions of an image, then the image at several scales against them, then captions again (SGA)",
        multimodal_attack(_set_level_guidance),
        tasks=(RETRIEVAL,),
        words=True,
    ),
)
