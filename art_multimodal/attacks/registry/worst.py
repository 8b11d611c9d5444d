"""Ensembles: several attacks, each on what the others left. What a number that is to be trusted is measured with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

# As a module: it looks into this registry itself.
from art_multimodal.attacks import cascade
from art_multimodal.attacks.evasion.image_ascent import BestSeen, ImageBudget, Objective, ascend, own_generators
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
from art_multimodal.attacks.registry.gallery import on_gallery
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.image_classifier import ImageClassifier
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.functional.losses import margin_loss
from art_multimodal.functional.perturbations import norm_of
from art_multimodal.pairs import is_pairs

#: Fewest gradient steps of a member: a quick row may take ten, a number that is to be trusted may not.
LEAST_STEPS = 50
#: Most classes that a targeted attack aims at, the most likely ones, as AutoAttack does.
MOST_TARGETS = 9
#: Stages of a targeted attack.
STAGES = 4


def ensemble_budget(budget: Budget) -> Budget:
    """The budget of an ensemble's members, with at least :data:`LEAST_STEPS` gradient steps."""
    return replace(budget, max_iter=max(budget.max_iter, LEAST_STEPS))


def targeted_pgd(estimator: Estimator, budget: Budget) -> Run:
    """Projected gradient descent towards one other class after the other, on the difference of logits.

    Whatever class a sample is mistaken for counts, so of all steps the images are kept that mislead the model the most.
    As in APGD the steps get shorter by themselves: they start at half of ``eps``, and each stage halves them and goes
    on from the best images.

    ART's targeted APGD is no stand-in. Its difference-of-logits ratio is that of an untargeted attack, and constant
    when the target has the third largest logit: there is no gradient. It returns the last step only, and only if the
    answer is the target.
    """
    assert isinstance(estimator, (FusionClassifier, ZeroShotClassifier))
    ball = ImageBudget(norm_of(budget.norm), budget.eps, budget.eps_step, budget.max_iter)
    stages = [
        replace(ball, eps_step=budget.eps / 2**number, max_iter=len(steps))
        for number, steps in enumerate(np.array_split(np.arange(budget.max_iter), STAGES), start=1)
    ]

    def run(x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        y = np.asarray(y, dtype=np.int64)
        scores = estimator.predict(x, batch_size=budget.batch_size)
        scores[np.arange(len(x)), y] = -np.inf
        likely = np.argsort(-scores, axis=1, kind="stable")[:, : min(MOST_TARGETS, estimator.nb_classes - 1)]
        generators = own_generators(seed, x["image"] if is_pairs(x) else x)
        after, labels, left = x.copy(), y.copy(), np.arange(len(x))
        for targets in likely.T:
            for start in range(0, len(left), budget.batch_size):
                rows = left[start : start + budget.batch_size]
                after[rows] = towards(x[rows], y[rows], targets[rows], [generators[row] for row in rows])
            labels[left] = estimator.predict_labels(after[left], batch_size=budget.batch_size)
            left = left[labels[left] == y[left]]
        return Attacked(after, labels)

    def towards(x: np.ndarray, y: np.ndarray, targets: np.ndarray, generators: list[torch.Generator]) -> np.ndarray:
        """The samples with images attacked towards their targets."""
        if not isinstance(estimator, FusionClassifier):
            return images_towards(estimator, x, y, targets, generators)
        pairs = x.copy()
        # Rows stay in order from here on, so each image may have its own text.
        view = estimator.image_view(x["text"].tolist())
        pairs["image"] = images_towards(view, np.ascontiguousarray(x["image"]), y, targets, generators)
        return pairs

    def images_towards(
        classifier: ImageClassifier,
        x: np.ndarray,
        y: np.ndarray,
        targets: np.ndarray,
        generators: list[torch.Generator],
    ) -> np.ndarray:
        clean, own, wanted = (torch.from_numpy(array).to(classifier.device) for array in (x, y, targets))
        objective, best = _difference_of_logits(classifier, own, wanted), BestSeen(clean)
        start = ball.random_starts(clean, generators)
        for stage in stages:
            ascend(classifier, clean, objective, stage, start, best=best)
            start = best.images - clean
        return best.images.cpu().numpy()

    return run


def _difference_of_logits(classifier: ImageClassifier, own: torch.Tensor, wanted: torch.Tensor) -> Objective:
    def objective(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = classifier.model(inputs)
        difference = logits.gather(1, wanted[:, None]) - logits.gather(1, own[:, None])
        return difference[:, 0], margin_loss(logits, own)

    return objective


#: Not in the registry by itself: it costs as much as nine attacks.
TARGETED_PGD = AttackEntry(
    "image", "white box", "projected gradient descent towards each of the most likely other classes", targeted_pgd
)


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
        "the four text attacks, each on what is left",
        by_task(ensemble(*_TEXT), _registered(*_TEXT)),
        tasks=_EVERYWHERE,
    ),
)
ATTACKS.add(
    "worst_multimodal",
    AttackEntry(
        "worst",
        "white box",
        "joint, independent and co_attack, each on what is left by those before and by the two others (in retrieval "
        f"set_level_guidance, independent and co_attack); at least {LEAST_STEPS} steps",
        by_task(
            ensemble("joint", "independent", "co_attack"),
            _registered("set_level_guidance", "independent", "co_attack"),
        ),
        tasks=_EVERYWHERE,
        goes_on_after=("worst_image", "worst_text"),
    ),
)
