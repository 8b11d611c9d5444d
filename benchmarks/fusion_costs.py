"""What fusions cost: a forward pass of each in relation to concatenation, and a training step to a plain one.

python benchmarks/fusion_costs.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from art_multimodal import FusionClassifier
from art_multimodal.defences.trainer import METHODS, FusionTrainer, TrainingSettings
from art_multimodal.modalities import image
from art_multimodal.models.families.modular.model import ModularModel, Tower
from art_multimodal.models.fusions import FUSIONS
from art_multimodal.sample_arrays import samples

ROOT = Path(__file__).parents[1]
PROTOCOL = (
    "Three modalities, images of {size} x {size} pixels, each with a ResNet-18 of its own and embeddings of {width}; "
    "batches of {batch}, ten classes, one thread. CPU seconds of a forward pass and of a training step, of all in turn "
    "in one process, after a round that is not counted; the ratio is the median over {repeats} rounds. Below 1 a "
    "fusion is cheaper than concatenation with the same towers, or a training cheaper than cross-entropy alone."
)
WIDTH, CLASSES = 64, 10
NAMES = ("rgb", "depth", "thermal")
#: Which fusion a method is for; others train any.
OF_METHODS = {
    **{name: name for name in ("qmf", "unis_mmc", "mla", "deq")},
    **{"crmt": "orthogonal", "mmlora": "late", "auxiliary": "late"},
}


def model_of(fusion: str, size: int) -> ModularModel:
    """A model with real towers."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    towers = []
    for name in NAMES:
        tower = resnet18(weights=None, num_classes=WIDTH)
        tower.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
        towers.append(Tower(image(name, 1, size, size), tower, WIDTH))
    return ModularModel(towers, fusion, [f"class {number}" for number in range(CLASSES)]).eval()


def batch_of(count: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return samples(**{name: rng.random((count, 1, size, size), dtype=np.float32) for name in NAMES})


def in_turn(work: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """CPU seconds of each, round by round."""
    for run in work.values():
        run()
    found: dict[str, list[float]] = {name: [] for name in work}
    for number in range(repeats):
        # Forwards and backwards, so that none is always after the same one.
        for name in list(work)[:: 1 if number % 2 == 0 else -1]:
            started = time.process_time()
            work[name]()
            found[name].append(time.process_time() - started)
    return found


def ratios(seconds: dict[str, list[float]], base: str) -> dict[str, float]:
    """The median over rounds of the ratio to one of them."""
    return {
        name: round(statistics.median(own / of for own, of in zip(times, seconds[base], strict=True)), 3)
        for name, times in seconds.items()
    }


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--fusions", nargs="+", choices=list(FUSIONS), default=list(FUSIONS))
    parser.add_argument("--methods", nargs="+", choices=list(OF_METHODS), default=list(OF_METHODS))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "fusion_costs.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*fixed points were not reached")
    x = batch_of(options.batch, options.size)
    models = {name: model_of(name, options.size) for name in dict.fromkeys(("concat", "late", *options.fusions))}
    inputs = {name: model.collate(x) for name, model in models.items()}

    def forward(name: str) -> Callable[[], Any]:
        return torch.no_grad()(lambda: models[name](inputs[name]))

    seconds = in_turn({name: forward(name) for name in models}, options.repeats)
    against_concat, against_late = ratios(seconds, "concat"), ratios(seconds, "late")
    found = getattr(models.get("deq"), "fusion", None)
    steps = [] if found is None or found.found is None else found.found.steps.tolist()
    y = np.arange(options.batch) % CLASSES

    def training(method: str, fusion: str) -> Callable[[], Any]:
        classifier = FusionClassifier(model_of(fusion, options.size), device_type="cpu")
        # All of its stages take a step; the first alone is compared.
        first = METHODS[method] if METHODS[method].then is None else _first(method)
        trainer = FusionTrainer(classifier, first, TrainingSettings(learning_rate=1e-4))
        return lambda: trainer.fit(x, y, batch_size=options.batch, nb_epochs=1)

    work = {f"{method} ({OF_METHODS[method]})": training(method, OF_METHODS[method]) for method in options.methods}
    trained = ratios(
        in_turn({"plain (concat)": training("plain", "concat"), **work}, options.repeats), "plain (concat)"
    )
    rows = [
        [name, f"{against_concat[name]:.2f}", f"{against_late[name]:.2f}"] for name in models if name in options.fusions
    ]
    for row in rows:
        print("  ".join(row))
    for name, ratio in trained.items():
        print(f"{name}: {ratio:.2f}")
    result = {
        "protocol": PROTOCOL.format(size=options.size, width=WIDTH, batch=options.batch, repeats=options.repeats),
        "command": "python benchmarks/fusion_costs.py",
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
        "forward": {"concat": against_concat, "late": against_late},
        "deq_steps": steps,
        "training": trained,
        "tables": [
            {"title": "A forward pass", "header": ["fusion", "/ concat", "/ late"], "rows": rows},
            {
                "title": "A step of training",
                "header": ["method (fusion)", "/ plain (concat)"],
                "rows": [[name, f"{ratio:.2f}"] for name, ratio in trained.items()],
            },
        ],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def _first(method: str) -> Any:
    """The first stage of a method alone."""
    from dataclasses import replace

    return replace(METHODS[method], then=None)


if __name__ == "__main__":
    main()
