"""What is measured of one base classifier: for each test sample what is certified, and what an attack leaves."""

from __future__ import annotations

import time
from itertools import product

import numpy as np

from art_multimodal import FusionClassifier
from art_multimodal.attacks.evasion import VoteFlippingAttack
from art_multimodal.estimators.certification import AblatedEnsemble, Certificates
from benchmarks.certificates.bases import accuracy
from benchmarks.certificates.methods import ATTACKED, METHODS, Method, without
from benchmarks.certificates.problems import ATTACKED as SAMPLES
from benchmarks.certificates.problems import Problem

#: Edits of the first and of the second modality, the smaller budgets first.
BUDGETS = tuple(sorted(product(range(3), repeat=2), key=lambda budget: (sum(budget), budget)))
#: Of the attack.
STEPS, RESTARTS = 8, 1

Budget = tuple[int, int]


def measured(classifier: FusionClassifier, base: str, problem: Problem) -> dict[str, np.ndarray]:
    """By the name of a method and a budget, ``"mmcert/1,0"``, which samples are certified to be right; and costs.

    :raises AssertionError: If an attack within a budget misleads about a sample that is certified for it.
    """
    found: dict[str, np.ndarray] = {"base": np.array(accuracy(classifier, *problem.test))}
    if base.startswith("only-"):
        # It has never seen the other modality, and is shown nothing of it.
        hidden = 1 - int(base.removeprefix("only-"))
        return found | _certified(without(hidden), f"without-{hidden}", classifier, problem)[1]
    for name, method in METHODS.items():
        if method.fits(problem):
            certificates, cell = _certified(method, name, classifier, problem)
            found |= cell
            if name == ATTACKED:
                found |= attacked(method.ensemble(classifier, problem), certificates, problem)
    return found


def _certified(
    method: Method, name: str, classifier: FusionClassifier, problem: Problem
) -> tuple[Certificates, dict[str, np.ndarray]]:
    (x, y), ensemble = problem.test, method.ensemble(classifier, problem)
    started = time.process_time()
    certificates = ensemble.certify(x)
    seconds = time.process_time() - started
    passes = ensemble.passes
    right = certificates.predictions == y
    found = {
        # Of a random draw the answer is what most votes say, whether it is certain or not.
        f"{name}/smoothed": np.array([one.votes.argmax() for one in certificates]) == y,
        f"{name}/seconds": np.array(seconds / len(x)),
        f"{name}/votes": np.array(passes["votes"] / len(x)),
        f"{name}/views": np.array(sum(count for of, count in passes.items() if of != "votes") / len(x)),
    }
    return certificates, found | {
        f"{name}/{budget_name(budget)}": right & certificates.covers(budget_of(problem, budget)) for budget in BUDGETS
    }


def attacked(ensemble: AblatedEnsemble, certificates: Certificates, problem: Problem) -> dict[str, np.ndarray]:
    """Which of the first samples no attack misleads, ``"attacked/1,0"``: who may do more may do less.

    :raises AssertionError: If one of them is certified, so that the attack or the certificate is wrong.
    """
    x, y = (part[:SAMPLES] for part in problem.test)
    right = dict.fromkeys(BUDGETS, certificates.predictions[:SAMPLES] == y)
    for budget in BUDGETS[1:]:
        smaller = [other for other in BUDGETS if other != budget and other[0] <= budget[0] and other[1] <= budget[1]]
        left = np.all([right[other] for other in smaller], axis=0)
        if left.any():
            attack = VoteFlippingAttack(
                ensemble, budget_of(problem, budget), max_iter=STEPS, restarts=RESTARTS, verbose=False
            )
            changed = attack.generate(x[left], y[left])
            left[left] = ensemble.predict(changed).argmax(axis=1) == y[left]
        right[budget] = left
        broken = ~left & (certificates.predictions[:SAMPLES] == y)
        broken &= certificates[:SAMPLES].covers(budget_of(problem, budget))
        if broken.any():
            raise AssertionError(
                f"An attack with budget {budget} misleads about samples {np.flatnonzero(broken).tolist()}, which are "
                "certified for it: attack or certificate is wrong."
            )
    return {f"attacked/{budget_name(budget)}": of for budget, of in right.items()}


def budget_of(problem: Problem, budget: Budget) -> dict[str, int]:
    """Numbers of edits by the name of the modality."""
    return dict(zip(problem.elements, budget, strict=True))


def budget_name(budget: Budget) -> str:
    """As cells and tables write it."""
    return ",".join(map(str, budget))
