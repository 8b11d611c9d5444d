"""Ensembles: several attacks, each on what the others left. What a number that is to be trusted is measured with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.evasion.multimodal.raising import losses_on_votes
from art_multimodal.attacks.gradient_checks import check_gradients
from art_multimodal.evaluations.suite import costs
from art_multimodal.evaluations.suite.cascade import Cascade, Member, member_seed
from art_multimodal.evaluations.suite.defended import alarm_cost, on_defence
from art_multimodal.evaluations.suite.entry import (
    ATTACKS,
    EACH,
    PAIRS,
    RETRIEVAL,
    SAMPLES,
    ZERO_SHOT,
    Attacked,
    AttackEntry,
    Make,
    PreparedAttack,
    register,
    task_of,
)
from art_multimodal.evaluations.suite.exhaustive import EVERY_WORD, every_word
from art_multimodal.evaluations.suite.gallery import also_on_gallery
from art_multimodal.evaluations.suite.looking import LOOK
from art_multimodal.evaluations.suite.multimodal import DESCENT_AND_WORDS, JOINT_COST, JOINT_OF_EVERY_WORD, scales
from art_multimodal.evaluations.suite.samples import Descent
from art_multimodal.evaluations.suite.targeted import MOST_TARGETS, TargetedDescent, targeted
from art_multimodal.evaluations.suite.text import is_the_text

#: Fewest gradient steps of a member: a quick row may take ten, a number that is to be trusted may not.
LEAST_STEPS = 50


def ensemble_budget(budget: Budget) -> Budget:
    """The budget of an ensemble's members, with at least :data:`LEAST_STEPS` gradient steps."""
    return replace(budget, max_iter=max(budget.max_iter, LEAST_STEPS))


#: The attack of this name in the registry, from random starts.
TARGETED_PGD = replace(ATTACKS["pgd_targeted"], make=TargetedDescent)


class Ensemble(Cascade):
    """A cascade with the budget of ensembles."""

    def __init__(self, estimator: Any, budget: Budget, members: Sequence[Member]) -> None:
        super().__init__(estimator, ensemble_budget(budget), members)


class ImageEnsemble(Ensemble):
    """An ensemble on images that also looks whether the model hides its gradients."""

    def __init__(self, estimator: Any, budget: Budget, members: Sequence[Member]) -> None:
        *others, last = members
        # Behind a defence at test time what is about it, too; Square comes last, on what gradients have left.
        super().__init__(estimator, budget, [*others, *on_defence(estimator), last])

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        attacked = super().attack(x, y, seed)
        by_square = sum(detail.broken_by == "square" for detail in attacked.details)
        by_gradients = sum(detail.broken_by is not None for detail in attacked.details) - by_square
        budget = self.budget
        looked = check_gradients(self.estimator, x, y, budget.norm, budget.eps, seed, budget.batch_size)
        flags = {
            **attacked.flags,
            **looked.flags(),
            "left_by_gradients": len(x) - by_gradients,
            "square_beats_gradients": by_square,
        }
        return replace(attacked, flags=flags)


class SideBySide(PreparedAttack):
    """In retrieval: all members on all samples, since ranks can always get worse; the worst rank counts.

    :param members: Names, each with what makes the attack.
    """

    def __init__(self, estimator: Any, budget: Budget, members: Sequence[tuple[str, Make]]) -> None:
        super().__init__(estimator, budget)
        self.prepared: dict[str, PreparedAttack] = {}
        for name, make in members:
            self.prepared[name] = make(estimator, ensemble_budget(budget))
            self.prepared[name].name = name

    def __repr__(self) -> str:
        return f"SideBySide({', '.join(self.prepared)})"

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        versions = []
        for name, member in self.prepared.items():
            attacked = member(x, y, member_seed(seed, name))
            # A member may be an ensemble itself, which knows better who it was.
            details = [replace(said, broken_by=said.broken_by or name) for said in attacked.said_of_each()]
            versions.append(replace(attacked, details=details))
        return replace(versions[0], versions=tuple(versions[1:]))


def by_task(
    estimator: Any, budget: Budget, classification: Make, retrieval: Make, samples: Make | None = None
) -> PreparedAttack:
    """Make one of several, whatever the estimator is for."""
    task = task_of(estimator)
    if task == SAMPLES and samples is not None:
        return samples(estimator, budget)
    return (retrieval if task == RETRIEVAL else classification)(estimator, budget)


def on_one_modality(estimator: Any, budget: Budget, modality: str) -> PreparedAttack:
    """Make the ensemble on one modality of samples, of what fits it."""
    if is_the_text(estimator, modality, budget):
        quick = [ATTACKS[f"{name}{EACH}"].on(modality) for name in ("bert_attack", "character_attack")]
        every = replace(EVERY_WORD, make=partial(EVERY_WORD.make, modality=modality))
        return Ensemble(estimator, budget, [every, *quick])
    square = ATTACKS[f"square{EACH}"]
    members = [ATTACKS[f"apgd{EACH}"], replace(ATTACKS[f"pgd{EACH}"], make=_MARGIN)]
    members += [ATTACKS[f"{loss}{EACH}"] for loss in losses_on_votes(estimator.multimodal)]
    members += [square] if square.fits(estimator, modality, budget) else []
    return Ensemble(estimator, budget, [member.on(modality) for member in members])


