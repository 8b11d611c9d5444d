"""Does standard adversarial training help against the decoupling attack? MUROAN (arXiv:2112.12792) says no.

    python benchmarks/muroan_training.py

Every fusion of ``demo:shapes`` is fine-tuned by ART's ``AdversarialTrainer`` on newly drawn questions: on clean samples
only (the control), with ART's PGD, and with the decoupling attack on the image and on both modalities.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.attacks.evasion import ProjectedGradientDescent
from art.defences.trainer import AdversarialTrainer

sys.path.insert(0, str(Path(__file__).parent))
from victims import ROOT, shapes_victim

from art_multimodal import FusionClassifier, image_text_pairs
from art_multimodal.attacks.evasion import DecouplingAttack, ImageAttackOnPairs, for_each_pair
from art_multimodal.demo.scenes import make_samples
from art_multimodal.demo.shapes import FUSIONS, load_shapes
from art_multimodal.functional.statistics import mean_ci95, proportion_ci95, with_runs_ci95

EPS = 4 / 255
TRAINING_QUERIES, TEST_QUERIES = 20, 200
TREATMENTS = ("none", "clean", "pgd", "decoupling_image", "decoupling_both")
LABELS = {
    "none": "before",
    "clean": "clean fine-tuning",
    "pgd": "PGD",
    "decoupling_image": "decoupling, image",
    "decoupling_both": "decoupling, both",
}
PROTOCOL = (
    "Fine-tuning by ART's AdversarialTrainer (half of every batch attacked, the model under training attacked anew in "
    "every batch), Adam, learning rate 3e-4, batches of 64, on questions drawn for each seed; ART's PGD at l_inf 4/255 "
    "(step 1/255, 7 steps) or the guided decoupling attack with 20 queries. Tested on held-out questions: accuracy on "
    "all of them; then, on the first that the model has right, PGD (20 steps), the guided decoupling attack (200 "
    "queries) on the image alone and on both modalities, and the exhaustive search on the image alone. Share: mean "
    "over the successes. Means over the training seeds; the 95 % interval is that over the samples (Wilson's with "
    "continuity correction; of shares, of a mean), widened by Student's t over the seeds."
)


def training_attack(name: str, classifier: FusionClassifier) -> EvasionAttack | None:
    """The attack of a treatment; ``None`` for the control."""
    if name == "pgd":
        return ImageAttackOnPairs(classifier, lambda view: _pgd(view, 7))
    modalities = {"decoupling_image": ("image",), "decoupling_both": ("image", "text")}.get(name)
    if modalities is None:
        return None
    return DecouplingAttack(classifier, modalities=modalities, max_queries=TRAINING_QUERIES, verbose=False)


def _pgd(view: Any, steps: int) -> ProjectedGradientDescent:
    return ProjectedGradientDescent(
        view, norm=np.inf, eps=EPS, eps_step=1 / 255, max_iter=steps, batch_size=64, verbose=False
    )


def drawn(groups: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Newly drawn pairs, in random order, with their labels."""
    rng = np.random.default_rng(seed)
    samples = make_samples(groups, rng)
    order = rng.permutation(len(samples.labels))
    texts = [samples.questions.texts[row] for row in order]
    return image_text_pairs(samples.images[order], texts), np.asarray(samples.labels)[order]


def treat(fusion: str, name: str, options: argparse.Namespace, seed: int) -> FusionClassifier:
    """Return a fine-tuned classifier."""
    np.random.seed(seed)  # ART's trainer draws from the global generators
    torch.manual_seed(seed)
    model = load_shapes(fusion)
    classifier = FusionClassifier(model, optimizer=torch.optim.Adam(model.parameters(), lr=3e-4), device_type="cpu")
    pairs, labels = drawn(options.groups, 10_000 + seed)
    if name == "clean":
        classifier.fit(pairs, labels, batch_size=64, nb_epochs=options.epochs)
    elif name != "none":
        trainer = AdversarialTrainer(classifier, training_attack(name, classifier), ratio=0.5)
        trainer.fit(pairs, labels, batch_size=64, nb_epochs=options.epochs)
    return classifier


