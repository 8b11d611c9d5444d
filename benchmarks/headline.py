"""Is an audit's image row beaten by anything? By `worst_image`, or by an attack that shares no code with either.

python benchmarks/headline.py [--samples 60]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain_pgd import PlainPGD, Scores

from art_multimodal import FusionClassifier, ZeroShotClassifier, image_text_pairs, load_model
from art_multimodal.datasets import open_data
from art_multimodal.evaluations.audit.settings import AuditSettings
from art_multimodal.evaluations.suite import ATTACKS, PAIRS, ZERO_SHOT, Budget, select_attacks
from art_multimodal.functional.statistics import proportion_ci95
from art_multimodal.models.fusion import take_rows

ROOT = Path(__file__).parents[1]
#: Models, norms and radii (in 255ths for inf).
CASES = (
    ("demo:digits", "inf", 1.0),
    ("demo:digits", "inf", 4.0),
    ("demo:digits", "inf", 8.0),
    ("demo:digits", "2", 0.5),
    ("demo:digits/robust", "inf", 8.0),
    ("demo:digits/robust", "2", 1.0),
    ("demo:shapes/concat", "inf", 4.0),
    ("demo:shapes/cross_attention", "inf", 4.0),
)
PROTOCOL = (
    "The first samples of each data set that are named right. image: worst case over the gradient attacks in the "
    "image row of an audit by default (10 steps); square is left out, which could only lower it. quick: the same "
    "without pgd_targeted. worst_image: the ensemble of that name, with 10 queries for square. plain: projected "
    "gradient descent in plain torch that shares no code with the package, 100 steps with 5 random starts of "
    "cross-entropy and margin each and one towards each of the nine most likely other classes, each on what is left, "
    "every image that is tried looked at. Samples that are left, and the 95 % interval of the image row's share."
)


def victim(name: str, samples: int) -> tuple[FusionClassifier | ZeroShotClassifier, np.ndarray, np.ndarray, Scores]:
    """A classifier, samples that it has right, their labels, and its scores as plain torch."""
    model = load_model(name)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    data = open_data("demo:shapes" if "shapes" in name else "demo:digits")
    listed = [data.read(index) for index in range(min(len(data), 2 * samples))]
    images, labels = np.stack([one.image for one in listed]), np.array([one.label for one in listed])
    if "shapes" in name:
        estimator = FusionClassifier(model, device_type="cpu")
        labels = np.array([estimator.class_names.index(name) for name in data.class_names])[labels]
        x = image_text_pairs(images, [one.text or "" for one in listed])
    else:
        estimator = ZeroShotClassifier(model, data.class_names, data.templates, device_type="cpu")
        x = images
    rows = np.flatnonzero(estimator.predict(x).argmax(axis=1) == labels)[:samples]
    if "shapes" in name:
        tokens = model.tokenize([listed[row].text or "" for row in rows])

        def scores(moved: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
            return model(moved, take_rows(tokens, numbers)).float()
    else:
        classes = estimator.class_features()

        def scores(moved: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
            return model.logit_scale.exp() * model.encode_image(moved) @ classes.T

    return estimator, x[rows], labels[rows].astype(np.int64), scores


def measured(name: str, norm: str, eps: float, samples: int) -> dict[str, Any]:
    """Who is left after each contender."""
    estimator, x, y, scores = victim(name, samples)
    radius = eps / 255 if norm == "inf" else eps
    budget = AuditSettings(name, "", norm=norm, eps=radius, batch_size=100).budget()
    task = PAIRS if isinstance(estimator, FusionClassifier) else ZERO_SHOT
    rows = [attack for attack in select_attacks("image", estimator.nb_classes, task) if attack != "square"]

    def left(attack: str) -> np.ndarray:
        return np.concatenate(
            [
                ATTACKS[attack].run(estimator, x[start : start + 100], y[start : start + 100], budget, start).labels
                == y[start : start + 100]
                for start in range(0, len(x), 100)
            ]
        )

    started = time.process_time()
    remaining = {attack: left(attack) for attack in rows}
    seconds = time.process_time() - started
    quick = np.all([kept for attack, kept in remaining.items() if attack != "pgd_targeted"], axis=0)
    image = quick & remaining["pgd_targeted"]
    gradients_only = Budget(norm, radius, budget.eps_step, budget.max_iter, 10, 100)
    worst = ATTACKS["worst_image"].run(estimator, x, y, gradients_only, 0).labels == y
    pictures = torch.from_numpy(np.ascontiguousarray(x["image"] if x.dtype.names else x))
    plain = ~PlainPGD(math.inf if norm == "inf" else 2.0, radius).broken(scores, pictures, torch.from_numpy(y)).numpy()
    return {
        "model": name,
        "eps": f"{eps:g}/255" if norm == "inf" else f"{eps:g} (l_2)",
        "n": len(x),
        "quick": int(quick.sum()),
        "image": int(image.sum()),
        "worst_image": int(worst.sum()),
        "plain": int(plain.sum()),
        "missed": int((image & ~plain).sum()),
        "seconds": round(seconds, 1),
    }


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--cases", type=int, nargs="+", default=list(range(len(CASES))), help="numbers of cases")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "headline.json")
    options = parser.parse_args(arguments)
    columns = ("model", "eps", "n", "quick", "image", "95 %", "worst_image", "plain", "missed")
    found = []
    for number in options.cases:
        case = measured(*CASES[number], options.samples)
        low, high = proportion_ci95(case["image"], case["n"]) or (math.nan, math.nan)
        found.append({**case, "95 %": f"{low:.2f} to {high:.2f}"})
        print("  ".join(f"{column} {found[-1][column]}" for column in (*columns, "seconds")), flush=True)
        chosen = "" if options.cases == list(range(len(CASES))) else f" --cases {' '.join(map(str, options.cases))}"
        result = {
            "protocol": PROTOCOL + " missed: left by the image row, and misled by plain.",
            "command": f"python benchmarks/headline.py --samples {options.samples}{chosen}",
            "settings": {"samples": options.samples},
            "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
            "cases": found,
            "table": {"header": list(columns), "rows": [[case[column] for column in columns] for case in found]},
        }
        # After each case: none of them is lost.
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
