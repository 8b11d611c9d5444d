"""Further attacks on a defence that computes at test time: around its steps, and on what it goes by.

Whoever attacks through the defence follows its steps. These two do not, so they find out where these gradients mislead.
Where no defence computes at test time, or it has no alarm, both are a plain descent: audits do not run them there.
"""

from __future__ import annotations

from typing import Any

from art.attacks.attack import EvasionAttack

from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.evasion.alarm_evasion import AlarmEvasion
from art_multimodal.evaluations.suite import costs
from art_multimodal.evaluations.suite.entry import ZERO_SHOT, AttackEntry, register
from art_multimodal.evaluations.suite.image import ball, image_attack, pgd
from art_multimodal.evaluations.suite.selection import ALARM, has_alarm


def bpda(estimator: Any, budget: Budget, seed: int) -> EvasionAttack:
    """A descent for which all that the defence computes is constant."""
    defence = estimator.test_time_defence
    if defence is not None:
        estimator = estimator.with_test_time_defence(defence.with_params(gradient="bpda"))
    return pgd(estimator, budget, seed)


def alarm(estimator: Any, budget: Budget, seed: int) -> EvasionAttack:
    """A descent on the bare model that keeps the defence from acting."""
    if has_alarm(estimator):
        return AlarmEvasion(estimator, **ball(budget, seed))
    return pgd(estimator, budget, seed)


def on_defence(estimator: Any) -> tuple[str, ...]:
    """Names of the attacks that are about the defence of an estimator, which ensembles make, too."""
    if getattr(estimator, "test_time_defence", None) is None:
        return ()
    return ("bpda", ALARM) if has_alarm(estimator) else ("bpda",)


def alarm_cost(budget: Budget, texts: costs.Texts) -> costs.Cost:
    """Each step asks the bare model, the alarm, and the defended model, which are taken to cost the same."""
    return costs.Cost(3 * budget.max_iter + 6, 2 * budget.max_iter + 2)


register(
    AttackEntry(
        "bpda",
        "image",
        "white box",
        "descent for which what a defence at test time computes is constant (BPDA); behind one alone (ours)",
        image_attack(bpda),
        tasks=(ZERO_SHOT,),
        within_radius=True,
        cost=costs.DESCENT,
        of_defence=True,
    )
)
register(
    AttackEntry(
        ALARM,
        "image",
        "white box",
        "descent on the bare model that keeps the alarm of a defence at test time silent; behind one alone (ours)",
        image_attack(alarm),
        tasks=(ZERO_SHOT,),
        within_radius=True,
        cost=alarm_cost,
        of_defence=True,
    )
)
