"""What ART's preprocessors help the embedded digits model: against attackers who do not know of them, and who do.

python benchmarks/defences.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from art.defences.preprocessor.preprocessor import Preprocessor

from art_multimodal.defences.with_gradient import JpegCompressionWithGradient, SpatialSmoothingWithGradient
from art_multimodal.evaluations.audit import Audit, AuditSettings, write_reports

ROOT = Path(__file__).parents[1]
OF_IMAGES: tuple[tuple[str, ...], ...] = (
    (),
    ("feature_squeezing:bit_depth=3",),
    ("jpeg:quality=50",),
    ("spatial_smoothing:window_size=3",),
    ("jpeg:quality=75", "spatial_smoothing:window_size=3"),
    ("gaussian_augmentation:sigma=0.1",),
)
OF_TEXTS: tuple[tuple[str, ...], ...] = ((), ("unicode",), ("spelling",))
PROTOCOL = (
    "demo:digits, {limit} of its held-out images, as `art-multimodal audit` reports them. Images: l_inf, eps "
    "{eps:g}/255, {steps} steps of {eps_step:g}/255 of pgd, as many of apgd_dlr, {queries} queries of square; "
    "`image` is the worst of them for each image, of naive ones too. Texts: one edit or one word of each class "
    "prompt. Naive: the attack is made on the model alone and shown to the defended one. Adaptive: it is made "
    "through the defences, over {draws} draws of random ones. In percent, with 95 % intervals over "
    "images."
)


def audited(options: argparse.Namespace, attacks: str, defences: tuple[str, ...], edits: int = 1) -> dict[str, Any]:
    """The results of an audit of ``demo:digits``."""
    settings = AuditSettings(
        "demo:digits",
        "demo:digits",
        attacks=attacks,
        eps=options.eps / 255,
        eps_step=options.eps_step / 255,
        steps=options.steps,
        max_queries=options.queries,
        limit=options.limit,
        batch_size=50,
        max_edits=edits,
        defences=defences,
        draws=options.draws,
    )
    with tempfile.TemporaryDirectory() as folder:
        report = write_reports(Audit(settings, Path(folder) / "out", device="cpu").evaluate())
    print("; ".join(defences) or "none", {name: row["accuracy"] for name, row in report["results"].items()}, flush=True)
    return report["results"]


def gradients(options: argparse.Namespace) -> dict[str, Any]:
    """What PGD leaves when it follows the gradients of ART's preprocessors, and when it follows ours."""
    rows = []
    for kind, defences in ((JpegCompressionWithGradient, OF_IMAGES[2]), (SpatialSmoothingWithGradient, OF_IMAGES[3])):
        ours = audited(options, "pgd", defences)["pgd"]
        with patch.object(kind, "estimate_gradient", Preprocessor.estimate_gradient):
            arts = audited(options, "pgd", defences)["pgd"]
        rows.append([f"`{defences[0]}`", *map(shown, (ours["naive"], arts, ours))])
    header = ["defence", "pgd, naive", "adaptive, ART's gradient (unchanged)", "adaptive, the gradient here"]
    return {"title": "The gradient makes the difference", "header": header, "rows": rows}


def shown(row: dict[str, Any] | None) -> str:
    """A number with its interval."""
    if row is None:
        return ""
    low, high = row["accuracy_ci95"]
    return f"{100 * row['accuracy']:.0f} ({100 * low:.0f} to {100 * high:.0f})"


def table(
    options: argparse.Namespace,
    title: str,
    attacks: tuple[str, ...],
    tried: Iterable[tuple[str, ...]],
    edits: int = 1,
    worst: tuple[str, ...] = (),
) -> dict[str, Any]:
    """A row for each defence; of each attack, and of the worst of them, the naive number beside the adaptive one."""
    rows = []
    for defences in tried:
        results = audited(options, ",".join(attacks), defences, edits)
        cells = [shown(part) for name in (*attacks, *worst) for part in (results[name].get("naive"), results[name])]
        rows.append([" then ".join(f"`{name}`" for name in defences) or "none", shown(results["clean"]), *cells])
    header = ["defence", "clean", *(f"{name}, {kind}" for name in (*attacks, *worst) for kind in ("naive", "adaptive"))]
    return {"title": title, "header": header, "rows": rows}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--eps", type=float, default=12)
    parser.add_argument("--eps-step", type=float, default=1)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "defences.json")
    options = parser.parse_args(arguments)
    settings = {key: value for key, value in vars(options).items() if key != "out"}
    result = {
        "protocol": PROTOCOL.format(**settings),
        "command": "python benchmarks/defences.py",
        "settings": settings,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
        "tables": [
            table(options, "Attacks on images", ("pgd", "apgd_dlr", "square"), OF_IMAGES, worst=("image",)),
            gradients(options),
            table(options, "Attacks on prompts", ("character_attack", "bert_attack"), OF_TEXTS),
            table(options, "Two edits of each prompt", ("character_attack",), OF_TEXTS[::2], edits=2),
        ],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
