"""Attacks that know how a fusion works and that the comparison leaves out: of an equilibrium, and of streams.

    python -m benchmarks.fusions.mechanisms

Whether the implicit gradient of an equilibrium hides something, how much slower its solver can be made, and what a
shift in time does.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.attacks.evasion import SquareAttack

from art_multimodal import FusionClassifier, for_each_sample
from art_multimodal.attacks.evasion import (
    ProjectedGradientDescentMultimodal,
    SlowDownAttack,
    SurrogateGradient,
    TimeShift,
    unrolled_classifiers,
)
from art_multimodal.functional.statistics import proportion_ci95
from benchmarks.fusions.contenders import CONTENDERS, trained
from benchmarks.fusions.doubt import corners
from benchmarks.fusions.problems import PROBLEMS, Problem

RESULTS = Path(__file__).parents[1] / "results" / "fusions_mechanisms.json"
SEED, STEPS, UNROLLED, QUERIES, SHIFTS = 0, 20, (1, 5, 20), 200, (1, 3, 8)
#: Whose streams are shifted, and on which data.
STREAMS, SHIFTED = "spoken_redundant", ("concat", "late", "mcmult")
PROTOCOL = (
    "`deq` on `{problem}` (seed {seed}, {count} test samples) at the middle radius, one modality attacked. Each row: "
    "the share that is right after PGD on cross-entropy and on the margin, {steps} steps from one random start each, "
    "with these gradients and judged by the model itself; without gradients Square with {queries} queries on images, "
    "and as many corners of the ball at random. The solver: slow-down attacks of {steps} steps within the same radii."
)


def gradients_of_equilibrium(classifier: FusionClassifier, problem: Problem, most: int) -> dict[str, Any]:
    """What is left under each kind of gradient, and without."""
    x, y = (part[:most] for part in problem.test)
    rows: dict[str, list[np.ndarray]] = {}
    for modality, radii in problem.radii.items():
        for name, right in _under_each(classifier, modality, radii[1], x, y):
            rows.setdefault(name, []).append(right)
    rows["the worst of these"] = list(np.all([rows[name] for name in rows], axis=0))
    table = [[name, *map(_share, found), _share(np.all(found, axis=0))] for name, found in rows.items()]
    return {
        "title": "Gradients of an equilibrium",
        "header": ["gradients", *problem.radii, "the worst of them"],
        "rows": table,
    }


def _under_each(
    classifier: FusionClassifier, modality: str, eps: float, x: np.ndarray, y: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    def right(attacked: np.ndarray) -> np.ndarray:
        return classifier.predict_labels(attacked, batch_size=200) == y

    def pgd(loss: str) -> Callable[[FusionClassifier], ProjectedGradientDescentMultimodal]:
        return lambda on: ProjectedGradientDescentMultimodal(
            on, {modality: eps}, loss=loss, max_iter=STEPS, batch_size=200, seed=SEED, verbose=False
        )

    clean = right(x)
    yield "clean", clean
    unrolled = unrolled_classifiers(classifier, UNROLLED)
    ways = {"implicit": classifier, **{f"unrolled, {n} steps": on for n, on in zip(UNROLLED, unrolled, strict=True)}}
    for name, on in ways.items():
        tried = [
            SurrogateGradient(classifier, pgd(loss), [on], batch_size=200, verbose=False).generate(x, y)
            for loss in ("cross_entropy", "margin")
        ]
        yield name, clean & np.all([right(attacked) for attacked in tried], axis=0)
    tried = [corners(classifier, modality, eps, x, y, SEED, QUERIES)]
    if classifier.modalities[modality].kind == "image":
        np.random.seed(SEED)
        square: dict[str, Any] = {"max_iter": QUERIES, "nb_restarts": 1, "batch_size": 200, "verbose": False}
        tried.append(for_each_sample(lambda on: SquareAttack(on, eps=eps, **square), classifier, x, y, modality))
    yield "none", clean & np.all([right(attacked) for attacked in tried], axis=0)


def slowed_down(classifier: FusionClassifier, problem: Problem, most: int) -> dict[str, Any]:
    """How many steps the solver takes, before and after an attack on them."""
    x, y = (part[:most] for part in problem.test)
    radii = {name: of[1] for name, of in problem.radii.items()}
    rows = []
    for name, eps in {**{one: {one: radius} for one, radius in radii.items()}, "all": radii}.items():
        attack = SlowDownAttack(classifier, eps, max_iter=STEPS, batch_size=200, seed=SEED, verbose=False)
        slow = attack.generate(x)
        before, after = attack.before, attack.after
        right = classifier.predict_labels(slow, batch_size=200) == y
        rows.append(
            [
                name,
                f"{before.steps.mean():.1f} → {after.steps.mean():.1f}",
                f"{before.steps.max()} → {after.steps.max()}",
                f"{int((~before.converged).sum())} → {int((~after.converged).sum())} of {len(x)}",
                _share(right),
            ]
        )
    header = ["attacked", "mean steps of the solver", "most", "not converged", "still right"]
    return {"title": "The solver of an equilibrium, slowed down", "header": header, "rows": rows}


def shifted(problem: Problem, most: int) -> dict[str, Any]:
    """What shifts of a stream in time do."""
    x, y = (part[:most] for part in problem.test)
    (stream,) = (modality.name for modality in problem.modalities if modality.over_time)
    rows = []
    for name in SHIFTED:
        classifier = trained(CONTENDERS[name], problem, SEED)
        right = [classifier.predict_labels(x, batch_size=200) == y]
        for most_steps in SHIFTS:
            attack = TimeShift(classifier, stream, max_shift=most_steps, batch_size=200, verbose=False)
            right.append(right[-1] & (classifier.predict_labels(attack.generate(x, y), batch_size=200) == y))
        rows.append([name, *map(_share, right)])
    header = ["fusion", "clean", *(f"up to {steps}" for steps in SHIFTS)]
    return {
        "title": f"`{stream}` of `demo:{STREAMS.replace('_', '/')}` shifted by steps",
        "header": header,
        "rows": rows,
    }


def _share(right: np.ndarray) -> str:
    low, high = proportion_ci95(int(right.sum()), len(right)) or (float("nan"), float("nan"))
    return f"{right.mean():.3f} ({low:.3f} to {high:.3f})"


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Attack, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problem", choices=list(PROBLEMS), default="views")
    parser.add_argument("--samples", type=int, default=60, help="most test samples")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    problem = PROBLEMS[options.problem]()
    classifier = trained(CONTENDERS["deq"], problem, SEED)
    tables = []
    for table in (
        lambda: gradients_of_equilibrium(classifier, problem, options.samples),
        lambda: slowed_down(classifier, problem, options.samples),
        lambda: shifted(PROBLEMS[STREAMS](), options.samples),
    ):
        tables.append(table())
        for row in (tables[-1]["header"], *tables[-1]["rows"]):
            print("  ".join(row), flush=True)
    count = min(options.samples, len(problem.test[1]))
    result = {
        "protocol": PROTOCOL.format(
            problem=f"demo:{options.problem}", seed=SEED, count=count, steps=STEPS, queries=QUERIES
        ),
        "command": "python -m benchmarks.fusions.mechanisms",
        "tables": tables,
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
