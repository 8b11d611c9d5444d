"""What repair of spelling helps against typing errors, also those that know of it; minutes.

python benchmarks/text_repair.py
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
from art_multimodal.defences.preprocessor import SpellingRepair
from art_multimodal.functional.statistics import mean_ci95

ROOT = Path(__file__).parents[1]
TEMPLATES = (
    "a photo of the handwritten digit {}.",
    "a photo of a {}.",
    "the number {} on white paper",
    "a blurry picture of the small numeral {}",
    "this is the symbol {}",
    "a {} drawn by a child",
    "a scan of the digit {} in black ink",
    "a good crop of the character {}",
)
PROTOCOL = (
    "`demo:digits`, {images} held-out digits; accuracy in percent as a mean over {templates} templates, with 95 % "
    "intervals over templates. Every prompt has one or two edits, or one other word; all unprotected words compete "
    "for the one that lowers the margin most (`loss='margin'`, `candidate_words=None`), the names of the digits are "
    "protected. Naive: attacked without the repair and then repaired. Adaptive: the attack asks the repairing "
    "model, so it finds edits that are not undone. Worst: the lower of both for each template, since the search is "
    "greedy and sees nothing to gain in a first edit that is undone. English: the vocabulary that comes with "
    "`SpellingRepair`, and the names of the digits. Fitted: only the words of the clean prompts."
)


def repairs_of(prompts: list[str], names: tuple[str, ...]) -> dict[str, SpellingRepair | None]:
    """Preprocessors by name."""
    fitted = SpellingRepair(vocabulary=())
    fitted.fit(np.array(prompts, dtype=object))
    return {"none": None, "English": SpellingRepair(known_words=names), "fitted": fitted}


def attacks_on(classifier: ZeroShotClassifier, protected: tuple[str, ...]) -> dict[str, Any]:
    """Attacks on prompts, by name."""
    settings = {"loss": "margin", "candidate_words": None, "protected_words": protected, "verbose": False}
    return {
        "one edit": CharacterAttack(classifier, **settings),
        "two edits": CharacterAttack(classifier, max_edits=2, **settings),
        "one word": BertAttack(classifier, "demo:mlm", **settings),
    }


def accuracies(template: str, x: np.ndarray, y: np.ndarray) -> dict[tuple[str, str], float]:
    """Accuracy by repair and by attack, naive and adaptive."""
    data, model = open_data("demo:digits"), load_model("demo:digits")
    plain = ZeroShotClassifier(model, data.class_names, template, device_type="cpu")
    naive = {name: attack.generate(x, y) for name, attack in attacks_on(plain, data.protected_words).items()}
    found = {}
    for name, repair in repairs_of([prompt for row in plain.prompts for prompt in row], data.class_names).items():
        repairing = ZeroShotClassifier(
            model, data.class_names, template, preprocessing_defences=repair, device_type="cpu"
        )

        def accuracy(prompts: Any, classifier: ZeroShotClassifier = repairing) -> float:
            return float((classifier.with_prompts(prompts).predict_labels(x) == y).mean())

        found[name, "clean"] = accuracy(plain.prompts)
        for attack, knowing in attacks_on(repairing, data.protected_words).items():
            found[name, f"{attack}, naive"] = accuracy(naive[attack])
            found[name, f"{attack}, adaptive"] = accuracy(knowing.generate(x, y) if repair else naive[attack])
            found[name, f"{attack}, worst"] = min(found[name, f"{attack}, {kind}"] for kind in ("naive", "adaptive"))
    return found


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--templates", type=int, default=len(TEMPLATES))
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "text_repair.json")
    options = parser.parse_args(arguments)
    data = open_data("demo:digits")
    x = np.stack([data.image(index) for index in range(options.images)])
    y = np.array([data.label_of(index) for index in range(options.images)])
    templates = TEMPLATES[: options.templates]
    found = [accuracies(template, x, y) for template in templates]
    repairs = list(dict.fromkeys(repair for repair, _ in found[0]))
    rows = []
    for column in dict.fromkeys(column for _, column in found[0]):
        attack, _, kind = column.partition(", ")
        cells = []
        for repair in repairs:
            values = [100 * one[repair, column] for one in found]
            low, high = mean_ci95(values, (0, 100)) or (np.nan, np.nan)
            cells.append(f"{np.mean(values):.1f} ({low:.1f} to {high:.1f})")
        rows.append([attack, kind, *cells])
    result = {
        "protocol": PROTOCOL.format(images=options.images, templates=len(templates)),
        "command": "python benchmarks/text_repair.py",
        "settings": {"images": options.images, "templates": len(templates)},
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
        "table": {"header": ["prompts", "attack", *repairs], "rows": rows},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        print(" | ".join(row))
    return result


if __name__ == "__main__":
    main()
