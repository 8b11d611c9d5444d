"""How far words and typing errors go as more of them are tried, and whether brute force goes further; five minutes.

python benchmarks/worst_text.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from art_multimodal import ZeroShotClassifier, load_model
from art_multimodal.datasets import open_data
from art_multimodal.evaluations.suite import ATTACKS, Budget, TextBudget
from art_multimodal.evaluations.suite.exhaustive import word_curve
from art_multimodal.functional.statistics import proportion_ci95
from art_multimodal.language.masked_language_model import load_masked_language_model
from art_multimodal.language.words import STOP_WORDS, english_words

ROOT = Path(__file__).parents[1]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
PROTOCOL = (
    "The first held-out digits that the model names right, the audit's own template, one word or one typing error "
    "of each class prompt, chosen for each image; class names and numerals protected. Quick: the four text attacks "
    "in their published orders, one after the other, with 10 words. Points: worst_text, with so many proposals of "
    "the embedded language model for each word. Brute force: every typing error and every word of the vocabulary, "
    "written in plain loops without the library's attacks, each text embedded by itself in double precision, all "
    "pairs of an own and another text. Missed: digits that worst_text calls robust and brute force misleads. "
    "Wilson's 95 % interval."
)


def brute_force(estimator: ZeroShotClassifier, x: np.ndarray, y: np.ndarray, protected: set[str]) -> np.ndarray:
    """The largest margin of each image over all texts; in the logits' units."""
    model = estimator.dual_encoder
    double = model.double()
    tokens = load_masked_language_model("demo:mlm").tokenizer.get_vocab()
    kept = {*estimator.class_names, *protected}
    kept |= {f"{word}{end}" for word in kept for end in ("s", "es", "'s")}
    best = np.full((len(x), estimator.nb_classes), -np.inf)
    least = np.full_like(best, np.inf)
    with torch.no_grad():
        seen = double.encode_image(torch.from_numpy(x).double()).numpy()
        for index, (prompt,) in enumerate(estimator.prompts):
            words = prompt.rstrip(".").split()
            taken = english_words() | set(words) | kept
            texts = {prompt}
            for place, word in enumerate(words):
                if word in kept:
                    continue
                others = {w for w in tokens if w.isalpha() and len(w) > 1 and w not in STOP_WORDS | kept | {word}}
                others |= {w for w in edits(word) if w not in taken}
                texts |= {" ".join([*words[:place], w, *words[place + 1 :]]) + "." for w in others}
            ordered = sorted(texts)
            for start in range(0, len(ordered), 128):
                vectors = double.encode_text(double.tokenize(ordered[start : start + 128])).numpy()
                cosines = seen @ vectors.T
                best[:, index] = np.maximum(best[:, index], cosines.max(axis=1))
                least[:, index] = np.minimum(least[:, index], cosines.min(axis=1))
        scale = float(double.logit_scale.exp())
    model.float()
    rows = np.arange(len(x))
    own = least[rows, y]
    best[rows, y] = -np.inf
    return scale * (best.max(axis=1) - own)


def edits(word: str) -> set[str]:
    """Every word that one typing error makes of another."""
    found = {word[:i] + letter + word[i:] for i in range(len(word) + 1) for letter in LETTERS}
    found |= {word[:i] + letter + word[i + 1 :] for i in range(len(word)) for letter in LETTERS}
    found |= {word[:i] + word[i + 1 :] for i in range(len(word))}
    return {w for w in found | {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1)} if w}


def measure(name: str, digits: int) -> list[list[Any]]:
    """The rows of one model."""
    data = open_data("demo:digits")
    x = np.stack([data.image(index) for index in range(len(data))])
    y = np.array([data.label_of(index) for index in range(len(data))])
    estimator = ZeroShotClassifier(load_model(name), data.class_names, data.templates, device_type="cpu")
    right = estimator.predict_labels(x) == y
    x, y = x[right][:digits], y[right][:digits]
    budget = Budget(batch_size=len(x), text=TextBudget(protected_words=data.protected_words))
    left = np.ones(len(x), dtype=bool)
    rows: list[list[Any]] = []

    def add(what: str, still: np.ndarray, seconds: float, missed: object = "") -> None:
        low, high = proportion_ci95(int(still.sum()), len(x)) or (np.nan, np.nan)
        rows.append(
            [
                name,
                what,
                f"{still.mean():.2f}",
                f"{low:.2f} to {high:.2f}",
                missed,
                "" if np.isnan(seconds) else f"{seconds:.0f}",
            ]
        )
        print("  ".join(str(cell).ljust(width) for cell, width in zip(rows[-1], (20, 28, 6, 14, 6, 5), strict=True)))

    started = time.process_time()
    for quick in ("bert_attack", "bert_attack_margin", "character_attack", "character_attack_margin"):
        if left.any():
            left[left] = ATTACKS[quick].run(estimator, x[left], y[left], budget, 0).labels == y[left]
    add("quick attacks, 10 words", left, time.process_time() - started)
    started = time.process_time()
    attacked = ATTACKS["worst_text"].run(estimator, x, y, budget, 0)
    seconds = time.process_time() - started
    fell = np.array([detail.fell_at or np.inf for detail in attacked.details])
    robust = attacked.labels == y
    for point in word_curve(budget):
        add(f"worst_text, {point} words", fell > point, seconds if point == word_curve(budget)[-1] else np.nan)
    started = time.process_time()
    margins = brute_force(estimator, x, y, set(data.protected_words))
    add("brute force", margins <= 0, time.process_time() - started, int((robust & (margins > 1e-3)).sum()))
    return rows


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--digits", type=int, default=100)
    parser.add_argument("--models", nargs="+", default=["demo:digits", "demo:digits/robust"])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "worst_text.json")
    options = parser.parse_args(arguments)
    result = {
        "protocol": PROTOCOL,
        "command": f"python benchmarks/worst_text.py --digits {options.digits}",
        "settings": {"digits": options.digits, "models": options.models},
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
        "table": {
            "header": ["model", "attack", "accuracy", "95 %", "missed", "CPU seconds"],
            "rows": [row for name in options.models for row in measure(name, options.digits)],
        },
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