def examine(classifier: FusionClassifier, pairs: np.ndarray, labels: np.ndarray, count: int) -> dict[str, Any]:
    """Return what each sample says: clean accuracy over all, the rest over the first that are right."""
    right = classifier.predict_labels(pairs) == labels
    chosen, truth = pairs[right][:count], labels[right][:count]
    np.random.seed(0)
    found: dict[str, Any] = {"clean": right.astype(float).tolist()}
    attacked = for_each_pair(lambda view: _pgd(view, 20), classifier, chosen, truth)
    found["pgd_success"] = (classifier.predict_labels(attacked) != truth).astype(float).tolist()
    for name, settings in (
        ("image", {"modalities": ("image",), "max_queries": TEST_QUERIES}),
        ("both", {"max_queries": TEST_QUERIES}),
        ("exhaustive", {"search": "exhaustive", "modalities": ("image",)}),
    ):
        attack = DecouplingAttack(classifier, verbose=False, **settings)
        attack.generate(chosen)
        found[f"{name}_success"] = [float(record.success) for record in attack.records]
        found[f"{name}_share"] = [record.share_removed for record in attack.records if record.success]
    return found


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds of what the samples say, with intervals over samples and seeds."""
    numbers = {}
    for key in found[0]:
        parts = [np.array(one[key]) for one in found if len(one[key])]
        means = [float(part.mean()) for part in parts]
        numbers[key] = {
            "mean": float(np.mean(means)) if parts else None,
            "ci95": _interval(parts, means, share=key.endswith("_share")) if parts else None,
            "by_seed": means,
        }
    return numbers


def _interval(parts: list[np.ndarray], means: list[float], share: bool) -> list[float]:
    """The 95 % interval of a mean over seeds, each with samples of its own that mostly are the others', too.

    :param share: Whether samples say a share, and not yes or no.
    """
    bounds = (0.0, 1.0)
    each = [mean_ci95(part, bounds) if share else proportion_ci95(int(part.sum()), len(part)) for part in parts]
    # The mean of the ends: as if the same samples were easy, or hard, with every seed.
    low, high = np.mean(np.array(each), axis=0)
    return list(with_runs_ci95((float(low), float(high)), [means], bounds))


def table_of(results: dict[str, Any]) -> dict[str, Any]:
    """The results as the docs print them."""
    columns = {
        "clean": "clean accuracy",
        "pgd_success": "PGD success",
        "image_success": "decoupling success, image",
        "image_share": "its share removed",
        "both_success": "decoupling success, both",
        "both_share": "its share removed",
        "exhaustive_success": "exhaustive success, image",
        "exhaustive_share": "its share removed",
    }
    rows = []
    for fusion, treatments in results.items():
        for name, numbers in treatments.items():
            cells = []
            for key in columns:
                mean, ci = numbers[key]["mean"], numbers[key]["ci95"]
                digits = 2 if key.endswith("share") else 1
                cells.append(
                    "–"
                    if mean is None
                    else f"{100 * mean:.{digits}f} % ({100 * ci[0]:.{digits}f} to {100 * ci[1]:.{digits}f})"
                )
            rows.append([fusion, LABELS[name], *cells])
    return {"header": ["fusion", "training", *columns.values()], "rows": rows}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Train, measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fusions", nargs="+", default=list(FUSIONS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--groups", type=int, default=250, help="groups of four training questions")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--samples", type=int, default=150)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "muroan_training.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    for fusion in options.fusions:
        _, pairs, labels = shapes_victim(fusion)
        results[fusion] = {}
        for name in TREATMENTS:
            started = time.perf_counter()
            seeds = range(1 if name == "none" else options.seeds)
            found = [examine(treat(fusion, name, options, seed), pairs, labels, options.samples) for seed in seeds]
            results[fusion][name] = summary(found)
            shown = {key: round(value["mean"], 4) for key, value in results[fusion][name].items() if value["by_seed"]}
            print(f"{fusion}, {LABELS[name]}, {time.perf_counter() - started:.0f} s: {shown}", flush=True)
    result = {
        "protocol": PROTOCOL,
        "command": "python benchmarks/muroan_training.py",
        "settings": {name: getattr(options, name) for name in ("seeds", "groups", "epochs", "samples")},
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
        "results": results,
        "table": table_of(results),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