#: Our descent on the margin, from several starts.
_MARGIN = partial(Descent, loss="margin", starts=2)
_ALL_AT_ONCE = (
    ATTACKS["pgd_multimodal"],
    replace(ATTACKS["pgd_multimodal"], name="pgd_multimodal_margin", make=_MARGIN),
)


_IMAGE = partial(ImageEnsemble, members=("apgd", TARGETED_PGD, "square"))
_TEXT = ("bert_attack", "bert_attack_margin", "character_attack", "character_attack_margin")
_EVERYWHERE = (ZERO_SHOT, PAIRS, RETRIEVAL)


def _in_ensemble(*parts: costs.CostOf) -> costs.CostOf:
    """The cost of members, whose budget has more steps."""
    return lambda budget, texts: costs.total(*parts)(ensemble_budget(budget), texts)


def _on_defence(budget: Budget, texts: costs.Texts) -> costs.Cost:
    """Of all that is about a defence at test time."""
    return alarm_cost(budget, texts).times(texts.on_defence)


def _votes(budget: Budget, texts: costs.Texts) -> costs.Cost:
    """Of all losses on votes that the model allows."""
    return costs.of_votes(budget, texts).times(texts.votes)


def _side_by_side(*members: tuple[str, Make] | str) -> Make:
    named = [(member, ATTACKS[member].make) if isinstance(member, str) else member for member in members]
    return partial(SideBySide, members=named)


register(
    AttackEntry(
        "worst_image",
        "worst",
        "white box",
        f"apgd, then descent towards each of the {MOST_TARGETS} most likely other classes, then (behind a defence at "
        f"test time) bpda and alarm, then square, each on what is left; at least {LEAST_STEPS} steps; looks for hidden "
        "gradients",
        partial(
            by_task,
            classification=_IMAGE,
            retrieval=_side_by_side(("gallery", also_on_gallery(_IMAGE)), "similarity_pgd"),
        ),
        tasks=_EVERYWHERE,
        within_radius=True,
        cost=_in_ensemble(
            costs.auto_descent, targeted, _on_defence, costs.queries, lambda budget, texts: LOOK, costs.DESCENT
        ),
    )
)
register(
    AttackEntry(
        "worst_text",
        "worst",
        "black box",
        "every word that the language model knows and every typing error, all competing, for each image by itself; "
        "then the four quick text attacks, each on what is left",
        partial(
            by_task,
            classification=partial(Ensemble, members=(EVERY_WORD, *_TEXT)),
            retrieval=_side_by_side((EVERY_WORD.name, EVERY_WORD.make), *_TEXT),
        ),
        tasks=_EVERYWHERE,
        words=True,
        cost=costs.total(every_word, costs.words, costs.words, costs.edits, costs.edits),
    )
)
register(
    AttackEntry(
        f"worst{EACH}",
        "worst",
        "white box",
        "apgd, then pgd on the margin from two starts, then on its votes where the fusion weighs them (confidence, "
        "agreement), then square on images, on one modality, each on what is left; "
        f"at least {LEAST_STEPS} steps. On a text every word that the language model knows and every typing error",
        on_one_modality,
        tasks=(SAMPLES,),
        words=True,
        fits=lambda estimator, modality, budget: modality in budget.balls or is_the_text(estimator, modality, budget),
        within_radius=True,
        cost=_in_ensemble(costs.auto_descent, costs.steps(2, 4), _votes, costs.queries),
    )
)
register(
    AttackEntry(
        "worst_multimodal",
        "worst",
        "white box",
        "joint (with any word that the language model knows), independent and co_attack, each on what is left by those "
        "before and by the two others (in retrieval set_level_guidance, independent and co_attack; on samples "
        f"pgd_multimodal on the cross-entropy and on the margin); at least {LEAST_STEPS} steps",
        partial(
            by_task,
            classification=partial(Ensemble, members=(JOINT_OF_EVERY_WORD, "independent", "co_attack")),
            retrieval=_side_by_side("set_level_guidance", "independent", "co_attack"),
            samples=partial(Ensemble, members=_ALL_AT_ONCE),
        ),
        tasks=(*_EVERYWHERE, SAMPLES),
        words=True,
        within_radius=True,
        goes_on_after=("worst_image", "worst_text", f"worst{EACH}"),
        cost=_in_ensemble(JOINT_COST, every_word, DESCENT_AND_WORDS, DESCENT_AND_WORDS, scales),
    )
)
