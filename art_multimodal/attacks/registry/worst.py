"""Ensembles: several attacks, each on what the others left. What a number that is to be trusted is measured with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

# As a module: it looks into this registry itself.
from art_multimodal.attacks import cascade
from art_multimodal.attacks.gradient_checks import check_gradients
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
from art_multimodal.attacks.registry.exhaustive import EVERY_WORD
from art_multimodal.attacks.registry.gallery import on_gallery
from art_multimodal.attacks.registry.multimodal import JOINT_OF_EVERY_WORD
from art_multimodal.attacks.registry.targeted import MOST_TARGETS, targeted_pgd
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.estimators.zero_shot import ZeroShotClassifier

#: Fewest gradient steps of a member: a quick row may take ten, a number that is to be trusted may not.
LEAST_STEPS = 50


def ensemble_budget(budget: Budget) -> Budget:
    """The budget of an ensemble's members, with at least :data:`LEAST_STEPS` gradient steps."""
    return replace(budget, max_iter=max(budget.max_iter, LEAST_STEPS))


#: The attack of this name in the registry, from random starts.
TARGETED_PGD = replace(ATTACKS["pgd_targeted"], prepare=targeted_pgd())


def ensemble(*members: cascade.Member) -> Prepare:
    """Members one after the other, with the budget of ensembles."""

    def prepare(estimator: Estimator, budget: Budget) -> Run:
        return cascade.prepare_cascade(members, estimator, ensemble_budget(budget))

    return prepare


def side_by_side(*members: tuple[str, Prepare]) -> Prepare:
    """In retrieval: all members on all samples, since ranks can always get worse; the worst rank counts."""

    def prepare(estimator: Estimator, budget: Budget) -> Run:
        runs = {name: member(estimator, ensemble_budget(budget)) for name, member in members}

        def run(x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
            versions = []
            for name, attack in runs.items():
                attacked = attack(x, y, cascade.member_seed(seed, name))
                # A member may be an ensemble itself, which knows better who it was.
                details = [
                    {**said, "broken_by": said.get("broken_by") or name} for said in attacked.details or [{} for _ in x]
                ]
                versions.append(replace(attacked, details=details))
            return replace(versions[0], versions=tuple(versions[1:]))

        return run

    return prepare


def by_task(classification: Prepare, retrieval: Prepare) -> Prepare:
    """One of two, whatever the estimator is for."""

    def prepare(estimator: Estimator, budget: Budget) -> Run:
        return (retrieval if isinstance(estimator, ImageTextRetriever) else classification)(estimator, budget)

    return prepare


def suspecting(prepare: Prepare) -> Prepare:
    """An ensemble on images that also looks whether the model hides its gradients."""

    def prepare_both(estimator: Estimator, budget: Budget) -> Run:
        attack = prepare(estimator, budget)
        assert isinstance(estimator, (FusionClassifier, ZeroShotClassifier))

        def run(x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
            attacked = attack(x, y, seed)
            by_square = sum(detail["broken_by"] == "square" for detail in attacked.details)
            by_gradients = sum(detail["broken_by"] is not None for detail in attacked.details) - by_square
            looked = check_gradients(estimator, x, y, budget.norm, budget.eps, seed, budget.batch_size)
            flags = {
                **attacked.flags,
                **looked.flags(),
                "left_by_gradients": len(x) - by_gradients,
                "square_beats_gradients": by_square,
            }
            return replace(attacked, flags=flags)

        return run

    return prepare_both


_IMAGE = suspecting(ensemble("apgd", ("pgd_targeted", TARGETED_PGD), "square"))
_TEXT = ("bert_attack", "bert_attack_margin", "character_attack", "character_attack_margin")
_EVERY_WORD = ("text_exhaustive", EVERY_WORD)
_EVERYWHERE = (ZERO_SHOT, PAIRS, RETRIEVAL)


def _registered(*names: str) -> Prepare:
    return side_by_side(*((name, ATTACKS[name].prepare) for name in names))


ATTACKS.add(
    "worst_image",
    AttackEntry(
        "worst",
        "white box",
        f"apgd, then descent towards each of the {MOST_TARGETS} most likely other classes, then square, each on what "
        f"is left; at least {LEAST_STEPS} steps; looks for hidden gradients",
        by_task(
            _IMAGE,
            side_by_side(("gallery", on_gallery(_IMAGE)), ("similarity_pgd", ATTACKS["similarity_pgd"].prepare)),
        ),
        tasks=_EVERYWHERE,
    ),
)
ATTACKS.add(
    "worst_text",
    AttackEntry(
        "worst",
        "black box",
        "every word that the language model knows and every typing error, all competing, for each image by itself; "
        "then the four quick text attacks, each on what is left",
        by_task(
            ensemble(_EVERY_WORD, *_TEXT),
            side_by_side(("text_exhaustive", EVERY_WORD.prepare), *((name, ATTACKS[name].prepare) for name in _TEXT)),
        ),
        tasks=_EVERYWHERE,
        words=True,
    ),
)
ATTACKS.add(
    "worst_multimodal",
    AttackEntry(
        "worst",
        "white box",
        "joint (with any word that the language model knows), independent and co_attack, each on what is left by those "
        "before and by the two others (in retrieval "
        f"set_level_guidance, independent and co_attack); at least {LEAST_STEPS} steps",
        by_task(
            ensemble(("joint", JOINT_OF_EVERY_WORD), "independent", "co_attack"),
            _registered("set_level_guidance", "independent", "co_attack"),
        ),
        tasks=_EVERYWHERE,
        words=True,
        goes_on_after=("worst_image", "worst_text"),
    ),
)
