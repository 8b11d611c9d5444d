"""What training in bfloat16 does to accuracy, and what it saves: the image attack alone, or the whole step.

    python benchmarks/mixed_precision.py [--quick]

Fine-tunes the dual encoder of ``victims.py`` on CIFAR-10 by MMCoA and by TeCoA in each precision, for several seeds,
and attacks what comes out in float32. ``--quick`` does the same to the embedded model of digits, for a moment.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from victims import CIFAR, CIFAR_TEMPLATES, ROOT, cifar_victim, digits_victim

from art_multimodal import ZeroShotClassifier
from art_multimodal.attacks.evasion import ProjectedGradientDescentDualEncoder
from art_multimodal.defences.trainer import DualEncoderTrainer, TrainingSettings
from art_multimodal.defences.trainer.settings import PRECISIONS
from art_multimodal.functional.statistics import mean_ci95, paired_difference_ci95, with_runs_ci95

METHODS = ("mmcoa", "tecoa")
EPS = 2 / 255
PROTOCOL = (
    "A dual encoder trained on CIFAR-10 (victims.py), fine-tuned on its training images: the same images in the same "
    "order, with the same random starts, in each precision. Image attack in training: PGD, l_inf {eps}, step "
    "{eps_step}, {steps} steps; texts: BertAttack with `demo:mlm` on six templates, always in float32. Before "
    "training, and after it in each precision, the weights, which are float32 throughout, are tested in float32 on "
    "{samples} test images: clean accuracy, and accuracy under PGD of {test_steps} steps on the cross-entropy with the "
    "same budget. "
    "Differences are to float32 with the same seed, on the same images; their 95 % intervals are those of a mean over "
    "the images, widened by Student's t over the seeds. Time: CPU seconds of the training of one seed in float32, over "
    "those in this precision; one thread, on a processor {processor}."
)


def training_data(path: Path, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training images of CIFAR-10, in an order of the seed, with their labels."""
    with np.load(path) as file:
        rows = np.random.default_rng(seed).permutation(len(file["y_train"]))[:count]
        images, labels = file["x_train"][rows], file["y_train"][rows]
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32) / 255, labels.astype(np.int64)


def trained(
    classifier: ZeroShotClassifier,
    method: str,
    settings: TrainingSettings,
    batch_size: int,
    x: np.ndarray,
    y: np.ndarray,
) -> tuple[ZeroShotClassifier, float]:
    """A classifier that has been fine-tuned, and how many CPU seconds that took; the one given stays as it is."""
    model = copy.deepcopy(classifier.dual_encoder)
    tuned = ZeroShotClassifier(model, classifier.class_names, classifier.templates or (), device_type="cpu")
    trainer = DualEncoderTrainer(tuned, method, settings)
    started = time.process_time()
    trainer.fit(x, y, batch_size=batch_size, nb_epochs=1)
    return tuned, time.process_time() - started


