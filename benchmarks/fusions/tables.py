"""From cells to tables: shares with intervals, and what claims the comparison bears out.

python -m benchmarks.fusions.tables
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fusions.__main__ import SEEDS
from benchmarks.fusions.cells import NOISE, QUERIES, STARTS, STEPS
from benchmarks.fusions.claims import SAID, any_single, demands, joint, noise, schedules, share_of, single
from benchmarks.fusions.contenders import BATCH, CONTENDERS, LEARNING_RATE, WIDTH
from benchmarks.fusions.contenders import DROPOUT as MISSING
from benchmarks.fusions.contenders import STEPS as IN_TRAINING
from benchmarks.fusions.problems import PROBLEMS, TESTED
from benchmarks.fusions.store import CELLS, cell_of, load

RESULTS = Path(__file__).parents[1] / "results" / "fusions.json"
PROTOCOL = (
    f"Towers of width {WIDTH} for each modality, trained from nothing (AdamW, learning rate {LEARNING_RATE:g}, batches "
    f"of {BATCH}, each modality missing in {MISSING:.0%} of the samples) as the fusion's paper trains it; at most "
    f"{TESTED} test samples, which nothing was chosen by. Towers of `demo:rgbd` learn first which colours and depths "
    "belong together, without labels; of `demo:spoken/complementary` each digit and recording stands in eight pairs. "
    "Single source: a sample counts as right if no attack on "
    "that modality alone misleads it: PGD on cross-entropy, on the margin, and where the fusion weighs votes on these "
    f"(confidence, agreement, towards every other class), {STEPS} steps, {STARTS} random start. Joint: nor any of "
    "those on one, nor PGD on all at once. What falls at a smaller radius counts as fallen at larger ones. Noise: "
    f"Gaussian, standard deviations {', '.join(map(str, NOISE))} of the range. Missing: the model is told. Removed: it "
    "is not. Names with a schedule are trained on batches of which half is attacked at the middle radius (large: the "
    f"largest), {IN_TRAINING} steps "
    f"on each modality, or as many in all. Decoupling: guided, {QUERIES} queries. Shares in % with half the width of "
    "the 95 % interval, over samples and training seeds; the column seeds says how many."
)


def read(folder: Path, problem: str, contender: str) -> list[dict[str, np.ndarray]]:
    """The cells of a contender that there are, one for each seed."""
    files = [cell_of(folder, problem, contender, seed) for seed in range(SEEDS)]
    return [load(file) for file in files if file.exists()]


def table_of(folder: Path, problem_name: str) -> dict[str, Any] | None:
    """The table of a data set, of the contenders whose cells are there."""
    cells = {name: read(folder, problem_name, name) for name in CONTENDERS}
    cells = {name: found for name, found in cells.items() if found}
    if not cells:
        return None
    problem = PROBLEMS[problem_name]()
    radii = problem.radii
    columns: dict[str, tuple[str, ...]] = {"clean": ("clean",)}
    for level in NOISE:
        columns[f"noise {level}, worst"] = tuple(f"noise/{name}/{level}" for name in radii)
    columns["one missing, worst"] = tuple(f"missing/{name}" for name in radii)
    columns["one removed, worst"] = tuple(f"removed/{name}" for name in radii)
    for number in range(3):
        columns[f"single {_said(radii, number)}"] = any_single(radii, number)
        columns[f"joint {_said(radii, number)}"] = joint(number)
    rows, values = [], {}
    for name, found in cells.items():
        shares = {}
        for title, conditions in columns.items():
            # Of what an attacker may choose every sample counts; of what fails by chance the worst modality.
            if title.startswith(("single", "joint")):
                shares[title] = share_of(found, *conditions).estimate()
            else:
                of_each = [share_of(found, one).estimate() for one in conditions]
                shares[title] = min(of_each, key=lambda one: one["value"])
        values[name] = {
            "seeds": len(found),
            "columns": shares,
            "single": {
                one: {f"{r:.4g}": share_of(found, *single(one, of, place)).estimate() for place, r in enumerate(of)}
                for one, of in radii.items()
            },
            "weights": _weights(found, radii),
            "decoupling": {one: _decoupling([cell[f"decoupling/{one}"] for cell in found]) for one in radii},
            "training_seconds": round(float(np.mean([c["seconds/training"] for c in found])), 1),
        }
        rows.append([name, len(found), *(_cell(shares[title]) for title in columns)])
    return {
        "title": (PROBLEMS[problem_name].__doc__ or "").rstrip("."),
        "header": ["fusion", "seeds", *columns],
        "rows": rows,
        "values": values,
        "trust": _trust(cells, radii),
        "noise": noise(cells, radii),
        "schedules": schedules(cells, radii),
        "demands": demands(cells, radii),
    }


def _said(radii: dict[str, tuple[float, float, float]], number: int) -> str:
    found = sorted({of[number] for of in radii.values()})
    # Those of images are steps of a byte.
    shown = [f"{round(r * 255)}/255" if r * 255 in (2, 4, 8) else f"{r:g}" for r in found]
    return ", ".join(shown)


def _cell(estimate: dict[str, Any]) -> str:
    low, high = estimate["ci95"]
    return f"{100 * estimate['value']:.1f} ± {50 * (high - low):.1f}"


def _decoupling(found: list[np.ndarray]) -> list[float | None]:
    """Mean share that is removed, and of how many samples of how many that succeeds; ``None`` where of none."""
    means = [[number for number in column if not np.isnan(number)] for column in np.transpose(found)]
    return [round(float(np.mean(numbers)), 4) if numbers else None for numbers in means]


def _weights(cells: list[dict[str, np.ndarray]], radii: dict[str, Any]) -> dict[str, Any]:
    """Mean weight and correlation with the own loss of the attacked modality, before and after."""
    found = {}
    for name in radii:
        if f"weights/{name}/before" in cells[0]:
            parts = [[cell[f"weights/{name}/{when}"] for cell in cells] for when in ("before", "after")]
            # Where all weights are one there is no correlation.
            means = [np.mean(part, axis=0).round(3).tolist() for part in parts]
            found[name] = [[None if np.isnan(number) else number for number in mean] for mean in means]
    return found


def _trust(cells: dict[str, list[dict[str, np.ndarray]]], radii: dict[str, Any]) -> dict[str, Any]:
    """Accuracy without the worst modality less accuracy while it is attacked, at the middle and the largest radius.

    ``kept`` is the share of the former that the latter is.
    """
    found: dict[str, Any] = {}
    for name, of in cells.items():
        found[name] = []
        for number in (1, 2):
            pairs = {
                one: (share_of(of, f"missing/{one}"), share_of(of, *single(one, r, number))) for one, r in radii.items()
            }
            costs = {one: (without - attacked).estimate() for one, (without, attacked) in pairs.items()}
            worst = max(costs, key=lambda one: costs[one]["value"])
            kept = pairs[worst][1].value / pairs[worst][0].value
            found[name].append({"modality": worst, "kept": round(kept, 3), **costs[worst]})
    return found


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Read the cells, write the result, and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cells", type=Path, default=CELLS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    tables = {name: table for name in PROBLEMS if (table := table_of(options.cells, name)) is not None}
    result = {
        "protocol": PROTOCOL,
        "command": "python -m benchmarks.fusions; python -m benchmarks.fusions.tables",
        "claims": SAID,
        "problems": tables,
    }
    options.out.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    for table in tables.values():
        print(table["title"])
        for row in (table["header"], *table["rows"]):
            print("  ".join(f"{cell!s:<12}" for cell in row))
    return result


if __name__ == "__main__":
    main()
