"""Do defences that look best withstand longer descents? More steps and draws, on the first images of the study.

python -m benchmarks.test_time.longer
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

from art_multimodal.attacks.evasion import ProjectedGradientDescentDualEncoder
from art_multimodal.functional.statistics import proportion_ci95
from benchmarks.test_time.cells import AT_ONCE, SEVERAL_VIEWS, together
from benchmarks.test_time.defences import BARE, defence_of
from benchmarks.test_time.models import PROBLEMS, Problem
from benchmarks.test_time.store import CELLS, cell_of, load, missing

ROOT = Path(__file__).parents[2]
LONGER_CELLS = CELLS.with_name("test_time_longer")
RESULTS = LONGER_CELLS.with_suffix(".json")
#: Of the study's first seed. Steps of a descent, each of a twentieth of the radius, and draws of random defences.
SEED, IMAGES, STEPS, SHARE, DRAWS = 0, 40, 50, 20, 4
LOSSES = ("cross_entropy", "margin")
NAMES = ("view_voting", "r_tpt", "dbd", "purification", "et3", BARE)
PROTOCOL = (
    f"The first {IMAGES} images of the study, its first seed, within its radius. Longer: two more descents through the "
    f"unrolled defence, on the cross-entropy and on the margin, {STEPS} steps of 1/{SHARE} of the radius from the "
    f"image, over {DRAWS} draws of random defences (one of those that ask about more than {SEVERAL_VIEWS} views). "
    "`worst`: right under all attacks of the study and under none, on the same images. `and longer`: right under "
    "these, too. In percent, with 95 % intervals over images."
)


def longer(problem: Problem, name: str) -> dict[str, np.ndarray]:
    """Which images are right under the longer descents."""
    defence = defence_of(name, problem.bare, problem.others)
    x, y = problem.x[:IMAGES], problem.y[:IMAGES]
    answering = attacked = problem.bare
    views = 1
    if defence is not None:
        views = defence.passes().forward
        draws = DRAWS if defence.random and views <= SEVERAL_VIEWS else 1
        answering = problem.bare.with_test_time_defence(defence.with_params(seed=2 * SEED))
        attacked = problem.bare.with_test_time_defence(defence.with_params(seed=2 * SEED + 1, draws=draws))
    size = max(8, AT_ONCE // views)
    ball: dict[str, Any] = {"eps": problem.eps, "eps_step": problem.eps / SHARE, "max_iter": STEPS}
    ball |= {"seed": SEED, "verbose": False, "batch_size": size}
    found = {}
    for loss in LOSSES:
        images = ProjectedGradientDescentDualEncoder(attacked, loss=loss, **ball).generate(x, y)
        found[loss] = answering.predict_labels(images, batch_size=size) == y
    return found


def rows_of(cells: Path, kept: Path) -> list[list[str]]:
    """A row for each defence and model that was measured."""
    rows = []
    for model in PROBLEMS:
        for name in NAMES:
            file, of_study = cell_of(kept, model, name, SEED), cell_of(cells, model, name, SEED)
            if not (file.exists() and of_study.exists()):
                continue
            before, found = together(load(of_study)), load(file)
            worst = before["worst"][:IMAGES]
            both = worst & np.logical_and.reduce([found[loss] for loss in LOSSES])
            alone = [f"{100 * found[loss].mean():.1f}" for loss in LOSSES]
            rows.append([f"`{name}`", model, _share(before["naive"][:IMAGES]), _share(worst), *alone, _share(both)])
    return rows


def _share(right: np.ndarray) -> str:
    low, high = proportion_ci95(int(right.sum()), len(right)) or (0.0, 1.0)
    return f"{100 * right.mean():.1f} ({100 * low:.0f} to {100 * high:.0f})"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--defences", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--cells", type=Path, default=LONGER_CELLS)
    parser.add_argument("--study", type=Path, default=CELLS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for model, name, _, seconds in missing(options.cells, options.models, options.defences, SEED, longer):
        print(f"{model}, {name}: {seconds:.0f} s", flush=True)
    header = ["defence", "model", "naive", "worst", *(f"longer, {loss}" for loss in LOSSES), "and longer"]
    table = {"title": "Longer descents", "header": header, "rows": rows_of(options.study, options.cells)}
    result = {
        "protocol": PROTOCOL,
        "command": "python -m benchmarks.test_time.longer",
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
        "tables": [table],
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print("\n".join(" | ".join(row) for row in [table["header"], *table["rows"]]))


if __name__ == "__main__":
    main()
