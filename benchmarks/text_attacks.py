"""What text attacks do to the embedded models; about two minutes.

python benchmarks/text_attacks.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

from art_multimodal import ZeroShotClassifier, load_model
from art_multimodal.attacks.evasion import BertAttack, CharacterAttack
from art_multimodal.datasets import open_data
from art_multimodal.demo.captions import HELD_OUT_TEMPLATES
from art_multimodal.demo.shapes_data import ShapesData
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.functional.statistics import mean_ci95, proportion_ci95
from art_multimodal.language.masked_language_model import load_masked_language_model
from art_multimodal.pairs import image_text_pairs

ROOT = Path(__file__).parents[1]
PROTOCOL = (
    "One word (BertAttack, with the embedded masked language model) or one edit (CharacterAttack) of each text. Names "
    "of classes and the numerals 0-9 protected, apart from the row that says otherwise. demo:digits: the 540 held-out "
    "digits, accuracy as a mean over 20 templates (the audit's, nine other wordings, ten held-out ones) with a "
    "over templates. demo:shapes: the first held-out questions; colours, shapes and relations "
    "protected; intervals over questions. `candidate_words=None`: all words compete, instead of the most important one."
)

TEMPLATES = (
    "a photo of the handwritten digit {}.",
    "a photo of a {}.",
    "a handwritten {}",
    "the number {} on white paper",
    "a blurry picture of the small numeral {}",
    "this is the symbol {}",
    "a {} drawn by a child",
    "a scan of the digit {} in black ink",
    "it says {}",
    "a good crop of the character {}",
    *HELD_OUT_TEMPLATES,
)
DIGITS_ATTACKS = {
    "published order, top_k=10": {},
    "candidate_words=None": {"candidate_words": None},
    "top_k=50": {"top_k": 50},
    "candidate_words=None, top_k=50": {"candidate_words": None, "top_k": 50},
    "margin, candidate_words=None": {"loss": "margin", "candidate_words": None},
    "nothing protected": {"protect_class_names": False, "protected_words": ()},
}
SHAPES_ATTACKS = {"embedding_kl": {}, "margin, candidate_words=None": {"loss": "margin", "candidate_words": None}}


def digits(templates: tuple[str, ...]) -> list[list[Any]]:
    """Accuracy on ``demo:digits`` under each attack on the prompts."""
    data = open_data("demo:digits")
    encoder, mlm = load_model("demo:digits"), load_masked_language_model("demo:mlm")
    x = np.stack([data.image(index) for index in range(len(data))])
    y = np.array([data.label_of(index) for index in range(len(data))])
    accuracy: dict[str, list[float]] = {}
    for template in templates:
        estimator = ZeroShotClassifier(encoder, data.class_names, template, device_type="cpu")
        accuracy.setdefault("none", []).append(float((estimator.predict_labels(x) == y).mean()))
        attacks = {
            f"BertAttack, {name}": BertAttack(
                estimator, mlm, **{"protected_words": data.protected_words, **settings}, verbose=False
            )
            for name, settings in DIGITS_ATTACKS.items()
        }
        attacks["CharacterAttack"] = CharacterAttack(estimator, verbose=False)
        for name, attack in attacks.items():
            prompts = attack.generate(x, y) if attack.loss == "margin" else attack.generate()
            right = estimator.with_prompts(prompts).predict_labels(x) == y
            accuracy.setdefault(name, []).append(float(right.mean()))
    clean = np.array(accuracy["none"])
    rows = []
    for name, values in accuracy.items():
        low, high = mean_ci95(values, (0, 1)) or (np.nan, np.nan)
        losing = int((clean - values > 0.02).sum())
        rows.append(["demo:digits", name, f"{np.mean(values):.3f}", f"{low:.3f} to {high:.3f}", losing])
    return rows


def shapes(count: int) -> list[list[Any]]:
    """Accuracy on ``demo:shapes`` under each attack on the questions."""
    data = ShapesData()
    pairs, y = image_text_pairs(data.images[:count], data.texts[:count]), data.labels[:count]
    rows = []
    for fusion in ("concat", "cross_attention"):
        estimator = FusionClassifier(load_model(f"demo:shapes/{fusion}"), device_type="cpu")
        right = {"none": estimator.predict_labels(pairs) == y}
        for name, settings in SHAPES_ATTACKS.items():
            attack = BertAttack(estimator, protected_words=data.protected_words, verbose=False, **settings)
            right[f"BertAttack, {name}"] = estimator.predict_labels(attack.generate(pairs, y)) == y
        for name, values in right.items():
            low, high = proportion_ci95(int(values.sum()), count) or (np.nan, np.nan)
            rows.append([f"demo:shapes/{fusion}", name, f"{values.mean():.3f}", f"{low:.3f} to {high:.3f}", ""])
    return rows


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--templates", type=int, default=len(TEMPLATES))
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "text_attacks.json")
    options = parser.parse_args(arguments)
    result = {
        "protocol": PROTOCOL,
        "command": "python benchmarks/text_attacks.py",
        "settings": {"templates": options.templates, "questions": options.questions},
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
        "table": {
            "header": ["model", "attack", "accuracy", "95 %", "templates that lose more than 2 points"],
            "rows": digits(TEMPLATES[: options.templates]) + shapes(options.questions),
        },
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for row in (result["table"]["header"], *result["table"]["rows"]):
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, (28, 44, 9, 15, 4), strict=True)).rstrip())
    return result


if __name__ == "__main__":
    main()
