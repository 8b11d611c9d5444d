"""Attacks on images within a ball: ours and ART's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.attacks.evasion import AutoProjectedGradientDescent, ProjectedGradientDescent, SquareAttack

from art_multimodal.attacks.art_context import global_seed, passes_of, view_of, with_memory
from art_multimodal.attacks.evasion.for_each_sample import for_each_pair
from art_multimodal.attacks.evasion.multimodal.set_level_guidance import SetLevelGuidanceAttack
from art_multimodal.attacks.evasion.projected_gradient_descent import ProjectedGradientDescentDualEncoder
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
from art_multimodal.attacks.registry.gallery import on_gallery
from art_multimodal.attacks.registry.targeted import MOST_TARGETS, targeted_pgd
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.image_classifier import ImageClassifier
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.estimators.text_bound import TextBoundClassifier
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.functional.perturbations import norm_of, within_budget
from art_multimodal.pairs import is_pairs

#: Makes an attack on a classifier of images, within a budget, with a seed.
Build = Callable[[Any, Budget, int], EvasionAttack]

#: ART's attacks get all samples as one batch, of which the model sees so many at a time as the budget allows.
_WHOLE = 2**30


def image_attack(build: Build) -> Prepare:
    """An attack that keeps to the ball, scored inside it."""

    def prepare(estimator: Estimator, budget: Budget) -> Run:
        def run(x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
            # The scoring stands inside: defences may draw numbers, too.
            with global_seed(seed), passes_of(estimator, budget.batch_size):
                attacked = perturbed(build, estimator, x, y, budget, seed)
                return Attacked(attacked, estimator.predict_labels(attacked, batch_size=budget.batch_size))

        return run

    return on_gallery(prepare)


def perturbed(
    build: Build, estimator: Estimator, x: np.ndarray, y: np.ndarray, budget: Budget, seed: int
) -> np.ndarray:
    """The samples with attacked images, inside the budget whatever the attack returns."""
    if isinstance(estimator, FusionClassifier):
        attacked = for_each_pair(lambda view: build(bounded(view, budget), budget, seed), estimator, x, y)
        return inside_budget(attacked, x, budget)
    attack = build(view_of(estimator, x.shape[1:]), budget, seed)
    return inside_budget(np.asarray(attack.generate(x, y), dtype=np.float32), x, budget)


def bounded(view: TextBoundClassifier, budget: Budget) -> TextBoundClassifier:
    """A view that was made for one attack, of which no pass holds more images than the budget allows."""
    view.model.most_at_once = budget.batch_size
    return view


def inside_budget(found: np.ndarray, x: np.ndarray, budget: Budget) -> np.ndarray:
    """Samples whose images are finite and within the budget around those of ``x``; texts are as found."""
    if is_pairs(x):
        attacked = found.copy()
        images = np.ascontiguousarray(found["image"]), np.ascontiguousarray(x["image"])
        attacked["image"] = inside_budget(*images, budget)
        return attacked
    # ART's l_2 Square divides by zero now and then: a broken pixel is no attack.
    found = np.where(np.isfinite(found), found, x)
    # ART's APGD leaves the ball by rounding, and a budget that is printed must hold: what is scored is inside.
    return within_budget(torch.from_numpy(found), torch.from_numpy(x), norm_of(budget.norm), budget.eps).numpy()


def ball(budget: Budget, seed: int) -> dict[str, Any]:
    """The budget as parameters of our gradient attacks."""
    return {
        "norm": budget.art_norm,
        "eps": budget.eps,
        "eps_step": budget.eps_step,
        "max_iter": budget.max_iter,
        "batch_size": budget.batch_size,
        "seed": seed,
        "verbose": False,
    }


def pgd(estimator: ZeroShotClassifier, budget: Budget, seed: int) -> EvasionAttack:
    return ProjectedGradientDescentDualEncoder(estimator, **ball(budget, seed))


def art_pgd(estimator: ImageClassifier, budget: Budget, seed: int) -> EvasionAttack:
    return ProjectedGradientDescent(
        estimator,
        norm=budget.art_norm,
        eps=budget.eps,
        eps_step=budget.eps_step,
        max_iter=budget.max_iter,
        num_random_init=1,
        batch_size=_WHOLE,
        verbose=False,
    )


def _apgd(loss_type: str) -> Callable[[ImageClassifier, Budget, int], EvasionAttack]:
    def build(estimator: ImageClassifier, budget: Budget, seed: int) -> EvasionAttack:
        return AutoProjectedGradientDescent(
            estimator,
            norm=budget.art_norm,
            eps=budget.eps,
            eps_step=2 * budget.eps,  # APGD's own first step; it halves it as it goes
            max_iter=budget.max_iter,
            nb_random_init=1,
            batch_size=_WHOLE,
            loss_type=loss_type,
            verbose=False,
        )

    return build


def _square_applies(shape: tuple[int, ...], budget: Budget) -> bool:
    # ART draws squares that must fit; for l_2 it tiles the image five by five and needs it to be square itself.
    height, width = shape[1:]
    return min(height, width) >= 3 if budget.art_norm == np.inf else height == width >= 15


def _square(estimator: ImageClassifier, budget: Budget, seed: int) -> EvasionAttack:
    height, width = estimator.input_shape[1:]
    return SquareAttack(
        with_memory(estimator),  # it is told once about every image
        norm=budget.art_norm,
        eps=budget.eps,
        max_iter=budget.max_queries - 3,  # the intact image, the stripes, and scoring what comes out
        p_init=min(0.8, (min(height, width) - 1) ** 2 / (height * width)),  # its squares must fit into the image
        nb_restarts=1,
        batch_size=_WHOLE,
        verbose=False,
    )


def away_from_captions(estimator: ImageTextRetriever, budget: Budget, seed: int) -> EvasionAttack:
    """In retrieval: an image is made unlike all of its captions, which stay as they are."""
    return SetLevelGuidanceAttack(estimator, None, scales=(1.0,), **ball(budget, seed))


def _similarity_pgd(estimator: Estimator, budget: Budget) -> Run:
    def run(x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        return Attacked(inside_budget(away_from_captions(estimator, budget, seed).generate(x), x, budget), None)

    return run


ATTACKS.add(
    "pgd",
    AttackEntry(
        "image",
        "white box",
        "projected gradient descent on class scores (ours)",
        image_attack(pgd),
        tasks=(ZERO_SHOT, RETRIEVAL),
    ),
)
ATTACKS.add("art_pgd", AttackEntry("image", "white box", "projected gradient descent (ART's)", image_attack(art_pgd)))
ATTACKS.add(
    "apgd",
    AttackEntry(
        "image",
        "white box",
        "auto-PGD on cross-entropy (ART's)",
        image_attack(_apgd("cross_entropy")),
        tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
    ),
)
ATTACKS.add(
    "apgd_dlr",
    AttackEntry(
        "image",
        "white box",
        "auto-PGD on the difference of logits (ART's)",
        image_attack(_apgd("difference_logits_ratio")),
        minimum_classes=3,  # it compares the three largest logits
        tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
    ),
)
ATTACKS.add(
    "pgd_targeted",
    AttackEntry(
        "image",
        "white box",
        f"descent towards each of the {MOST_TARGETS} most likely other classes, on the difference of logits (ours)",
        on_gallery(targeted_pgd(from_clean=True)),
        tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
    ),
)
ATTACKS.add(
    "square",
    AttackEntry(
        "image",
        "black box",
        "random search with squares (ART's)",
        image_attack(_square),
        tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
        applies=_square_applies,
    ),
)
ATTACKS.add(
    "similarity_pgd",
    AttackEntry(
        "image",
        "white box",
        "projected gradient descent away from all captions of an image (ours)",
        _similarity_pgd,
        tasks=(RETRIEVAL,),
    ),
)
