"""What is measured of one defence on one model: for each image whether the answer is right, under each attack."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from art_multimodal import ZeroShotClassifier
from art_multimodal.attacks.evasion import AlarmEvasion, ProjectedGradientDescentDualEncoder
from art_multimodal.defences.test_time import TestTimeDefence
from art_multimodal.evaluations.suite import Budget
from art_multimodal.evaluations.suite.image import ImageAttack, square
from benchmarks.test_time.defences import BARE, defence_of, images_of
from benchmarks.test_time.models import STEPS, Problem

#: Queries of Square, draws that attacks on random defences average over, and asks of one and the same image.
QUERIES, DRAWS, ASKS = 30, 2, 10
#: Forward passes of an answer from which on it is a mean over views, whose gradient needs no further draws.
SEVERAL_VIEWS = 8
#: Images that pass the tower at a time, views counted.
AT_ONCE = 500
#: Attacks that know of no defence, and those that know it.
UNAWARE = ("naive", "transfer", "universal", "noise")
ADAPTIVE = ("cross_entropy", "margin", "bpda", "alarm", "square")


def measured(problem: Problem, name: str) -> dict[str, np.ndarray]:
    """Which images are right, before and under each attack, and seconds of CPU that attacks and answers took.

    Of random defences also which have more than one label in several asks (``lottery``) and which are right in all of
    them (``asked``), without an attack.
    """
    defence, count = defence_of(name, problem.bare, problem.others), images_of(name)
    x, y = problem.x[:count], problem.y[:count]
    answering = attacked = problem.bare
    if defence is not None:
        # Who answers and who is attacked draw by other seeds.
        answering = problem.bare.with_test_time_defence(defence.with_params(seed=2 * problem.seed))
        attacked = problem.bare.with_test_time_defence(_drawing(defence, problem.seed))
    size = max(8, AT_ONCE // (1 if defence is None else defence.passes().forward))
    made: dict[str, Callable[[], np.ndarray]] = {"clean": lambda: x}
    made |= {attack: lambda images=images: images[:count] for attack, images in problem.unaware.items()}
    made |= _adaptive(problem, defence, attacked, x, y, size)
    found = {}
    for attack, make in made.items():
        started = time.process_time()
        images = make()
        between = time.process_time()
        found[attack] = answering.predict_labels(images, batch_size=size) == y
        if attack == "clean":
            found["seconds/answer"] = np.array((time.process_time() - between) / count)
        elif attack not in UNAWARE:
            found[f"seconds/{attack}"] = np.array(time.process_time() - started)
    if defence is not None and defence.random:
        verdicts = answering.verdicts(x, ASKS, batch_size=size)
        found |= {"lottery": (verdicts != verdicts[0]).any(axis=0), "asked": (verdicts == y).all(axis=0)}
    if name == BARE and problem.training_seconds:
        found["seconds/training"] = np.array(problem.training_seconds)
    return found


def _drawing(defence: TestTimeDefence, seed: int) -> TestTimeDefence:
    """The defence as attacks see it."""
    draws = DRAWS if defence.random and defence.passes().forward < SEVERAL_VIEWS else 1
    return defence.with_params(seed=2 * seed + 1, draws=draws)


def _adaptive(
    problem: Problem,
    defence: TestTimeDefence | None,
    attacked: ZeroShotClassifier,
    x: np.ndarray,
    y: np.ndarray,
    size: int,
) -> dict[str, Callable[[], np.ndarray]]:
    """Attacks that know the defence; of the bare model those that are not the naive one."""
    ball: dict[str, Any] = {"eps": problem.eps, "eps_step": problem.eps / 4, "max_iter": STEPS}
    ball |= {"seed": problem.seed, "verbose": False, "batch_size": size}
    budget = Budget(eps=problem.eps, max_queries=QUERIES, batch_size=size)

    def descent(victim: ZeroShotClassifier, loss: str, starts: int) -> np.ndarray:
        attack = ProjectedGradientDescentDualEncoder(victim, loss=loss, num_random_init=starts, **ball)
        return attack.generate(x, y)

    made: dict[str, Callable[[], np.ndarray]] = {
        "margin": lambda: descent(attacked, "margin", 0),
        "square": lambda: ImageAttack(attacked, budget, square).attack(x, y, problem.seed).x,
    }
    if defence is None:
        return made
    constant = problem.bare.with_test_time_defence(_drawing(defence, problem.seed).with_params(gradient="bpda"))
    made["cross_entropy"] = lambda: descent(attacked, "cross_entropy", 1)
    made["bpda"] = lambda: descent(constant, "cross_entropy", 1)
    if defence.has_alarm:
        made["alarm"] = lambda: AlarmEvasion(attacked, num_random_init=1, **ball).generate(x, y)
    return made


def together(cell: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A cell with what its attacks leave together.

    ``informed``: those that know the defence. ``adaptive``: these and the naive one, which who knows may try, too.
    ``worst``: all, and no attack at all.
    """
    informed = np.logical_and.reduce([cell[attack] for attack in ADAPTIVE if attack in cell])
    unaware = np.logical_and.reduce([cell[attack] for attack in UNAWARE])
    adaptive = informed & cell["naive"]
    return {**cell, "informed": informed, "adaptive": adaptive, "worst": adaptive & unaware & cell["clean"]}
