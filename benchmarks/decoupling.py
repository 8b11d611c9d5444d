"""How much the guided decoupling search removes and asks, against the published one, on the same samples.

    python benchmarks/decoupling.py [--cifar ../shared/data/cifar10.npz]

Victims: the embedded ``demo:digits``, and a small dual encoder trained here on CIFAR-10 where the images are at hand
(an ``.npz`` with ``x_train``, ``y_train``, ``x_test``, ``y_test``, uint8 NHWC).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import bootstrap
from torch.nn import functional as F

from art_multimodal import ZeroShotClassifier, load_model
from art_multimodal.attacks.evasion import DecouplingAttack
from art_multimodal.datasets import open_data
from art_multimodal.functional.statistics import proportion_ci95
from art_multimodal.models.demo.digits import DigitsEncoder

ROOT = Path(__file__).parents[1]
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_TEMPLATES = (
    "a photo of a {}.",
    "a picture of a {}",
    "an image of the {}",
    "a {}",
    "this is a {}.",
    "one {} here",
)
PROTOCOL = (
    "Samples that the victim classifies correctly, image only, fill: the model's mean colour. `exhaustive` is the "
    "published procedure (label decision). Ratio: mean share removed, guided / exhaustive, over the samples C where "
    "both succeed; its interval is a paired percentile bootstrap over C. Lost: samples that exhaustive wins and guided "
    "does not. Worse: samples of C where guided removes more. Shares are over 32 * 32 pixels and the words of the "
    "template."
)


def cifar_victim(path: Path, epochs: int, seed: int) -> tuple[ZeroShotClassifier, np.ndarray, np.ndarray]:
    """Train a dual encoder on CIFAR-10 and return it with the test images and labels."""
    torch.manual_seed(seed)
    data = np.load(path)
    train = torch.from_numpy(data["x_train"]).permute(0, 3, 1, 2).float() / 255
    labels = torch.from_numpy(data["y_train"].astype(np.int64))
    model = DigitsEncoder()
    steps = epochs * len(train) // 128
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    model.train()
    for step in range(steps):
        rows = torch.randint(len(train), (128,), generator=generator)
        images = F.pad(train[rows], (4, 4, 4, 4), mode="reflect")
        top, left = torch.randint(9, (2,), generator=generator).tolist()
        images = images[..., top : top + 32, left : left + 32]
        if step % 2:
            images = images.flip(-1)
        template = CIFAR_TEMPLATES[step % len(CIFAR_TEMPLATES)]
        logits = model(images, model.tokenize([template.replace("{}", name) for name in CIFAR_CLASSES]))
        loss = F.cross_entropy(logits, labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    classifier = ZeroShotClassifier(model.eval(), CIFAR_CLASSES, CIFAR_TEMPLATES[0], device_type="cpu")
    images = np.ascontiguousarray(data["x_test"].transpose(0, 3, 1, 2)).astype(np.float32) / 255
    return classifier, images, data["y_test"].astype(np.int64)


def digits_victim() -> tuple[ZeroShotClassifier, np.ndarray, np.ndarray]:
    """Return the embedded model with its held-out digits."""
    data = open_data("demo:digits")
    images = np.stack([data.image(index) for index in range(len(data))])
    labels = np.array([data.label_of(index) for index in range(len(data))])
    model = load_model("demo:digits")
    return ZeroShotClassifier(model, data.class_names, data.templates, device_type="cpu"), images, labels


def run(classifier: ZeroShotClassifier, images: np.ndarray, **settings: Any) -> dict[str, np.ndarray]:
    """Attack and return, per sample, success, share and queries; every success is checked by a prediction."""
    attack = DecouplingAttack(classifier, modalities="image", verbose=False, **settings)
    labels = classifier.predict(attack.generate(images)).argmax(axis=1)
    records = attack.records
    if any((label != r.label_before) != r.success for label, r in zip(labels, records, strict=True)):
        raise SystemExit("A record's success does not agree with the model's prediction.")
    return {
        "success": np.array([r.success for r in records]),
        "share": np.array([r.share_removed for r in records]),
        "queries": np.array([r.queries for r in records]),
    }


def compare(guided: dict[str, np.ndarray], exhaustive: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the measures of one search against the published one."""
    common = guided["success"] & exhaustive["success"]
    shares = guided["share"][common], exhaustive["share"][common]

    def ratio(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return a.mean(axis=axis) / b.mean(axis=axis)

    interval = bootstrap(
        shares, ratio, paired=True, n_resamples=2000, method="percentile", rng=np.random.default_rng(0)
    )
    wins = guided["share"][guided["success"]]
    mean = bootstrap((wins,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(0))
    small = guided["success"] & (guided["share"] <= 0.25)
    return {
        "n": len(common),
        "success": float(guided["success"].mean()),
        "success_ci95": list(proportion_ci95(int(guided["success"].sum()), len(common)) or ()),
        "success_at_quarter": float(small.mean()),
        "share_mean": float(wins.mean()),
        "share_mean_ci95": list(mean.confidence_interval),
        "share_median": float(np.median(wins)),
        "ratio": float(ratio(*shares)),
        "ratio_ci95": list(interval.confidence_interval),
        "common": int(common.sum()),
        "lost": int((exhaustive["success"] & ~guided["success"]).sum()),
        "worse": int((shares[0] > shares[1] + 1e-12).sum()),
        "queries_mean": float(guided["queries"].mean()),
        "queries_max": int(guided["queries"].max()),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Attack every victim with every search."""
    victims = {"demo:digits": digits_victim()}
    if options.cifar.is_file():
        victims["CIFAR-10 dual encoder"] = cifar_victim(options.cifar, options.epochs, seed=0)
    results: dict[str, Any] = {}
    for name, (classifier, images, labels) in victims.items():
        right = np.flatnonzero(classifier.predict(images).argmax(axis=1) == labels)
        chosen = images[right[: options.samples]]
        exhaustive = run(classifier, chosen, search="exhaustive")
        searches = {"exhaustive": compare(exhaustive, exhaustive)}
        for white_box in (False, True):
            for max_queries in options.queries:
                guided = run(classifier, chosen, search="guided", white_box=white_box, max_queries=max_queries)
                searches[f"{'white' if white_box else 'black'} box, {max_queries}"] = compare(guided, exhaustive)
        accuracy = len(right) / len(labels)
        results[name] = {"clean_accuracy": accuracy, "searches": searches}
    return results


def table_of(results: dict[str, Any]) -> dict[str, list[Any]]:
    """The results as the docs print them."""
    header = [
        "victim",
        "search",
        "success",
        "at share ≤ 25 %",
        "mean share",
        "95 %",
        "ratio on C",
        "95 %",
        "lost",
        "worse",
    ]
    rows = []
    for victim, result in results.items():
        for search, row in result["searches"].items():
            low, high = row["share_mean_ci95"]
            cells = [victim, search, f"{row['success']:.3f}", f"{row['success_at_quarter']:.3f}"]
            cells += [f"{100 * row['share_mean']:.2f} %", f"{100 * low:.2f} to {100 * high:.2f}"]
            low, high = row["ratio_ci95"]
            cells += [f"{row['ratio']:.3f}", f"{low:.3f} to {high:.3f}", row["lost"], row["worse"]]
            rows.append([*cells, f"{row['queries_mean']:.0f}"])
    return {"header": [*header, "queries"], "rows": rows}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cifar", type=Path, default=ROOT.parent / "shared" / "data" / "cifar10.npz")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--queries", type=int, nargs="+", default=[100, 500])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "decoupling.json")
    options = parser.parse_args(arguments)
    results = measure(options)
    result = {
        "protocol": PROTOCOL,
        "command": "python benchmarks/decoupling.py",
        "settings": {"samples": options.samples, "epochs": options.epochs, "seed": 0, "queries": options.queries},
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
        "results": results,
        "table": table_of(results),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    widths = [max(len(str(row[i])) for row in [result["table"]["header"], *result["table"]["rows"]]) for i in range(11)]
    for row in [result["table"]["header"], *result["table"]["rows"]]:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)))
    accuracies = {name: round(statistics.fmean([r["clean_accuracy"]]), 3) for name, r in results.items()}
    print("clean accuracy:", accuracies)
    return result


if __name__ == "__main__":
    main()
