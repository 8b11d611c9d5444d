"""From cells to tables: what is left of each defence under each attack, with intervals, and who is above whom.

python -m benchmarks.test_time.tables
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fusions.tables import share_of
from benchmarks.test_time.cells import ADAPTIVE, ASKS, DRAWS, QUERIES, SEVERAL_VIEWS, UNAWARE, together
from benchmarks.test_time.defences import BARE, DEFENCES, FEWER, IMAGES
from benchmarks.test_time.models import (
    LEARNED_ON,
    PROBLEMS,
    RADII,
    SEEDS,
    STEPS,
    TRANSFER_STEPS,
    UNIVERSAL_STEPS,
    fitted,
    misfit,
)
from benchmarks.test_time.ranking import Cells, against_training, agreement, doubts, effects, overall, ranking, standing
from benchmarks.test_time.store import CELLS, cell_of, load
from benchmarks.test_time.training import EPOCHS, ROBUST

RESULTS = Path(__file__).parents[1] / "results" / "test_time.json"
PLAIN, TRAINED = "cifar", f"cifar/{ROBUST}"
PROTOCOL = (
    f"{IMAGES} images that no training has seen, and the first of them for what asks the model too often: "
    f"{', '.join(f'{count} for `{name}`' for name, count in FEWER.items())}; l_inf within the radius in the title. "
    f"`cifar`: a small CLIP of `benchmarks/robust_training`, pretrained for {EPOCHS} epochs, another one for each "
    f"seed; `{TRAINED}`: the same, trained further under attack. Weights of the digits models are the same for every "
    "seed; attacks and draws are not. "
    f"Naive: cross-entropy descent on the bare model, {STEPS} steps of a quarter of the radius, shown to the defended "
    f"one. Transfer: momentum and random views, {TRANSFER_STEPS} steps, on models that somebody else could have (of "
    "digits the other embedded model and a convolutional tower together, of CIFAR-10 the model that was trained alike "
    f"with another seed). Universal: one perturbation for all images, learned on {LEARNED_ON} training images of the "
    f"bare model in {UNIVERSAL_STEPS} steps. Noise: a random corner of the ball. Those that know the defence: descent "
    f"through the unrolled defence, {STEPS} steps, on the cross-entropy (random start) and on the margin (from the "
    f"image), over {DRAWS} draws of random defences, one of those that ask about {SEVERAL_VIEWS} views or more; the "
    "same with identity gradients (BPDA); on the defence's alarm where it has one; Square with "
    f"{QUERIES} queries. Who answers draws by another seed than who is attacked. `adaptive`: right under all of "
    "these and under the naive attack. `worst`: right under all attacks of the row, and under none; of the bare model "
    f"naive, margin, Square and the unaware ones. `lottery`: images with more than one label in {ASKS} asks without an "
    "attack; `asked`: those that are right in all of them, what luck alone leaves. Passes: forward + backward of the "
    "image tower for one answer; CPU: time of an answer over that of the bare model. In percent, with half the width "
    "of the 95 % interval, over images and seeds."
)
SHOWN = ("clean", "naive", "adaptive", "transfer", "universal", "noise", "worst")
KEPT = (*SHOWN, "informed", *ADAPTIVE, "lottery", "asked")


def read(folder: Path, model: str) -> dict[str, Cells]:
    """The cells of a model that there are, by defence and seed."""
    found: dict[str, Cells] = {}
    for name in DEFENCES:
        files = {seed: cell_of(folder, model, name, seed) for seed in range(SEEDS)}
        cells = {seed: together(load(file)) for seed, file in files.items() if file.exists()}
        if cells:
            found[name] = cells
    return found


def values_of(model: str, cells: dict[str, Cells]) -> dict[str, Any]:
    """The numbers of a model: of each defence all columns with their intervals, what it costs, and what is odd."""
    found: dict[str, Any] = {}
    for name, by_seed in cells.items():
        all_seeds = list(by_seed.values())
        columns = {column: share_of(all_seeds, column).estimate() for column in KEPT if column in all_seeds[0]}
        lottery, defence = columns.pop("lottery", None), fitted(model, name)
        passes = defence.passes() if defence is not None else None
        found[name] = {
            "images": len(all_seeds[0]["clean"]),
            "seeds": len(all_seeds),
            "columns": columns,
            "lottery": lottery,
            "passes": [1, 0, 0, 0]
            if passes is None
            else [passes.forward, passes.backward, passes.texts_forward, passes.texts_backward],
            "seconds": round(float(np.median([cell["seconds/answer"] for cell in all_seeds])), 6),
            "doubts": [] if name == BARE else doubts(columns, lottery),
            "agreement": agreement(columns),
        }
    return found


def said(estimate: dict[str, Any]) -> str:
    """A share or a difference in percent, with half the width of its interval."""
    low, high = estimate["ci95"]
    return f"{100 * estimate['value']:.1f} ± {50 * (high - low):.1f}"


def tables(values: dict[str, Any], misfits: dict[str, dict[str, str]]) -> list[dict[str, Any]]:
    """Two tables for each model: what attackers of each kind leave, and each attack that knows the defence alone."""
    found = []
    for model, defences in values.items():
        rows, alone, bare = [], [], defences.get(BARE)
        for name, of in defences.items():
            columns, (forward, backward, texts, _) = of["columns"], of["passes"]
            lottery = "" if of["lottery"] is None else f"{100 * of['lottery']['value']:.1f}"
            asked = said(columns["asked"]) if "asked" in columns else ""
            cost = "" if bare is None else f"{of['seconds'] / bare['seconds']:.1f}"
            passes = f"{forward} + {backward}" + (f", prompts {texts}" if texts else "")
            images = f"{of['images']} x {of['seeds']}"
            rows.append([f"`{name}`", images, *(said(columns[one]) for one in SHOWN), asked, lottery, passes, cost])
            alone.append([f"`{name}`", *(said(columns[one]) if one in columns else "" for one in ADAPTIVE)])
        title = f"{model}, eps {RADII[model]}/255"
        header = ["defence", "images x seeds", *SHOWN, "asked", "lottery", "passes", "CPU"]
        rows += [[f"`{name}`", "does not fit", *[""] * (len(header) - 2)] for name in misfits[model]]
        found.append({"title": title, "header": header, "rows": rows})
        found.append({"title": f"{title}: each attack alone", "header": ["defence", *ADAPTIVE], "rows": alone})
    return found


def result_of(folder: Path) -> dict[str, Any]:
    """All that the page shows."""
    cells = {model: of for model in PROBLEMS if (of := read(folder, model))}
    values = {model: values_of(model, of) for model, of in cells.items()}
    ranks = {model: ranking(of) for model, of in cells.items()}
    reference = cells.get(TRAINED, {}).get(BARE, {})
    done = sum(len(by_seed) for of in cells.values() for by_seed in of.values())
    misfits = {model: {name: why for name in DEFENCES if (why := misfit(model, name))} for model in PROBLEMS}
    planned = (len(PROBLEMS) * len(DEFENCES) - sum(map(len, misfits.values()))) * SEEDS
    so_far = "" if done == planned else f" {done} of {planned} cells are measured so far; the others are left out."
    return {
        "protocol": PROTOCOL + so_far,
        "command": "python -m benchmarks.test_time; python -m benchmarks.test_time.tables",
        "cells": {"measured": done, "planned": planned},
        "unaware": list(UNAWARE),
        "misfits": {model: of for model, of in misfits.items() if of},
        "tables": tables(values, misfits),
        "values": values,
        "ranking": ranks,
        "overall": overall(ranks),
        "effects": {model: effects(of) for model, of in cells.items()},
        "standing": {
            model: standing(of, values[model], ranks[model], reference if model == PLAIN else {})
            for model, of in cells.items()
        },
        "training": against_training(cells, values, PLAIN, TRAINED),
    }


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Read the cells, write the result, and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cells", type=Path, default=CELLS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    result = result_of(options.cells)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    for table in result["tables"]:
        print(table["title"])
        for row in (table["header"], *table["rows"]):
            print("  ".join(f"{cell!s:<14}" for cell in row))
    return result


if __name__ == "__main__":
    main()
