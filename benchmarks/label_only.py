"""Do attacks that see labels alone break defences at test time, and how many questions do they need?

    python -m benchmarks.label_only

Each defence is written as it ends; what is there is not asked again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from art_multimodal import ZeroShotClassifier, load_model
from art_multimodal.attacks.evasion.label_only import SEARCHES, search_labels
from art_multimodal.datasets import open_data
from art_multimodal.defences.test_time import CoarseGrid, Purification, RandomResizePad, TestTimeDefence
from art_multimodal.evaluations.suite import Budget
from art_multimodal.evaluations.suite.image import ImageAttack, square
from art_multimodal.functional.statistics import proportion_ci95

ROOT = Path(__file__).parents[1]
DEFENCES: dict[str, TestTimeDefence | None] = {
    "none": None,
    "purification": Purification(),
    "coarse_grid": CoarseGrid(side=8, levels=3),
    "resize_pad": RandomResizePad(),
}
NAMES = {"hop_skip_jump": "HopSkipJump", "sign_opt": "Sign-OPT"}
PROTOCOL = (
    "`demo:digits`, the first {samples} held-out digits of a seed, l_inf, eps {eps:g}/255, {queries} questions to the "
    "defended model about each image. A random defence answers whoever attacks with other draws than those that score. "
    "Right in %, with 95 % intervals; what is wrong without an attack counts as wrong. HopSkipJump and Sign-OPT see "
    "labels alone, Square sees scores. Nearest: the median over images of the l_inf distance, in 255ths, of the "
    "nearest picture that got another label, inside of the ball or not. Most asked: the most questions about one "
    "image, by a counter in front of the model. Passes: forward passes of the image tower for one question."
)


class Watched:
    """The defended model behind a counter: what it is asked, and how near the nearest picture with another label is.

    :param classifier: Asked.
    :param clean: The image, ``(3, H, W)``.
    :param label: What is right.
    """

    def __init__(self, classifier: ZeroShotClassifier, clean: np.ndarray, label: int) -> None:
        self.classifier, self.clean, self.label = classifier, clean, label
        self.asked, self.nearest = 0, float("inf")

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Labels, as rows of the identity."""
        self.asked += len(images)
        said = self.classifier.predict_labels(images)
        for image in images[said != self.label]:
            self.nearest = min(self.nearest, float(np.abs(image - self.clean).max()))
        return np.eye(self.classifier.nb_classes, dtype=np.float32)[said]


def measured(
    bare: ZeroShotClassifier, name: str, x: np.ndarray, y: np.ndarray, options: argparse.Namespace
) -> dict[str, Any]:
    """What each attack leaves behind a defence, image by image."""
    defence, eps = DEFENCES[name], options.eps / 255
    answering = asked = bare
    if defence is not None:
        answering = bare.with_test_time_defence(defence)
        asked = bare.with_test_time_defence(defence.with_params(seed=1)) if defence.random else answering
    right = answering.predict_labels(x) == y
    found: dict[str, Any] = {"clean": right.tolist(), "passes": 1 if defence is None else defence.passes().forward}
    budget = Budget(eps=eps, max_queries=options.queries, batch_size=len(x))
    made = ImageAttack(asked, budget, square).attack(x, y, 0).x
    found["square"] = (right & (answering.predict_labels(made) == y)).tolist()
    for attack, search in SEARCHES.items():
        left, nearest, most = right.copy(), [], 0
        for row in np.flatnonzero(right):
            # The right label, as in an audit: where other draws say another one of the image itself, that is it.
            label, watched = int(y[row]), Watched(asked, x[row], int(y[row]))
            made_one = search_labels(
                search, watched, x[row], label, np.inf, eps, options.queries, bare.nb_classes, int(row)
            )
            left[row] = answering.predict_labels(made_one.image[None])[0] == y[row]
            nearest.append(round(255 * watched.nearest, 2) if np.isfinite(watched.nearest) else None)
            most = max(most, watched.asked)
        found[attack] = {"left": left.tolist(), "nearest": nearest, "most": most}
    return found


def row_of(name: str, cell: dict[str, Any]) -> list[str]:
    """What the table says of a defence."""
    row = [name, _share(cell["clean"]), _share(cell["square"])]
    for attack in SEARCHES:
        one = cell[attack]
        found = [np.inf if near is None else near for near in one["nearest"]]
        middle = float(np.median(found)) if found else np.inf
        row += [_share(one["left"]), f"{middle:.0f}" if np.isfinite(middle) else "none"]
    return [*row, str(max(cell[attack]["most"] for attack in SEARCHES)), str(cell["passes"])]


def _share(right: list[bool]) -> str:
    low, high = proportion_ci95(sum(right), len(right)) or (0.0, 0.0)
    return f"{100 * sum(right) / len(right):.0f} ({100 * low:.0f} to {100 * high:.0f})"


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure what is not measured yet, and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--queries", type=int, default=150)
    parser.add_argument("--eps", type=float, default=6)
    parser.add_argument("--defences", nargs="+", choices=list(DEFENCES), default=list(DEFENCES))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "label_only.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    settings = {name: getattr(options, name) for name in ("samples", "queries", "eps")}
    known = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    cells: dict[str, Any] = known["cells"] if known.get("settings") == settings else {}
    data = open_data("demo:digits")
    rows = np.random.default_rng(0).permutation(len(data))[: options.samples]
    x = np.stack([data.image(int(row)) for row in rows])
    y = np.array([data.label_of(int(row)) for row in rows])
    bare = ZeroShotClassifier(load_model("demo:digits"), data.class_names, data.templates, device_type="cpu")
    columns = [part for name in NAMES.values() for part in (name, "nearest")]
    result: dict[str, Any] = {}
    for name in options.defences:
        started = time.process_time()
        if name not in cells:
            cells[name] = measured(bare, name, x, y, options)
            print(*row_of(name, cells[name]), f"{time.process_time() - started:.0f} s", sep=" | ", flush=True)
        result = {
            "protocol": PROTOCOL.format(**settings),
            "command": "python -m benchmarks.label_only",
            "settings": settings,
            "table": {
                "header": ["defence", "clean", "Square", *columns, "most asked", "passes"],
                "rows": [row_of(f"`{known}`", cells[known]) for known in DEFENCES if known in cells],
            },
            "cells": cells,
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
