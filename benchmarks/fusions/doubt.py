"""Whether the fusion that came out on top stands under attacks that the table does not have.

    python -m benchmarks.fusions.doubt

Longer, from more starts, by ART's own code, at random, and with what misled other models.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.attacks.evasion import AutoProjectedGradientDescent, FastGradientMethod, SquareAttack

from art_multimodal import FusionClassifier, for_each_sample
from art_multimodal.attacks.evasion import ProjectedGradientDescentMultimodal
from art_multimodal.evaluations.single_source import SingleSource
from art_multimodal.functional.statistics import proportion_ci95
from art_multimodal.sample_arrays import with_field
from benchmarks.fusions.cells import STARTS, STEPS
from benchmarks.fusions.contenders import CONTENDERS, trained
from benchmarks.fusions.problems import PROBLEMS, Problem

RESULTS = Path(__file__).parents[1] / "results" / "fusions_doubt.json"
ON_TOP = "late, most-vulnerable, large"
#: Whose attacked samples are tried on it.
OTHERS = ("concat", "late", "concat, most-vulnerable, large")
LONGER, MORE_STARTS, DRAWN, QUERIES = 5, 5, 200, 1000
PROTOCOL = (
    "{name} on {count} test samples of {problem}, seed {seed}, at the largest radius, one modality attacked and the "
    "others as they are. After each row are left the samples that are right under it and all rows before it."
)


def examined(name: str, problem_name: str, seed: int, most: int | None = None) -> dict[str, Any]:
    """What is left after attack upon attack, by modality."""
    problem = PROBLEMS[problem_name]()
    x, y = (part[:most] for part in problem.test)
    classifier = trained(CONTENDERS[name], problem, seed)
    others = [trained(CONTENDERS[other], problem, seed) for other in OTHERS]
    rows: dict[str, dict[str, np.ndarray]] = {}
    for modality, radii in problem.radii.items():
        eps = radii[-1]
        standing = classifier.predict_labels(x, batch_size=500) == y

        def tell(said: str, found: np.ndarray, of: str = modality) -> None:
            rows.setdefault(said, {})[of] = found.copy()

        tell("clean", standing)
        for said, longer, starts in (("as in the table", 1, STARTS), ("longer, from more starts", LONGER, MORE_STARTS)):
            source = SingleSource(
                classifier,
                {modality: eps},
                max_iter=longer * STEPS,
                num_random_init=starts,
                batch_size=500,
                seed=seed + longer,
                verbose=False,
            ).evaluate(x, y)
            standing &= source.sources[modality].attacked
            tell(said, standing)
        for said, attacked in _further(classifier, others, problem, modality, eps, x, y, standing, seed):
            standing &= classifier.predict_labels(attacked, batch_size=500) == y
            tell(said, standing)
    before = rows["clean"]
    for found in rows.values():
        # What does not go with a modality leaves it as it was.
        for modality in problem.radii:
            found.setdefault(modality, before[modality])
        before = found
    table = [
        [said, *(_cell(found[modality]) for modality in problem.radii), _cell(np.all(list(found.values()), axis=0))]
        for said, found in rows.items()
    ]
    return {
        "protocol": PROTOCOL.format(name=name, count=len(x), problem=problem_name, seed=seed),
        "command": "python -m benchmarks.fusions.doubt"
        + ("" if name == ON_TOP else f' --contender "{name}"')
        + ("" if problem_name == "views" else f" --problem {problem_name}")
        + ("" if most is None else f" --samples {most}"),
        "table": {"header": ["attack", *problem.radii, "the worst of them"], "rows": table},
    }


def _further(
    classifier: FusionClassifier,
    others: list[FusionClassifier],
    problem: Problem,
    modality: str,
    eps: float,
    x: np.ndarray,
    y: np.ndarray,
    standing: np.ndarray,
    seed: int,
) -> Any:
    """Samples under attacks that share no code with those of the table, or no knowledge of the model."""
    batch: dict[str, Any] = {"batch_size": 500, "verbose": False}

    def attacked(make: Any) -> np.ndarray:
        np.random.seed(seed)
        torch.manual_seed(seed)
        found, rows = x.copy(), np.flatnonzero(standing)
        if len(rows):
            found[rows] = for_each_sample(make, classifier, x[rows], y[rows], modality)
        return found

    # The ratio is of three classes at least.
    for loss in ("cross_entropy", "difference_logits_ratio")[: 2 if classifier.nb_classes > 2 else 1]:
        yield (
            f"ART's auto-PGD, {loss.replace('_', ' ')}",
            attacked(
                lambda on, loss=loss: AutoProjectedGradientDescent(
                    on, eps=eps, eps_step=eps / 4, max_iter=100, nb_random_init=2, loss_type=loss, **batch
                )
            ),
        )
    yield "ART's fast gradient", attacked(lambda on: FastGradientMethod(on, eps=eps, batch_size=500))
    if classifier.modalities[modality].kind == "image":
        yield (
            "ART's Square, no gradients",
            attacked(lambda on: SquareAttack(on, eps=eps, max_iter=QUERIES, nb_restarts=1, **batch)),
        )
    yield f"{DRAWN} corners of the ball at random", corners(classifier, modality, eps, x, y, seed, DRAWN)
    for other, name in zip(others, OTHERS, strict=True):
        attack = ProjectedGradientDescentMultimodal(
            other, {modality: eps}, loss="margin", max_iter=STEPS, num_random_init=1, seed=seed, **batch
        )
        yield f"what misled {name}", attack.generate(x, y)


def corners(
    classifier: FusionClassifier, modality: str, eps: float, x: np.ndarray, y: np.ndarray, seed: int, drawn: int
) -> np.ndarray:
    """Of corners of the ball drawn at random, for each sample one that misleads, if any does."""
    kind, rng, found = classifier.modalities[modality], np.random.default_rng(seed), x.copy()
    for _ in range(drawn):
        values = np.array(kind.values(x[modality]))
        moved = np.clip(values + eps * rng.choice((-1.0, 1.0), values.shape), *kind.clip_values).astype(np.float32)
        tried = with_field(x, modality, kind.with_values(x[modality], moved))
        wrong = classifier.predict_labels(tried, batch_size=500) != y
        found[wrong] = tried[wrong]
    return found


def _cell(right: np.ndarray) -> str:
    low, high = proportion_ci95(int(right.sum()), len(right)) or (float("nan"), float("nan"))
    return f"{right.mean():.3f} ({low:.3f} to {high:.3f})"


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Examine, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--contender", choices=list(CONTENDERS), default=ON_TOP)
    parser.add_argument("--problem", choices=list(PROBLEMS), default="views")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, help="most test samples")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    result = examined(options.contender, options.problem, options.seed, options.samples)
    for row in result["table"]["rows"]:
        print("  ".join(row))
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
