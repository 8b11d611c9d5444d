"""What attacks on images and texts together add to attacks on one of them; about three minutes.

python benchmarks/multimodal_attacks.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.attacks.evasion import ProjectedGradientDescent

from art_multimodal import FusionClassifier, ZeroShotClassifier, image_text_pairs, load_model
from art_multimodal.attacks.art_context import global_seed
from art_multimodal.attacks.evasion import (
    BertAttack,
    CoAttack,
    ImageAttackOnPairs,
    IndependentAttack,
    ProjectedGradientDescentDualEncoder,
)
from art_multimodal.datasets import open_data
from art_multimodal.demo.shapes_data import ShapesData
from art_multimodal.functional.statistics import bootstrap_ci95
from art_multimodal.language.masked_language_model import MaskedLanguageModel, load_masked_language_model

ROOT = Path(__file__).parents[1]
PROTOCOL = (
    "l_inf, {steps} steps of eps/4 from {starts} random starts, seed 0. One word of each text (BertAttack with the "
    "embedded masked language model, all words compete), chosen for each sample by the margin of the model's answer; "
    "in the row CoAttack, the published attack, by the text's embedding, without labels. demo:digits: the first "
    "{images} held-out digits with each of {templates} templates, names of classes and the numerals 0-9 protected, eps "
    "{digits_eps:g}/255. demo:shapes: the first {questions} held-out questions, colours, shapes and relations "
    "protected, eps {shapes_eps:g}/255. The image alone: PGD on the margin, on pairs ART's on the cross-entropy, which "
    "is the same with two answers; independent: that with the text attack alone; joint: CoAttack(loss='margin', "
    "rounds=2), on digits with loss='cross_entropy', too. Accuracy over all samples, success over those that were "
    "right before; intervals: bootstrap over images or questions, of which the templates of an image stay "
    "together. Differences of success are paired: both attacks on the same samples. Budgets of images are such that "
    "no attack succeeds on all."
)
#: The audit's, and other wordings.
TEMPLATES = (
    "a photo of the handwritten digit {}.",
    "a photo of a {}.",
    "a handwritten {}",
    "a scan of the digit {} in black ink",
)
FUSIONS = ("concat", "cross_attention")
DIFFERENCES = (
    ("independent", "image alone"),
    ("independent", "text alone"),
    ("CoAttack", "independent"),
    ("joint", "independent"),
    ("joint", "image alone"),
    ("joint", "text alone"),
    ("joint, cross_entropy", "joint"),
)
#: Of each attack, for every sample whether the model is right.
Right = dict[str, np.ndarray]


def digits(images: int, templates: Sequence[str], ball: dict[str, Any], mlm: MaskedLanguageModel) -> Right:
    """Whether ``demo:digits`` is right, ``(templates, images)``, under each attack."""
    data = open_data("demo:digits")
    encoder = load_model("demo:digits")
    x = np.stack([data.image(index) for index in range(images)])
    y = np.array([data.label_of(index) for index in range(images)])
    right: dict[str, list[np.ndarray]] = {}
    for template in templates:
        estimator = ZeroShotClassifier(encoder, data.class_names, template, device_type="cpu")
        words: dict[str, Any] = {
            "candidate_words": None,
            "protected_words": data.protected_words,
            "verbose": False,
        }
        by_margin = BertAttack(estimator, mlm, loss="margin", per_image=True, **words)
        pgd = ProjectedGradientDescentDualEncoder(estimator, loss="margin", **ball)
        attacks: dict[str, IndependentAttack | CoAttack] = {
            "independent": IndependentAttack(estimator, pgd, by_margin),
            "CoAttack": CoAttack(estimator, BertAttack(estimator, mlm, **words), **ball),
            "joint": CoAttack(estimator, by_margin, loss="margin", rounds=2, **ball),
            "joint, cross_entropy": CoAttack(estimator, by_margin, loss="cross_entropy", rounds=2, **ball),
        }
        found: dict[str, tuple[np.ndarray, Any]] = {
            "none": (x, estimator.prompts),
            "image alone": (pgd.generate(x, y), estimator.prompts),
            "text alone": (x, by_margin.generate(x, y)),
        }
        for name, attack in attacks.items():
            adversarial = attack.generate(x, y)
            found[name] = adversarial, attack.prompts
        for name, (adversarial, prompts) in found.items():
            labels = estimator.predict_on(adversarial, prompts).argmax(axis=1)
            right.setdefault(name, []).append(labels == y)
    return {name: np.stack(rows) for name, rows in right.items()}


def shapes(fusion: str, questions: int, ball: dict[str, Any], mlm: MaskedLanguageModel) -> Right:
    """Whether ``demo:shapes`` is right, ``(1, questions)``, under each attack."""
    data = ShapesData()
    pairs, y = image_text_pairs(data.images[:questions], data.texts[:questions]), data.labels[:questions]
    estimator = FusionClassifier(load_model(f"demo:shapes/{fusion}"), device_type="cpu")
    words: dict[str, Any] = {"candidate_words": None, "protected_words": data.protected_words, "verbose": False}
    by_margin = BertAttack(estimator, mlm, loss="margin", **words)
    of_art = {name: value for name, value in ball.items() if name != "seed"}
    pgd = ImageAttackOnPairs(estimator, lambda view: ProjectedGradientDescent(view, **of_art))
    attacks = {
        "image alone": pgd,
        "text alone": by_margin,
        "independent": IndependentAttack(estimator, pgd, by_margin),
        "CoAttack": CoAttack(estimator, BertAttack(estimator, mlm, **words), **ball),
        "joint": CoAttack(estimator, by_margin, loss="margin", rounds=2, **ball),
    }
    right = {"none": estimator.predict_labels(pairs) == y}
    for name, attack in attacks.items():
        # ART's PGD draws from the global generators.
        with global_seed(0):
            right[name] = estimator.predict_labels(attack.generate(pairs, y)) == y
    return {name: values[None] for name, values in right.items()}


def share(counts: np.ndarray, of: np.ndarray, sign: str = "") -> list[str]:
    """A ratio of sums over samples, and its 95 % interval by drawing samples."""
    low, high = bootstrap_ci95(
        range(len(of)), lambda rows, axis: counts[rows.astype(int)].sum(axis=axis) / of[rows.astype(int)].sum(axis=axis)
    ) or (np.nan, np.nan)
    return [f"{counts.sum() / of.sum():{sign}.3f}", f"{low:{sign}.3f} to {high:{sign}.3f}"]


def rows_of(model: str, right: Right) -> tuple[list[list[str]], list[list[str]]]:
    """The rows of both tables: accuracy and success of every attack, and paired differences of success."""
    # Templates of an image are no samples of their own: it counts with as many as the model gets right.
    clean = right["none"]
    before, every = clean.sum(axis=0), np.full(clean.shape[1], len(clean))
    failed = {name: (clean & ~values).sum(axis=0) for name, values in right.items()}
    table = [
        [model, name, *share(values.sum(axis=0), every), *(["", ""] if name == "none" else share(failed[name], before))]
        for name, values in right.items()
    ]
    differences = [
        [model, f"{more} - {less}", *share(failed[more] - failed[less], before, "+")]
        for more, less in DIFFERENCES
        if more in failed
    ]
    return table, differences


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=150)
    parser.add_argument("--templates", type=int, default=len(TEMPLATES))
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--digits-eps", type=float, default=4, help="in 255ths")
    parser.add_argument("--shapes-eps", type=float, default=2, help="in 255ths")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--starts", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "multimodal_attacks.json")
    options = parser.parse_args(arguments)
    mlm = load_masked_language_model("demo:mlm")

    def ball(eps: float) -> dict[str, Any]:
        radius = {"eps": eps / 255, "eps_step": eps / 255 / 4, "max_iter": options.steps}
        return {**radius, "num_random_init": options.starts, "batch_size": 100, "seed": 0, "verbose": False}

    right = {"demo:digits": digits(options.images, TEMPLATES[: options.templates], ball(options.digits_eps), mlm)}
    for fusion in FUSIONS:
        right[f"demo:shapes/{fusion}"] = shapes(fusion, options.questions, ball(options.shapes_eps), mlm)
    tables = [rows_of(model, values) for model, values in right.items()]
    settings = {name: value for name, value in vars(options).items() if name != "out"}
    result = {
        "protocol": PROTOCOL.format(**settings),
        "command": "python benchmarks/multimodal_attacks.py",
        "settings": settings,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
        "tables": [
            {
                "title": "Each attack",
                "header": ["model", "attack", "accuracy", "95 %", "success", "95 %"],
                "rows": [row for table, _ in tables for row in table],
            },
            {
                "title": "Paired differences",
                "header": ["model", "difference of success", "mean", "95 %"],
                "rows": [row for _, differences in tables for row in differences],
            },
        ],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for shown in result["tables"]:
        for row in (shown["header"], *shown["rows"]):
            print(
                "".join(cell.ljust(width) for cell, width in zip(row, (30, 31, 10, 18, 10, 16), strict=False)).rstrip()
            )
        print()
    return result


if __name__ == "__main__":
    main()
