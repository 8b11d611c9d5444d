"""Every attack that an audit can run, by name: ours and ART's.

An entry turns correctly classified images into what the model says about them after the attack. Another attack is one
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
from art_multimodal.attacks.evasion.projected_gradient_descent import ProjectedGradientDescentDualEncoder
from art_multimodal.errors import InputError, unknown_name
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.functional.perturbations import norm_of, within_budget
from art_multimodal.registry import Registry


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

    :param images: The images after the attack, shape and order of the batch.
    :param labels: What the model says about each sample after the attack, shape ``(N,)``.
    :param details: Per sample, further facts for the record (JSON types).
    """

    images: np.ndarray
    labels: np.ndarray
    details: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class AttackEntry:
    """An attack as audits know it.

    :param modality: What it changes: ``"image"``, ``"text"``, ``"multimodal"`` or ``"decoupling"``.
    :param knowledge: ``"white box"`` or ``"black box"``.
    :param summary: One line for listings and reports.
    :param run: Attacks images ``(N, 3, H, W)`` that have labels ``(N,)``, within a budget, with a seed.
    :param minimum_classes: Fewest classes that it can work with.
    :param applies: Whether it can work on images of a shape ``(3, H, W)`` within a budget.
    """

    modality: str
    knowledge: str
    summary: str
    run: Callable[[ZeroShotClassifier, np.ndarray, np.ndarray, Budget, int], Attacked]
    minimum_classes: int = 2
    applies: Callable[[tuple[int, ...], Budget], bool] = lambda shape, budget: True


ATTACKS: Registry[AttackEntry] = Registry("attack")


def select_attacks(names: str, nb_classes: int) -> tuple[str, ...]:
    """Turn ``"image,decoupling"`` into the names of attacks; a modality stands for all of its attacks that apply.

    :param nb_classes: Attacks that need more classes are left out of a modality, and refused by name.
    :raises InputError: For an unknown name, one that cannot work, or none.
    """
    groups: dict[str, list[str]] = {}
    for name, entry in ATTACKS.items():
        if entry.minimum_classes <= nb_classes:
            groups.setdefault(entry.modality, []).append(name)
    chosen: set[str] = set()
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name in groups:
            chosen.update(groups[name])
        elif name not in ATTACKS:
            raise unknown_name("attack", name, {*groups, *ATTACKS})
        elif ATTACKS[name].minimum_classes > nb_classes:
            raise InputError(f"{name} needs at least {ATTACKS[name].minimum_classes} classes; there are {nb_classes}.")
        else:
            chosen.add(name)
    if not chosen:
        raise InputError(f"No attack was named. Known: {', '.join(dict.fromkeys([*groups, *ATTACKS]))}.")
    # Registry order, whatever order they were named in: a report's rows then compare.
    return tuple(name for name in ATTACKS if name in chosen)


def _image_attack(
    build: Callable[[ZeroShotClassifier, Budget, int], EvasionAttack],
) -> Callable[[ZeroShotClassifier, np.ndarray, np.ndarray, Budget, int], Attacked]:
    def run(estimator: ZeroShotClassifier, x: np.ndarray, y: np.ndarray, budget: Budget, seed: int) -> Attacked:
        # The scoring stands inside: ART's predict draws a number, too.
        with global_seed(seed), input_shape(estimator, x.shape[1:]):
            adversarial = np.asarray(build(estimator, budget, seed).generate(x, y), dtype=np.float32)
            # ART's l_2 Square divides by zero now and then: a broken pixel is no attack.
            adversarial = np.where(np.isfinite(adversarial), adversarial, x)
            # ART's APGD leaves the ball by rounding, and a budget that is printed must hold: what is scored is inside.
            inside = within_budget(
                torch.from_numpy(adversarial), torch.from_numpy(x), norm_of(budget.norm), budget.eps
            ).numpy()
            return Attacked(inside, estimator.predict_labels(inside, batch_size=budget.batch_size))

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


def _art_pgd(estimator: ZeroShotClassifier, budget: Budget, seed: int) -> EvasionAttack:
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


def _apgd(loss_type: str) -> Callable[[ZeroShotClassifier, Budget, int], EvasionAttack]:
    def build(estimator: ZeroShotClassifier, budget: Budget, seed: int) -> EvasionAttack:
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


def _square(estimator: ZeroShotClassifier, x: np.ndarray, y: np.ndarray, budget: Budget, seed: int) -> Attacked:
    height, width = x.shape[2:]

    def build(estimator: ZeroShotClassifier, budget: Budget, seed: int) -> EvasionAttack:
        return SquareAttack(
            estimator,
            norm=budget.art_norm,
            eps=budget.eps,
            max_iter=budget.max_queries - 3,  # the intact image, the stripes, and scoring what comes out
            p_init=min(0.8, (min(height, width) - 1) ** 2 / (height * width)),  # its squares must fit into the image
            nb_restarts=1,
            batch_size=budget.batch_size,
            verbose=False,
        )

    with remembered_predictions(estimator):
        return _image_attack(build)(estimator, x, y, budget, seed)


def _decoupling(estimator: ZeroShotClassifier, x: np.ndarray, y: np.ndarray, budget: Budget, seed: int) -> Attacked:
    attack = DecouplingAttack(estimator, search="exhaustive", batch_size=budget.batch_size, verbose=False)
    images = attack.generate(x)
    places = removable_words(estimator.templates)
    labels = np.array([record.label_after for record in attack.records], dtype=np.int64)
    details = [
        {
            "share_removed": record.share_removed,
            "pixels": record.pixels,
            "blocks": [[block.row, block.column, block.height, block.width] for block in record.blocks],
            "words": len(record.words),
            "removed_words": [list(places[word]) for word in record.words],
            "queries": record.queries,
        }
        for record in attack.records
    ]
    return Attacked(images, labels, details)


ATTACKS.add(
    "pgd", AttackEntry("image", "white box", "projected gradient descent on class scores (ours)", _image_attack(_pgd))
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
    AttackEntry("image", "black box", "random search with squares (ART's)", _square, applies=_square_applies),
)
ATTACKS.add(
    "decoupling",
    AttackEntry(
        "decoupling",
        "black box",
        "removes blocks of pixels or prompt words (MUROAN, exhaustive)",
        _decoupling,
    ),
)
