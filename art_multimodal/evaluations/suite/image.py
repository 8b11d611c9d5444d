"""Attacks on images within a ball: ours and ART's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.attacks.evasion import AutoProjectedGradientDescent, ProjectedGradientDescent, SquareAttack

from art_multimodal.attacks.art_context import global_seed, passes_of, view_of, with_memory
from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.evasion.for_each_sample import for_each_pair
from art_multimodal.attacks.evasion.multimodal.set_level_guidance import SetLevelGuidanceAttack
from art_multimodal.attacks.evasion.projected_gradient_descent import ProjectedGradientDescentDualEncoder
from art_multimodal.estimators.image_classifier import ImageClassifier
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.estimators.views import View
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.evaluations.suite import costs
from art_multimodal.evaluations.suite.entry import (
    PAIRS,
    RETRIEVAL,
    SCORES,
    ZERO_SHOT,
    Attacked,
    AttackEntry,
    Make,
    PreparedAttack,
    register,
)
from art_multimodal.evaluations.suite.gallery import also_on_gallery
from art_multimodal.evaluations.suite.targeted import MOST_TARGETS, TargetedDescent, targeted_from_clean
from art_multimodal.functional.perturbations import norm_of, within_budget
from art_multimodal.pairs import is_pairs

#: Makes an attack on a classifier of images, within a budget, with a seed.
Build = Callable[[Any, Budget, int], EvasionAttack]

#: ART's attacks get all samples as one batch, of which the model sees so many at a time as the budget allows.
_WHOLE = 2**30


class ImageAttack(PreparedAttack):
    """An attack on images that keeps to the ball, scored inside it.

    :param build: Makes the attack on a classifier of images.
    """

    def __init__(self, estimator: Any, budget: Budget, build: Build) -> None:
        super().__init__(estimator, budget)
        self.build = build

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        if not len(x):  # of which ART's attacks would make a stack
            return Attacked(x.copy(), np.zeros(0, dtype=np.int64))
        estimator, size = self.estimator, self.budget.batch_size
        # The scoring stands inside: defences may draw numbers, too.
        with global_seed(seed), passes_of(estimator, size):
            attacked = self.perturbed(x, y, seed)
            return Attacked(attacked, estimator.predict_labels(attacked, batch_size=size))

    def perturbed(self, x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
        """The samples with attacked images, inside the budget whatever the attack returns."""
        estimator, budget = self.estimator, self.budget
        if estimator.texts_are_prompts:
            attack = self.build(view_of(estimator, x.shape[1:]), budget, seed)
            return inside_budget(np.asarray(attack.generate(x, y), dtype=np.float32), x, budget)
        attacked = for_each_pair(lambda view: self.build(bounded(view, budget), budget, seed), estimator, x, y)
        return inside_budget(attacked, x, budget)


def image_attack(build: Build) -> Make:
    """What makes an attack on images for an :class:`AttackEntry`, in retrieval an attack on those of the gallery.

    What comes back is projected into the budget before it is scored.

    >>> from art_multimodal.evaluations.suite import Budget
    >>> from art.attacks.evasion import FastGradientMethod
    >>> make = image_attack(lambda classifier, budget, seed: FastGradientMethod(classifier, eps=1.0))
    >>> found = make(classifier, Budget(eps=8 / 255))(images, labels, seed=0)
    >>> bool(np.abs(found.x - images).max() < 9 / 255)
    True

    :param build: Maps a classifier of images, a budget and a seed to an attack of ART's kind.
    """
    return also_on_gallery(partial(ImageAttack, build=build))


def bounded(view: View, budget: Budget) -> View:
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


def apgd(estimator: ImageClassifier, budget: Budget, seed: int, loss_type: str = "cross_entropy") -> EvasionAttack:
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


def square_applies(shape: tuple[int, ...], budget: Budget) -> bool:
    # ART draws squares that must fit; for l_2 it tiles the image five by five and needs it to be square itself.
    height, width = shape[1:]
    return min(height, width) >= 3 if budget.art_norm == np.inf else height == width >= 15


def square(estimator: ImageClassifier, budget: Budget, seed: int) -> EvasionAttack:
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


class AwayFromCaptions(PreparedAttack):
    """:func:`away_from_captions` as an attack of its own."""

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        found = away_from_captions(self.estimator, self.budget, seed).generate(x)
        return Attacked(inside_budget(found, x, self.budget), None)


#: ART's APGD asks about a first batch once more, which is not counted.
AUTO_CALLS = costs.asks(2, 1, {ZERO_SHOT: 4, PAIRS: 5, RETRIEVAL: 5})

register(
    AttackEntry(
        "pgd",
        "image",
        "white box",
        "projected gradient descent on class scores (ours)",
        image_attack(pgd),
        tasks=(ZERO_SHOT, RETRIEVAL),
        within_radius=True,
        cost=costs.DESCENT,
        calls=costs.asks(1, 1, {ZERO_SHOT: 1, RETRIEVAL: 2}),
    )
)
register(
    AttackEntry(
        "art_pgd",
        "image",
        "white box",
        "projected gradient descent (ART's)",
        image_attack(art_pgd),
        within_radius=True,
        cost=costs.DESCENT,
        calls=costs.asks(1, 1, 3),
    )
)
register(
    AttackEntry(
        "apgd",
        "image",
        "white box",
        "auto-PGD on cross-entropy (ART's)",
        image_attack(apgd),
        tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
        within_radius=True,
        cost=costs.auto_descent,
        calls=AUTO_CALLS,
    )
)
register(
    AttackEntry(
        "apgd_dlr",
        "image",
        "white box",
        "auto-PGD on the difference of logits (ART's)",
        image_attack(partial(apgd, loss_type="difference_logits_ratio")),
        minimum_classes=3,  # it compares the three largest logits
        tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
        within_radius=True,
        cost=costs.auto_descent,
        calls=AUTO_CALLS,
    )
)
register(
    AttackEntry(
        "pgd_targeted",
        "image",
        "white box",
        f"descent towards each of the {MOST_TARGETS} most likely other classes, on the difference of logits (ours)",
        also_on_gallery(partial(TargetedDescent, from_clean=True)),
        tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
        within_radius=True,
        cost=targeted_from_clean,
    )
)
register(
    AttackEntry(
        "square",
        "image",
        "black box",
        "random search with squares (ART's)",
        image_attack(square),
        tasks=(ZERO_SHOT, PAIRS, RETRIEVAL),
        applies=square_applies,
        needs=SCORES,
        within_radius=True,
        cost=costs.queries,
    )
)
register(
    AttackEntry(
        "similarity_pgd",
        "image",
        "white box",
        "projected gradient descent away from all captions of an image (ours)",
        AwayFromCaptions,
        tasks=(RETRIEVAL,),
        within_radius=True,
        cost=costs.DESCENT,
        calls=costs.asks(1, 1, 1),
    )
)
