"""Do stronger attacks find less than the experiment's? Many steps from many starts, and many queries of Square.

And more of the same for pixels and words at once.

    python -m benchmarks.robust_training.doubt

Takes the models that ``python -m benchmarks.robust_training`` has trained.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from art_multimodal import ZeroShotClassifier
from art_multimodal.attacks.evasion import ProjectedGradientDescentDualEncoder
from art_multimodal.functional.statistics import mean_ci95
from art_multimodal.language.masked_language_model import load_masked_language_model
from benchmarks.robust_training.__main__ import RUNS
from benchmarks.robust_training.attacks import TextThreat, WorstWords, attack_images, survive_worst_words
from benchmarks.robust_training.captions import TEST_TEMPLATES
from benchmarks.robust_training.data import DATA, ROOT, cifar, part_of
from benchmarks.robust_training.evaluation import JOINT_EPS, Words
from benchmarks.robust_training.model import SmallCLIP
from benchmarks.robust_training.pretrain import FOLDER
from benchmarks.robust_training.recipes import RECIPES

RESULTS = ROOT / "benchmarks" / "results" / "robust_training_doubt.json"
#: Name, what it does to a classifier, images and labels within eps.
STEPS, STARTS, QUERIES = 100, 5, 2000


def left_by(
    classifier: ZeroShotClassifier, images: np.ndarray, labels: np.ndarray, eps: float, chosen: str
) -> np.ndarray:
    """Which images an attack leaves right, boolean ``[N]``; each of several starts works on what the others left."""
    left = np.ones(len(images), dtype=bool)
    for start in range(STARTS if chosen == "pgd" else 1):
        rows = np.flatnonzero(left)
        if not len(rows):
            break
        if chosen == "pgd":
            attack = ProjectedGradientDescentDualEncoder(
                classifier,
                eps=eps,
                eps_step=eps / 8,
                max_iter=STEPS,
                loss="margin" if start % 2 else "cross_entropy",
                seed=start,
                batch_size=256,
                verbose=False,
            )
            attacked = attack.generate(images[rows], labels[rows])
        else:
            attacked = attack_images(classifier, images[rows], labels[rows], eps, 1, ("square",), max_queries=QUERIES)
        left[rows] = classifier.predict(attacked, batch_size=256).argmax(axis=1) == labels[rows]
    return left


def joint(options: argparse.Namespace) -> dict[str, Any]:
    """What is left under pixels and words at once, over all training seeds."""
    words = Words.halved(load_masked_language_model(str(options.pretrained / "language_model")))
    test = part_of(cifar("test", options.data), np.arange(options.limit))
    found: dict[str, dict[str, np.ndarray]] = {}
    for name in options.joint_recipes:
        ours, left = np.zeros((2, len(options.seeds), options.limit), dtype=bool)
        for place, seed in enumerate(options.seeds):
            folder = options.runs / f"{name}-{seed}"
            model = SmallCLIP.load(folder / "model.safetensors", words.language_model.tokenizer)
            model.requires_grad_(False)
            with np.load(folder / "cells.npz") as cells:
                ours[place] = cells["joint"][: options.limit]
            all_prompts = ZeroShotClassifier(model, test.class_names, TEST_TEMPLATES, device_type="cpu")
            worst = WorstWords(all_prompts, TextThreat(words.language_model))
            for number, template in enumerate(TEST_TEMPLATES):
                rows = np.arange(number, options.limit, len(TEST_TEMPLATES))
                rows = rows[ours[place][rows]]
                if len(rows):
                    own = all_prompts.with_templates(template)
                    chosen = part_of(test, rows)
                    eps = JOINT_EPS / 255
                    left[place][rows] = survive_worst_words(
                        own, worst, number, chosen.images, chosen.labels, eps, 1, STEPS, STARTS
                    )
        found[name] = {"ours": ours, "left": left}
        print(name, ours.mean(), left.mean(), flush=True)
    best = found["joint-anchored"]["left"].mean(axis=0)
    rows, results = [], {}
    for name, entry in found.items():
        less = best - entry["left"].mean(axis=0)
        low, high = mean_ci95(less, (-1, 1)) or (np.nan, np.nan)
        results[name] = {
            "ours": float(entry["ours"].mean()),
            "left": float(entry["left"].mean()),
            "joint_anchored_less_this": {"value": float(less.mean()), "ci95": [low, high]},
        }
        said = f"{100 * less.mean():+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]" if name != "joint-anchored" else ""
        rows.append(
            [RECIPES[name].title, f"{100 * entry['ours'].mean():.1f}", f"{100 * entry['left'].mean():.1f}", said]
        )
    header = ["trained with", "the experiment's", "and the worst words' gradient", "joint-anchored less this"]
    return {"title": "Pixels and words at once", "header": header, "rows": rows, "results": results}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--pretrained", type=Path, default=FOLDER)
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--recipes", nargs="+", default=["tecoa", "fare", "mmcoa", "joint-anchored"])
    parser.add_argument("--joint-recipes", nargs="+", default=["text", "leaf", "mmcoa", "mmcoa-leak", "joint-anchored"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--limit", type=int, default=400)
    parser.add_argument("--eps", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    test = cifar("test", options.data)
    tokenizer = load_masked_language_model(str(options.pretrained / "language_model")).tokenizer
    rows, results = [], {}
    for name in options.recipes:
        folder = options.runs / f"{name}-0"
        model = SmallCLIP.load(folder / "model.safetensors", tokenizer)
        with np.load(folder / "cells.npz") as cells:
            ours = cells[f"image_{options.eps}"][: options.limit]
        left = {"pgd": ours.copy(), "square": ours.copy()}
        for number, template in enumerate(TEST_TEMPLATES):
            places = np.arange(number, options.limit, len(TEST_TEMPLATES))
            chosen = part_of(test, places[ours[places]])
            classifier = ZeroShotClassifier(model, test.class_names, template, device_type="cpu")
            for attack, survives in left.items():
                if len(chosen):
                    found = left_by(classifier, chosen.images, chosen.labels, options.eps / 255, attack)
                    survives[places[ours[places]]] = found
        results[name] = {"ours": float(ours.mean()), **{attack: float(s.mean()) for attack, s in left.items()}}
        rows.append([RECIPES[name].title, *(f"{100 * share:.1f}" for share in results[name].values())])
        print(rows[-1], flush=True)
    result = {
        "protocol": f"Accuracy in % on {options.limit} test images within {options.eps}/255; the "
        f"stronger attacks work on what the experiment's have left: PGD with {STEPS} steps from {STARTS} starts, on "
        f"cross-entropy and margin in turn; Square with {QUERIES} queries. Pixels "
        f"and words: descent on the margin under the exact worst words, as many steps and starts.",
        "tables": [
            {
                "title": "Pixels, first training seed",
                "header": ["trained with", "the experiment's", "and PGD", "and Square"],
                "rows": rows,
            },
            joint(options),
        ],
        "results": results,
        "command": "python -m benchmarks.robust_training.doubt",
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
