"""How much the guided decoupling search removes and asks, against the published one, on the same samples.

    python benchmarks/decoupling.py [--cifar ../shared/data/cifar10.npz]

Victims: every fusion of the embedded ``demo:shapes``, the embedded ``demo:digits``, and a small dual encoder trained on
CIFAR-10 where the images are at hand (an ``.npz`` with ``x_train``, ``y_train``, ``x_test``, ``y_test``, uint8 NHWC).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import bootstrap

sys.path.insert(0, str(Path(__file__).parent))
from victims import CIFAR, ROOT, Victim, cifar_victim, digits_victim, shapes_victim

from art_multimodal.attacks.evasion import DecouplingAttack, DecouplingRecord
from art_multimodal.attacks.evasion.decoupling.importance import labels_without
from art_multimodal.demo.shapes import FUSIONS
from art_multimodal.functional.statistics import mean_ci95, proportion_ci95

PROTOCOL = (
    "Samples that the victim classifies correctly, the first of them in the order of the data. Fill: the model's mean "
    "colour. `exhaustive` is the published procedure (label decision). The first table is on the image alone. Ratio: "
    "mean share removed, guided / exhaustive, over the samples C where both succeed; its interval is a paired "
    "percentile bootstrap over C. Samples of demo:shapes come in groups of four that share two images, which the "
    "intervals do not take into account. Lost: samples that exhaustive wins and guided does not. Worse: samples of C "
    "where guided removes more. To reach: queries until guided had removed no more than exhaustive in the end (all "
    "that it asked, where it did not get there), mean over C, and how many exhaustive asked there; a gradient counts "
    "as two. Shares are over 32 * 32 pixels and the words of the text (of the template for dual encoders). The second "
    "table is on image and text together; without image or text: accuracy over all samples with the whole modality "
    "removed."
)
Results = dict[str, Any]


def attack(victim: Victim, x: np.ndarray, **settings: Any) -> list[DecouplingRecord]:
    """Attack and return the records; every one is checked by a prediction of what came back."""
    classifier = victim[0]
    attack = DecouplingAttack(classifier, verbose=False, **settings)
    adversarial = attack.generate(x)
    labels = classifier.predict_labels(adversarial)
    for row, record in enumerate(attack.records):
        label = labels[row]
        if record.words and not hasattr(classifier, "image_view"):
            label = classifier.with_templates(attack.templates_of(record)).predict_labels(adversarial[row : row + 1])[0]
        if label != record.label_after or (label != record.label_before) != record.success:
            raise SystemExit("A record does not agree with the model's prediction.")
    return attack.records


def _ratio(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
    return a.mean(axis=axis) / b.mean(axis=axis)


def compare(guided: list[DecouplingRecord], exhaustive: list[DecouplingRecord]) -> Results:
    """Return the measures of one search against the published one."""
    common = [(g, e) for g, e in zip(guided, exhaustive, strict=True) if g.success and e.success]
    shares = np.array([g.share_removed for g, _ in common]), np.array([e.share_removed for _, e in common])
    interval = bootstrap(
        shares, _ratio, paired=True, n_resamples=2000, method="percentile", rng=np.random.default_rng(0)
    )
    wins = [g for g in guided if g.success]
    removed = np.array([g.share_removed for g in wins])
    small = sum(share <= 0.25 for share in removed)
    points = [(g, e.pixels + len(e.words)) for g, e in common]
    # Where it was not reached, all queries were spent for nothing.
    reached = [next((queries for queries, n in g.progress if n <= least), g.queries) for g, least in points]
    return {
        "n": len(guided),
        "success": len(wins) / len(guided),
        "success_ci95": proportion_ci95(len(wins), len(guided)),
        "success_at_quarter": small / len(guided),
        "share_mean": float(removed.mean()),
        "share_mean_ci95": mean_ci95(removed.tolist(), (0, 1)),
        "share_median": float(np.median(removed)),
        "ratio": float(_ratio(*shares)),
        "ratio_ci95": [float(end) for end in interval.confidence_interval],
        "common": len(common),
        "lost": sum(e.success and not g.success for g, e in zip(guided, exhaustive, strict=True)),
        "worse": int((shares[0] > shares[1] + 1e-12).sum()),
        "queries_mean": float(np.mean([g.queries for g in guided])),
        "queries_max": max(g.queries for g in guided),
        "queries_to_reach": float(np.mean(reached)) if any(g.progress for g in guided) else None,
        "queries_of_exhaustive": float(np.mean([e.queries for _, e in common])),
        "pixels_mean": float(np.mean([g.pixels for g in wins])),
        "words_mean": float(np.mean([len(g.words) for g in wins])),
        "image_only": sum(g.pixels > 0 and not g.words for g in wins),
        "text_only": sum(g.pixels == 0 and len(g.words) > 0 for g in wins),
        "both": sum(g.pixels > 0 and len(g.words) > 0 for g in wins),
    }


def measure_victim(victim: Victim, samples: int, queries: list[int]) -> Results:
    """Attack one victim with every search, on the image alone and on both modalities."""
    classifier, x, labels = victim
    right = np.flatnonzero(classifier.predict_labels(x) == labels)
    chosen = x[right[:samples]]
    results: Results = {
        "clean_accuracy": len(right) / len(labels),
        "without": {m: float((labels_without(classifier, x, m) == labels).mean()) for m in ("image", "text")},
    }
    for name, modalities, limits in (("image", ("image",), queries), ("both", ("image", "text"), queries[-1:])):
        exhaustive = attack(victim, chosen, search="exhaustive", modalities=modalities)
        searches = {"exhaustive": compare(exhaustive, exhaustive)}
        for white_box in (False, True):
            for limit in limits:
                records = attack(victim, chosen, white_box=white_box, max_queries=limit, modalities=modalities)
                searches[f"{'white' if white_box else 'black'} box, {limit}"] = compare(records, exhaustive)
        results[name] = searches
    return results


def _percent(value: float, digits: int = 2) -> str:
    return f"{100 * value:.{digits}f} %"


def _interval(ends: list[float] | None, scale: float, digits: int) -> str:
    return "" if ends is None else f"{scale * ends[0]:.{digits}f} to {scale * ends[1]:.{digits}f}"


def tables_of(results: dict[str, Results]) -> list[Results]:
    """The results as the docs print them."""
    image, both = [], []
    for victim, result in results.items():
        for search, r in result["image"].items():
            to_reach = "" if r["queries_to_reach"] is None else f"{r['queries_to_reach']:.1f}"
            image.append(
                [
                    *(victim, search, f"{r['success']:.3f}", f"{r['success_at_quarter']:.3f}"),
                    *(_percent(r["share_mean"]), _interval(r["share_mean_ci95"], 100, 2)),
                    *(f"{r['ratio']:.3f}", _interval(r["ratio_ci95"], 1, 3), r["lost"], r["worse"]),
                    *(f"{r['queries_mean']:.0f}", to_reach, f"{r['queries_of_exhaustive']:.1f}"),
                ]
            )
        for search, r in result["both"].items():
            without = result["without"]
            both.append(
                [
                    *(victim, search, f"{r['success']:.3f}", _percent(r["share_mean"], 3)),
                    *(_interval(r["share_mean_ci95"], 100, 3), f"{r['pixels_mean']:.1f}", f"{r['words_mean']:.2f}"),
                    *(f"{r['image_only']} / {r['text_only']} / {r['both']}", f"{r['queries_mean']:.0f}"),
                    f"{result['clean_accuracy']:.3f} / {without['image']:.3f} / {without['text']:.3f}",
                ]
            )
    header = ["victim", "search", "success", "at share ≤ 25 %", "mean share", "95 %", "ratio on C", "95 %", "lost"]
    header += ["worse", "queries", "to reach", "exhaustive asked"]
    header_both = ["victim", "search", "success", "mean share", "95 %", "pixels", "words", "image / text / both"]
    header_both += ["queries", "accuracy with both / without image / without text"]
    return [
        {"title": "Image alone", "header": header, "rows": image},
        {"title": "Image and text", "header": header_both, "rows": both},
    ]


def main(arguments: list[str] | None = None) -> Results:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cifar", type=Path, default=CIFAR)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--queries", type=int, nargs="+", default=[100, 500])
    parser.add_argument("--fusions", nargs="*", default=list(FUSIONS))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "decoupling.json")
    options = parser.parse_args(arguments)
    victims = {f"demo:shapes/{fusion}": shapes_victim(fusion) for fusion in options.fusions}
    victims["demo:digits"] = digits_victim()
    if options.cifar.is_file():
        victims["CIFAR-10 dual encoder"] = cifar_victim(options.cifar, options.epochs)
    results = {}
    for name, victim in victims.items():
        results[name] = measure_victim(victim, options.samples, options.queries)
        print(name, f"clean accuracy {results[name]['clean_accuracy']:.3f}", flush=True)
    result = {
        "protocol": PROTOCOL,
        "command": "python benchmarks/decoupling.py",
        "settings": {"samples": options.samples, "epochs": options.epochs, "seed": 0, "queries": options.queries},
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
        "results": results,
        "tables": tables_of(results),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=2)
    options.out.write_text(text + "\n", encoding="utf-8")
    for table in result["tables"]:
        print(f"\n{table['title']}")
        lines = [[str(cell) for cell in row] for row in (table["header"], *table["rows"])]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    return json.loads(text)


if __name__ == "__main__":
    main()
