"""The image ensemble against ART's AutoAttack with the same budget; about two minutes.

python benchmarks/worst_case.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.attacks.evasion import AutoAttack, AutoProjectedGradientDescent, SquareAttack
from victims import digits_victim

from art_multimodal.attacks.art_context import global_seed
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.evaluations.suite import ATTACKS, Budget
from art_multimodal.evaluations.suite.image import inside_budget
from art_multimodal.evaluations.suite.worst import LEAST_STEPS
from art_multimodal.functional.statistics import proportion_ci95

ROOT = Path(__file__).parents[1]
PROTOCOL = (
    f"The first held-out digits of demo:digits that are named right, l_inf, {LEAST_STEPS} gradient steps from one "
    "random start for every attack along gradients, 500 queries for every random search, one seed. worst_image: ART's "
    "APGD on cross-entropy, our descent towards each of the nine other classes, ART's Square. AutoAttack: ART's, with "
    "its APGD on cross-entropy and on the difference of logits, and its Square. Targeted: besides, its APGD on the "
    "difference of logits towards each of the nine other classes. Accuracy over the digits that were right, after "
    "bringing what came back into the budget."
)

#: What an attack makes of images and labels.
Contender = Callable[[np.ndarray, np.ndarray], np.ndarray]


def contenders(estimator: ZeroShotClassifier, budget: Budget, seed: int) -> dict[str, Contender]:
    """Each attack by its name."""

    def apgd(loss: str) -> AutoProjectedGradientDescent:
        return AutoProjectedGradientDescent(
            estimator,
            norm=np.inf,
            eps=budget.eps,
            eps_step=2 * budget.eps,
            max_iter=LEAST_STEPS,
            nb_random_init=1,
            batch_size=budget.batch_size,
            loss_type=loss,
            verbose=False,
        )

    def auto(attacks: list[Any], targeted: bool, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        settings = {"norm": np.inf, "eps": budget.eps, "eps_step": 2 * budget.eps, "batch_size": budget.batch_size}
        attack = AutoAttack(estimator, attacks=attacks, targeted=targeted, parallel_pool_size=0, **settings)
        with global_seed(seed):
            return inside_budget(attack.generate(x.copy(), y), x, budget)

    def untargeted(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        # Its Square as AutoAttack sets it; each iteration is a new query.
        square = SquareAttack(estimator, eps=budget.eps, max_iter=500, p_init=0.8, nb_restarts=1, verbose=False)
        return auto([apgd("cross_entropy"), apgd("difference_logits_ratio"), square], False, x, y)

    def targeted(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        after = untargeted(x, y)
        left = estimator.predict_labels(after) == y
        if left.any():
            after[left] = auto([apgd("difference_logits_ratio")], True, x[left], y[left])
        return after

    return {
        "worst_image": lambda x, y: ATTACKS["worst_image"].run(estimator, x, y, budget, seed).images,
        "AutoAttack": untargeted,
        "AutoAttack, targeted too": targeted,
    }


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--digits", type=int, default=100)
    parser.add_argument("--eps", type=float, nargs="+", default=[6.5, 8.0], help="in 255ths")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "worst_case.json")
    options = parser.parse_args(arguments)
    estimator, x, y = digits_victim()
    right = estimator.predict_labels(x) == y
    x, y = x[right][: options.digits], y[right][: options.digits]
    rows = []
    for eps in options.eps:
        budget = Budget("inf", eps / 255, eps / 255 / 4, LEAST_STEPS, 500, len(x))
        for name, attack in contenders(estimator, budget, 0).items():
            started = time.process_time()
            left = int((estimator.predict_labels(attack(x, y)) == y).sum())
            seconds = time.process_time() - started
            low, high = proportion_ci95(left, len(x)) or (np.nan, np.nan)
            rows.append([f"{eps:g}/255", name, f"{left / len(x):.2f}", f"{low:.2f} to {high:.2f}", f"{seconds:.0f}"])
            print("  ".join(cell.ljust(width) for cell, width in zip(rows[-1], (9, 26, 6, 14, 5), strict=True)))
    result = {
        "protocol": PROTOCOL,
        "command": "python benchmarks/worst_case.py",
        "settings": {"digits": len(x), "eps": [eps / 255 for eps in options.eps]},
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
        "table": {"header": ["eps", "attack", "accuracy", "95 %", "CPU seconds"], "rows": rows},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
