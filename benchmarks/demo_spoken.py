"""What the models of ``demo:spoken`` answer with one modality alone, by each speaker, and under attack.

python benchmarks/demo_spoken.py
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

from art_multimodal import FusionClassifier, load_model
from art_multimodal.attacks.evasion import ProjectedGradientDescentMultimodal
from art_multimodal.demo.spoken import FUSIONS, TASKS
from art_multimodal.demo.spoken_data import SpokenData
from art_multimodal.functional.statistics import proportion_ci95
from art_multimodal.sample_arrays import with_field

ROOT = Path(__file__).parents[1]
PROTOCOL = (
    "{samples} pairs of `demo:spoken`: a written digit of the held-out half of `demo:views`, and a recording by one of "
    "two speakers whom no model has heard. alone: the other modality is missing, and the model is told. oracle: who "
    "knows without error which digit the modality shows, and says the label that most of the pairs with that digit "
    "have. removed: the modality is filled in, and the model is not told. attacked: PGD on cross-entropy, l_inf, "
    "within eps {digit:g} of the range of the image and {speech:g} of that of the spectrogram ({decibels:g} decibels), "
    "{steps} steps from one random start. Shares of right answers, with Wilson's 95 % intervals over the pairs; of "
    "other speakers two say little."
)


def share(right: np.ndarray) -> str:
    """A share with its interval."""
    low, high = proportion_ci95(int(right.sum()), len(right)) or (float("nan"), float("nan"))
    return f"{right.mean():.3f} ({low:.3f} to {high:.3f})"


def oracle(data: SpokenData, modality: str, rows: slice) -> np.ndarray:
    """Whether the best guess is right for those who know the digit of one modality, and how often labels go with it."""
    shown = data.digits[modality]
    counts = np.zeros((10, 10), dtype=int)
    np.add.at(counts, (shown, data.labels), 1)
    return counts.argmax(axis=1)[shown[rows]] == data.labels[rows]


class Measured:
    """A model and the pairs that it is asked about."""

    def __init__(self, task: str, fusion: str, samples: int, eps: dict[str, float], steps: int) -> None:
        self.data, self.rows = SpokenData(task), slice(samples)
        self.x, self.y = self.data.samples(self.rows), self.data.labels[self.rows]
        self.classifier = FusionClassifier(load_model(f"demo:spoken/{task}/{fusion}"), device_type="cpu")
        self.eps, self.steps = eps, steps

    def right(self, changed: np.ndarray) -> np.ndarray:
        """Whether each answer is right."""
        return self.classifier.predict_labels(changed) == self.y

    def alone(self, name: str) -> np.ndarray:
        """Samples that have one modality only, of which the model is told."""
        x = self.x
        for other, modality in self.classifier.modalities.items():
            if other != name:
                x = with_field(x, other, modality.left_out(x[other]))
        return x

    def removed(self, name: str) -> np.ndarray:
        """Samples of which one modality is filled in, of which the model is not told."""
        modality = self.classifier.modalities[name]
        return with_field(self.x, name, modality.remove(self.x[name], modality.present(self.x[name])))

    def attacked(self, names: tuple[str, ...]) -> np.ndarray:
        """Samples of which PGD has changed some modalities."""
        attack = ProjectedGradientDescentMultimodal(
            self.classifier,
            {name: self.eps[name] for name in names},
            eps_step={name: 2.5 * self.eps[name] / self.steps for name in names},
            max_iter=self.steps,
            batch_size=250,
            seed=0,
            verbose=False,
        )
        return attack.generate(self.x, self.y)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--eps-digit", type=float, default=0.1)
    parser.add_argument("--eps-speech", type=float, default=0.02)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "demo_spoken.json")
    options = parser.parse_args(arguments)
    eps = {"digit": options.eps_digit, "speech": options.eps_speech}
    speakers = np.unique(SpokenData().speakers)
    alone, voices, attacked = [], [], []
    for task in TASKS:
        data, rows = SpokenData(task), slice(options.samples)
        for fusion in FUSIONS:
            asked = Measured(task, fusion, options.samples, eps, options.steps)
            clean = asked.right(asked.x)
            alone.append([task, fusion, share(clean), *(share(asked.right(asked.alone(name))) for name in eps)])
            by = data.speakers[rows]
            voices.append([task, fusion, *(share(clean[by == speaker]) for speaker in speakers)])
            attacked.append(
                [
                    task,
                    fusion,
                    share(clean),
                    *(share(asked.right(asked.removed(name))) for name in eps),
                    *(share(asked.right(asked.attacked(names))) for names in ((name,) for name in eps)),
                    share(asked.right(asked.attacked(tuple(eps)))),
                ]
            )
            print("\n".join("  ".join(table[-1]) for table in (alone, voices, attacked)), flush=True)
        alone.append([task, "oracle", "", *(share(oracle(data, name, rows)) for name in eps)])
    result = {
        "protocol": PROTOCOL.format(
            samples=options.samples, steps=options.steps, decibels=60 * options.eps_speech, **eps
        ),
        "command": f"python benchmarks/demo_spoken.py --samples {options.samples} --eps-digit {options.eps_digit:g} "
        f"--eps-speech {options.eps_speech:g} --steps {options.steps}",
        "settings": {"samples": options.samples, "eps": eps, "steps": options.steps},
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
        "tables": [
            {
                "title": "Both, and each alone",
                "header": ["task", "fusion", "both", "digit alone", "speech alone"],
                "rows": alone,
            },
            {
                "title": "By speaker",
                "header": ["task", "fusion", *(f"speaker {speaker}" for speaker in speakers)],
                "rows": voices,
            },
            {
                "title": "Removed and attacked",
                "header": [
                    *("task", "fusion", "nothing", "digit removed", "speech removed"),
                    *("digit attacked", "speech attacked", "both attacked"),
                ],
                "rows": attacked,
            },
        ],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