def right(classifier: ZeroShotClassifier, x: np.ndarray, y: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    """Which samples a classifier has right: clean ones, and attacked ones."""
    attack = ProjectedGradientDescentDualEncoder(
        classifier, eps=EPS, eps_step=EPS / 4, max_iter=steps, batch_size=250, seed=0, verbose=False
    )
    attacked = attack.generate(x, y)
    return {
        "clean": classifier.predict(x).argmax(axis=1) == y,
        "robust": classifier.predict(attacked).argmax(axis=1) == y,
    }


def difference(these: np.ndarray, others: np.ndarray) -> dict[str, Any]:
    """The difference of two accuracies on the same samples, and its interval: none of a measurement and itself.

    :param these: Of each seed and each sample whether it is right, boolean ``(S, N)``.
    :param others: Likewise, what is subtracted.
    """
    if these is others:
        return {"mean": 0.0, "ci95": [0.0, 0.0]}
    apart = these.astype(float) - others
    bounds = (-1.0, 1.0)
    of_samples = paired_difference_ci95(these[0], others[0]) if len(apart) == 1 else None
    of_samples = of_samples or mean_ci95(apart.mean(axis=0), bounds)
    assert of_samples is not None
    return {"mean": float(apart.mean()), "ci95": list(with_runs_ci95(of_samples, [apart.mean(axis=1)], bounds))}


def compared(found: dict[str, dict[str, np.ndarray]], seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Accuracies, differences to float32 and how many times faster it was, of each precision.

    :param found: Of each precision for each kind of accuracy which samples are right, ``(S, N)``.
    :param seconds: Of each precision the time of each seed.
    """
    results: dict[str, Any] = {}
    for precision, kinds in found.items():
        ratios = [slow / fast for slow, fast in zip(seconds["float32"], seconds[precision], strict=True)]
        results[precision] = {
            kind: {
                "accuracy": float(rows.mean()),
                "by_seed": rows.mean(axis=1).tolist(),
                "difference": difference(rows, found["float32"][kind]),
            }
            for kind, rows in kinds.items()
        } | {
            "cpu_seconds": seconds[precision],
            "times_faster": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
        }
    return results


def table_of(before: dict[str, float], results: dict[str, Any]) -> dict[str, Any]:
    """The results as the docs print them."""
    rows = [["before training", "", f"{100 * before['clean']:.1f} %", "", f"{100 * before['robust']:.1f} %", "", ""]]
    for method, precisions in results.items():
        for precision, numbers in precisions.items():
            cells = []
            for kind in ("clean", "robust"):
                apart = numbers[kind]["difference"]
                low, high = (100 * end for end in apart["ci95"])
                cells.append(f"{100 * numbers[kind]['accuracy']:.1f} %")
                reference = precision == "float32"
                cells.append("" if reference else f"{100 * apart['mean']:+.1f} ({low:+.1f} to {high:+.1f})")
            times = numbers["times_faster"]
            cells.append(f"{times['median']:.2f} ({times['min']:.2f} to {times['max']:.2f})")
            rows.append([method, precision, *cells])
    header = ["method", "precision", "clean", "difference, points", "PGD", "difference, points", "times faster"]
    return {"header": header, "rows": rows}


def measure(options: argparse.Namespace, victim: Callable[[], Any], data: Callable[[int], Any]) -> dict[str, Any]:
    """Train and test everything.

    :param victim: Gives a classifier, test images and labels.
    :param data: Gives training images and labels for a seed.
    """
    classifier, x_test, y_test = victim()
    x_test, y_test = x_test[: options.samples], y_test[: options.samples]
    before = {kind: float(hits.mean()) for kind, hits in right(classifier, x_test, y_test, options.test_steps).items()}
    print(f"before training: {before}", flush=True)
    results = {}
    for method in METHODS:
        found: dict[str, dict[str, list[np.ndarray]]] = {name: {"clean": [], "robust": []} for name in PRECISIONS}
        seconds: dict[str, list[float]] = {name: [] for name in PRECISIONS}
        for seed in range(options.seeds):
            x, y = data(seed)
            # In turn, so that a machine that grows slower does not do so for one precision alone.
            for precision in PRECISIONS:
                settings = settings_of(options, precision, seed)
                tuned, spent = trained(classifier, method, settings, options.batch_size, x, y)
                seconds[precision].append(spent)
                for kind, hits in right(tuned, x_test, y_test, options.test_steps).items():
                    found[precision][kind].append(hits)
                shown = {kind: round(float(rows[-1].mean()), 3) for kind, rows in found[precision].items()}
                print(f"{method}, {precision}, seed {seed}: {spent:.0f} CPU s, {shown}", flush=True)
        stacked = {name: {kind: np.stack(rows) for kind, rows in kinds.items()} for name, kinds in found.items()}
        results[method] = compared(stacked, seconds)
    return {"before": before, "results": results, "table": table_of(before, results)}


def settings_of(options: argparse.Namespace, precision: str, seed: int) -> TrainingSettings:
    """Of the trainer."""
    return TrainingSettings(
        learning_rate=options.learning_rate,
        eps=EPS,
        eps_step=EPS / 2,
        max_iter=options.steps,
        precision=precision,
        seed=seed,
    )


QUICK = {"seeds": 2, "train": 32, "batch_size": 16, "steps": 1, "test_steps": 2, "samples": 20}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Train, measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cifar", type=Path, default=CIFAR)
    parser.add_argument("--victim-epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", type=int, default=2048, help="images, each seen once")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--steps", type=int, default=4, help="of PGD in training")
    parser.add_argument("--test-steps", type=int, default=10)
    parser.add_argument("--samples", type=int, default=500, help="test images")
    parser.add_argument("--quick", action="store_true", help="the embedded model of digits, for a moment")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "mixed_precision.json")
    options = parser.parse_args(arguments)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if options.quick:
            vars(options).update(QUICK)
            _, images, labels = digits_victim()
            held_out = len(images) - options.samples
            found = measure(
                options,
                lambda: (digits_victim()[0], images[held_out:], labels[held_out:]),
                lambda seed: (images[: options.train], labels[: options.train]),
            )
        else:
            found = measure(
                options,
                lambda: with_templates(cifar_victim(options.cifar, options.victim_epochs)),
                lambda seed: training_data(options.cifar, options.train, seed),
            )
    finally:
        torch.set_num_threads(threads)
    capability = torch.backends.cpu.get_cpu_capability()
    has_bf16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    numbers = {
        "eps": "2/255",
        "eps_step": "1/255",
        "steps": options.steps,
        "samples": options.samples,
        "test_steps": options.test_steps,
        "processor": f"with {capability}{' and bf16 instructions' if has_bf16 else ', without bf16 instructions'}",
    }
    result = {
        "protocol": PROTOCOL.format(**numbers),
        "command": "python benchmarks/mixed_precision.py",
        "settings": {
            name: getattr(options, name)
            for name in (
                "victim_epochs",
                "seeds",
                "train",
                "batch_size",
                "learning_rate",
                "steps",
                "test_steps",
                "samples",
            )
        },
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
        **found,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def with_templates(victim: Any) -> Any:
    """The victim with all the prompts that it was trained with."""
    classifier, images, labels = victim
    return classifier.with_templates(CIFAR_TEMPLATES), images, labels


if __name__ == "__main__":
    main()
