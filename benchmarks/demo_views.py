"""What the fusions of ``demo:views`` answer when one view is missing, removed or attacked.

python benchmarks/demo_views.py
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
from art.attacks.evasion import ProjectedGradientDescent

from art_multimodal import FusionClassifier, for_each_sample, load_model
from art_multimodal.datasets import open_data
from art_multimodal.demo.views import FUSIONS
from art_multimodal.functional.statistics import proportion_ci95
from art_multimodal.sample_arrays import with_field

ROOT = Path(__file__).parents[1]
PROTOCOL = (
    "{samples} digits of the held-out half of `demo:views`. missing: one view of every sample is not there, and the "
    "model is told. removed: the view is filled with the mean of the training half, and the model is not told. "
    "attacked: ART's PGD on that view alone, l_inf, eps {eps:g} of its range, {steps} steps of {step:g} without random "
    "starts. Shares of right answers, with 95 % intervals."
)


def without(classifier: FusionClassifier, x: np.ndarray, view: str, told: bool) -> np.ndarray:
    """Samples in which a view is missing (the model is told) or removed (it is not)."""
    modality = classifier.modalities[view]
    if told:
        return with_field(x, view, modality.left_out(x[view]))
    return with_field(x, view, modality.remove(x[view], modality.present(x[view])))


def attacked(
    classifier: FusionClassifier, x: np.ndarray, y: np.ndarray, view: str, eps: float, steps: int
) -> np.ndarray:
    """Samples of which ART's PGD has changed one view."""

    def attack(on: Any) -> ProjectedGradientDescent:
        return ProjectedGradientDescent(
            on, eps=eps, eps_step=2.5 * eps / steps, max_iter=steps, batch_size=250, verbose=False
        )

    return for_each_sample(attack, classifier, x, y, modality=view)


def measured(fusion: str, samples: int, eps: float, steps: int) -> list[list[str]]:
    """The rows of a fusion: what is done to the samples, and with which view."""
    data = open_data("demo:views")
    x, y = data.samples(slice(samples)), data.labels[:samples]
    classifier = FusionClassifier(load_model(f"demo:views/{fusion}"), device_type="cpu")

    def right(changed: np.ndarray) -> str:
        count = int((classifier.predict_labels(changed) == y).sum())
        low, high = proportion_ci95(count, len(y)) or (float("nan"), float("nan"))
        return f"{count / len(y):.3f} ({low:.3f} to {high:.3f})"

    views = list(data.modalities)
    clean = right(x)
    return [
        [fusion, "nothing", *[clean] * len(views)],
        [fusion, "missing", *(right(without(classifier, x, view, told=True)) for view in views)],
        [fusion, "removed", *(right(without(classifier, x, view, told=False)) for view in views)],
        [fusion, "attacked", *(right(attacked(classifier, x, y, view, eps, steps)) for view in views)],
    ]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--eps", type=float, default=0.2)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "demo_views.json")
    options = parser.parse_args(arguments)
    rows = []
    for fusion in FUSIONS:
        rows += measured(fusion, options.samples, options.eps, options.steps)
        print("\n".join("  ".join(row) for row in rows[-4:]), flush=True)
    step = 2.5 * options.eps / options.steps
    result = {
        "protocol": PROTOCOL.format(samples=options.samples, eps=options.eps, steps=options.steps, step=step),
        "command": f"python benchmarks/demo_views.py --samples {options.samples} --eps {options.eps:g} "
        f"--steps {options.steps}",
        "settings": {"samples": options.samples, "eps": options.eps, "steps": options.steps},
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
        "table": {
            "header": ["fusion", "what happens to the view", *open_data("demo:views").modalities],
            "rows": rows,
        },
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
