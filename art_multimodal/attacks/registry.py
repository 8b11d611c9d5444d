"""Every attack that an audit can run, by name: ours and ART's.

An entry turns correctly classified samples into what the model says about them after the attack. Another attack is one
more function and one more line at the end of this file; the command line, the audit, its report and the docs read it
from here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.attacks.evasion import AutoProjectedGradientDescent, ProjectedGradientDescent, SquareAttack

from art_multimodal.attacks.art_context import global_seed, input_shape, remembered_predictions
from art_multimodal.attacks.evasion.decoupling import DecouplingAttack
from art_multimodal.attacks.evasion.decoupling.zero_shot import removable_words
from art_multimodal.attacks.evasion.for_each_pair import for_each_pair
from art_multimodal.attacks.evasion.projected_gradient_descent import ProjectedGradientDescentDualEncoder
from art_multimodal.errors import InputError, unknown_name
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.image_classifier import ImageClassifier
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.functional.perturbations import norm_of, within_budget
from art_multimodal.pairs import is_pairs
from art_multimodal.registry import Registry

#: What an audit attacks: a classifier of images, or one of pairs.
Estimator = ZeroShotClassifier | FusionClassifier


@dataclass(frozen=True)
class Budget:
    """What an attack may spend.

    :param norm: ``"inf"`` or ``"2"``.
    :param eps: Radius, in the units of images in [0, 1].
    :param eps_step: Length of a gradient step.
    :param max_iter: Number of gradient steps.
    :param max_queries: Most evaluations per image for attacks without gradients.
    :param batch_size: Images per forward pass.
    """

    norm: str = "inf"
    eps: float = 1 / 255
    eps_step: float = 1 / 255
    max_iter: int = 10
    max_queries: int = 500
    batch_size: int = 32

    @property
    def art_norm(self) -> float | int:
        """The norm as ART writes it."""
        return np.inf if norm_of(self.norm) == np.inf else 2


@dataclass(frozen=True)
class Attacked:
    """What an attack did to a batch.

    :param images: The images after the attack ``(N, 3, H, W)``, in the order of the batch.
    :param labels: What the model says about each sample after the attack, shape ``(N,)``.
    :param details: Per sample, further facts for the record (JSON types).
    """

    images: np.ndarray
    labels: np.ndarray
    details: list[dict[str, Any]] = field(default_factory=list)


Run = Callable[[Estimator, np.ndarray, np.ndarray, Budget, int], Attacked]


@dataclass(frozen=True)
class AttackEntry:
    """An attack as audits know it.

    :param modality: What it changes: ``"image"``, ``"text"``, ``"multimodal"`` or ``"decoupling"``.
    :param knowledge: ``"white box"`` or ``"black box"``.
    :param summary: One line for listings and reports.
    :param run: Attacks images ``(N, 3, H, W)`` (or pairs ``(N,)``, on a fusion model) that have labels ``(N,)``, within
        a budget, with a seed.
    :param minimum_classes: Fewest classes that it can work with.
    :param on_pairs: Whether it can attack a fusion model.
    :param applies: Whether it can work on images of a shape ``(3, H, W)`` within a budget.
    """

    modality: str
    knowledge: str
    summary: str
    run: Run
    minimum_classes: int = 2
    on_pairs: bool = True
    applies: Callable[[tuple[int, ...], Budget], bool] = lambda shape, budget: True


ATTACKS: Registry[AttackEntry] = Registry("attack")


def select_attacks(names: str, nb_classes: int, on_pairs: bool = False) -> tuple[str, ...]:
    """Turn ``"image,decoupling"`` into the names of attacks; a modality stands for all of its attacks that apply.

    :param nb_classes: Attacks that need more classes are left out of a modality, and refused by name.
    :param on_pairs: Likewise attacks that cannot work on a fusion model, where one is attacked.
    :raises InputError: For an unknown name, one that cannot work, or none.
    """
    groups: dict[str, list[str]] = {}
    for name, entry in ATTACKS.items():
        if entry.minimum_classes <= nb_classes and (entry.on_pairs or not on_pairs):
            groups.setdefault(entry.modality, []).append(name)
    chosen: set[str] = set()
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name in groups:
            chosen.update(groups[name])
        elif name not in ATTACKS:
            raise unknown_name("attack", name, {*groups, *ATTACKS})
        elif ATTACKS[name].minimum_classes > nb_classes:
            raise InputError(f"{name} needs at least {ATTACKS[name].minimum_classes} classes; there are {nb_classes}.")
        elif on_pairs and not ATTACKS[name].on_pairs:
            raise InputError(f"{name} works on dual encoders only. On a fusion model use {', '.join(groups['image'])}.")
        else:
            chosen.add(name)
    if not chosen:
        raise InputError(f"No attack was named. Known: {', '.join(dict.fromkeys([*groups, *ATTACKS]))}.")
    # Registry order, whatever order they were named in: a report's rows then compare.
    return tuple(name for name in ATTACKS if name in chosen)


def _image_attack(build: Callable[[Any, Budget, int], EvasionAttack]) -> Run:
    def run(estimator: Estimator, x: np.ndarray, y: np.ndarray, budget: Budget, seed: int) -> Attacked:
        images = np.ascontiguousarray(x["image"]) if is_pairs(x) else x
        # The scoring stands inside: ART's predict draws a number, too.
        with global_seed(seed), input_shape(estimator, images.shape[1:]):
            if isinstance(estimator, FusionClassifier):
                found = for_each_pair(lambda view: build(view, budget, seed), estimator, x, y)["image"]
            else:
                found = np.asarray(build(estimator, budget, seed).generate(x, y), dtype=np.float32)
            # ART's l_2 Square divides by zero now and then: a broken pixel is no attack.
            found = np.where(np.isfinite(found), found, images)
            # ART's APGD leaves the ball by rounding, and a budget that is printed must hold: what is scored is inside.
            inside = within_budget(
                torch.from_numpy(found), torch.from_numpy(images), norm_of(budget.norm), budget.eps
            ).numpy()
            attacked = inside
            if is_pairs(x):
                attacked = x.copy()
                attacked["image"] = inside
            return Attacked(inside, estimator.predict_labels(attacked, batch_size=budget.batch_size))

    return run


def _pgd(estimator: ZeroShotClassifier, budget: Budget, seed: int) -> EvasionAttack:
    return ProjectedGradientDescentDualEncoder(
        estimator,
        norm=budget.art_norm,
        eps=budget.eps,
        eps_step=budget.eps_step,
        max_iter=budget.max_iter,
        batch_size=budget.batch_size,
        seed=seed,
        verbose=False,
    )


def _art_pgd(estimator: ImageClassifier, budget: Budget, seed: int) -> EvasionAttack:
    return ProjectedGradientDescent(
        estimator,
        norm=budget.art_norm,
        eps=budget.eps,
        eps_step=budget.eps_step,
        max_iter=budget.max_iter,
        num_random_init=1,
        batch_size=budget.batch_size,
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
            batch_size=budget.batch_size,
            loss_type=loss_type,
            verbose=False,
        )

    return build


def _square_applies(shape: tuple[int, ...], budget: Budget) -> bool:
    # ART draws squares that must fit; for l_2 it tiles the image five by five and needs it to be square itself.
    height, width = shape[1:]
    return min(height, width) >= 3 if budget.art_norm == np.inf else height == width >= 15


class _Square(SquareAttack):
    """Square that is told once about every image."""

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs: Any) -> np.ndarray:
        with remembered_predictions(self.estimator):
            return super().generate(x, y, **kwargs)


def _square(estimator: ImageClassifier, budget: Budget, seed: int) -> EvasionAttack:
    height, width = estimator.input_shape[1:]
    return _Square(
        estimator,
        norm=budget.art_norm,
        eps=budget.eps,
        max_iter=budget.max_queries - 3,  # the intact image, the stripes, and scoring what comes out
        p_init=min(0.8, (min(height, width) - 1) ** 2 / (height * width)),  # its squares must fit into the image
        nb_restarts=1,
        batch_size=budget.batch_size,
        verbose=False,
    )


def _decoupling(search: str, modalities: tuple[str, ...] = ("image", "text")) -> Run:
    def run(estimator: Estimator, x: np.ndarray, y: np.ndarray, budget: Budget, seed: int) -> Attacked:
        attack = DecouplingAttack(
            estimator,
            search=search,
            modalities=modalities,
            max_queries=budget.max_queries,
            batch_size=budget.batch_size,
            verbose=False,
        )
        adversarial = attack.generate(x)
        # Where a removed word stood: (number of the text, number of the word).
        if isinstance(estimator, FusionClassifier):
            places = [[(0, word) for word in record.words] for record in attack.records]
        else:
            removable = removable_words(estimator.templates)
            places = [[removable[word] for word in record.words] for record in attack.records]
        labels = np.array([record.label_after for record in attack.records], dtype=np.int64)
        details = [
            {
                "share_removed": record.share_removed,
                "pixels": record.pixels,
                "blocks": [[block.row, block.column, block.height, block.width] for block in record.blocks],
                "words": len(record.words),
                "removed_words": [list(place) for place in words],
                "queries": record.queries,
            }
            for record, words in zip(attack.records, places, strict=True)
        ]
        return Attacked(adversarial["image"] if is_pairs(x) else adversarial, labels, details)

    return run


ATTACKS.add(
    "pgd",
    AttackEntry(
        "image",
        "white box",
        "projected gradient descent on class scores (ours)",
        _image_attack(_pgd),
        on_pairs=False,
    ),
)
ATTACKS.add("art_pgd", AttackEntry("image", "white box", "projected gradient descent (ART's)", _image_attack(_art_pgd)))
ATTACKS.add(
    "apgd",
    AttackEntry("image", "white box", "auto-PGD on cross-entropy (ART's)", _image_attack(_apgd("cross_entropy"))),
)
ATTACKS.add(
    "apgd_dlr",
    AttackEntry(
        "image",
        "white box",
        "auto-PGD on the difference of logits (ART's)",
        _image_attack(_apgd("difference_logits_ratio")),
        minimum_classes=3,  # it compares the three largest logits
    ),
)
ATTACKS.add(
    "square",
    AttackEntry(
        "image", "black box", "random search with squares (ART's)", _image_attack(_square), applies=_square_applies
    ),
)
ATTACKS.add(
    "decoupling_guided",
    AttackEntry("decoupling", "white box", "removes as few pixels and words as it can (ours)", _decoupling("guided")),
)
ATTACKS.add(
    "decoupling_image",
    AttackEntry("decoupling", "white box", "removes as few pixels as it can (ours)", _decoupling("guided", ("image",))),
)
ATTACKS.add(
    "decoupling_exhaustive",
    AttackEntry(
        "decoupling",
        "black box",
        "removes blocks of pixels and single words (MUROAN's search)",
        _decoupling("exhaustive"),
    ),
)
