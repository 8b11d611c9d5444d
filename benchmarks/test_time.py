"""Defences that compute at test time on the embedded digits models: naive, attacked through, and the worst of all.

    python -m benchmarks.test_time

Cells are kept in ``results/test_time``: a file for each model, defence and seed, with a bit for each sample and attack.
What is there is not computed again; ``--table`` only writes the tables.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from art_multimodal import ZeroShotClassifier, load_model
from art_multimodal.attacks.evasion import AlarmEvasion, ProjectedGradientDescentDualEncoder
from art_multimodal.datasets import open_data
from art_multimodal.defences.test_time import (
    DirectionalBiasDefence,
    EnergyGuidedTransformation,
    Purification,
    RandomResizePad,
    RobustPromptTuning,
    TestTimeCounterattack,
    TestTimeDefence,
    ViewVoting,
)
from art_multimodal.evaluations.suite import Budget
from art_multimodal.evaluations.suite.image import ImageAttack, square
from art_multimodal.functional.statistics import proportion_ci95
from benchmarks.fusions.store import cell_of, claimed, load, save

ROOT = Path(__file__).parents[1]
OUT = ROOT / "benchmarks" / "results"
#: Each with a radius, in 255ths, within which the bare model is right about some two fifths of its images.
MODELS = {"demo:digits": 6, "demo:digits/robust": 20}
#: By the names of cells. Views are fewer than published, for the time that they take.
DEFENCES: dict[str, TestTimeDefence | None] = {
    "none": None,
    "resize_pad": RandomResizePad(),
    "view_voting": ViewVoting(),
    "purification": Purification(),
    "ttc": TestTimeCounterattack(),
    "ttc_wide": TestTimeCounterattack(eps=8 / 255),
    "et3": EnergyGuidedTransformation(),
    "dbd": DirectionalBiasDefence(),
    "r_tpt": RobustPromptTuning(views=16, selected=0.25, neighbours=5),
}
#: Forward passes of an answer from which on it is a mean over views, whose gradient needs no further draws.
SEVERAL_VIEWS = 8
#: Those that cost so much that they are measured on half of the images, with half of the steps and queries.
HALVED = ("dbd", "r_tpt")
#: Attacks that know the defence, in the order of the table.
ADAPTIVE = ("cross_entropy", "margin", "bpda", "alarm", "square")
PROTOCOL = (
    "{limit} held-out digits, l_inf within the radius in the title, {steps} steps of a quarter of it. Naive: "
    "cross-entropy descent on the bare model, shown to the defended one (also a transfer attack). Adaptive: descent "
    "through the unrolled defence on the cross-entropy (random start) and on the margin (from the image), over {draws} "
    "draws of random defences, one of those that average views themselves; the same with identity gradients (BPDA); on "
    "the defence's alarm where it has one; Square with {queries} queries. Who answers draws by another seed than who "
    "is attacked. `worst`: clean, naive and every adaptive attack, per sample. `lottery`: images with more than one "
    "label in ten asks. Passes: forward + backward of the image tower for one answer. In percent, one seed, with 95 % "
    "intervals over images. For their cost `dbd` and `r_tpt` are measured on the first half of the images, with half "
    "of the steps and queries."
)


def samples(limit: int, seed: int) -> tuple[np.ndarray, np.ndarray, Any]:
    """Images, labels, and where they come from."""
    data = open_data("demo:digits")
    rows = np.random.default_rng(seed).permutation(len(data))[:limit]
    return np.stack([data.image(int(row)) for row in rows]), np.array([data.label_of(int(row)) for row in rows]), data


def measured(
    bare: ZeroShotClassifier,
    name: str,
    x: np.ndarray,
    y: np.ndarray,
    options: argparse.Namespace,
    eps: float,
) -> dict[str, np.ndarray]:
    """Which samples are right, before and under each attack."""
    defence, seed, share = DEFENCES[name], options.seed, 2 if name in HALVED else 1
    x, y = x[: len(x) // share], y[: len(x) // share]
    ball: dict[str, Any] = {"eps": eps, "eps_step": eps / 4, "max_iter": max(1, options.steps // share)}
    ball |= {"seed": seed, "verbose": False, "batch_size": 5 if name in HALVED else 20}

    def descent(victim: ZeroShotClassifier, loss: str, starts: int) -> np.ndarray:
        attack = ProjectedGradientDescentDualEncoder(victim, loss=loss, num_random_init=starts, **ball)
        return attack.generate(x, y)

    naive = descent(bare, "cross_entropy", 1)
    if defence is None:
        found = {"clean": x, "naive": naive, "margin": descent(bare, "margin", 0)}
        return {name: bare.predict_labels(images) == y for name, images in found.items()}
    # Who answers and who is attacked draw by other seeds.
    answering = bare.with_test_time_defence(defence.with_params(seed=2 * seed))
    budget = Budget(eps=eps, max_queries=options.queries // share, batch_size=20)
    draws = options.draws if defence.passes().forward < SEVERAL_VIEWS else 1
    drawing = defence.with_params(seed=2 * seed + 1, draws=draws)
    unrolled = bare.with_test_time_defence(drawing)
    made: dict[str, Callable[[], np.ndarray]] = {
        "clean": lambda: x,
        "naive": lambda: naive,
        "cross_entropy": lambda: descent(unrolled, "cross_entropy", 1),
        "margin": lambda: descent(unrolled, "margin", 0),
        "bpda": lambda: descent(bare.with_test_time_defence(drawing.with_params(gradient="bpda")), "cross_entropy", 1),
        "square": lambda: ImageAttack(unrolled, budget, square).attack(x, y, seed).x,
    }
    if defence.has_alarm:
        made["alarm"] = lambda: AlarmEvasion(unrolled, num_random_init=1, **ball).generate(x, y)
    found = {}
    for name, make in made.items():
        started = time.process_time()
        found[name] = answering.predict_labels(make(), batch_size=20) == y
        found[f"seconds/{name}"] = np.array(time.process_time() - started)
    verdicts = answering.verdicts(x, 10, batch_size=20)
    found["lottery"] = (verdicts != verdicts[0]).any(axis=0)
    return found


def shown(bits: np.ndarray) -> str:
    """A share in percent with its interval."""
    low, high = proportion_ci95(int(bits.sum()), len(bits)) or (0.0, 1.0)
    return f"{100 * bits.mean():.1f} ({100 * low:.0f} to {100 * high:.0f})"


def numbers(cell: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A cell with what its attacks leave together: adaptive ones, with the naive one as one of them, and all."""
    adaptive = np.logical_and.reduce([cell["naive"], *(cell[name] for name in ADAPTIVE if name in cell)])
    return {**cell, "adaptive": adaptive, "worst": adaptive & cell["clean"]}


def tables(folder: Path, seed: int) -> dict[str, Any]:
    """A table for each model, and the numbers behind it."""
    shown_tables, values = [], {}
    for model in MODELS:
        rows, values[model] = [], {}
        for name, defence in DEFENCES.items():
            file = cell_of(folder, model.replace(":", "-").replace("/", "-"), name, seed)
            if not file.exists():
                continue
            cell = numbers(load(file))
            columns = ("clean", "naive", *ADAPTIVE, "adaptive", "worst", "lottery")
            values[model][name] = {column: float(cell[column].mean()) for column in columns if column in cell}
            cost = defence.passes() if defence else None
            passes = "1 + 0" if cost is None else f"{cost.forward} + {cost.backward}"
            alone = [f"{100 * cell[column].mean():.1f}" if column in cell else "" for column in ADAPTIVE]
            lottery = f"{100 * cell['lottery'].mean():.1f}" if "lottery" in cell else ""
            before = [f"`{name}`", len(cell["clean"]), shown(cell["clean"]), shown(cell["naive"])]
            rows.append([*before, *alone, shown(cell["worst"]), lottery, passes])
        header = ["defence", "images", "clean", "naive", *ADAPTIVE, "worst", "lottery", "passes"]
        shown_tables.append({"title": f"{model}, eps {MODELS[model]}/255", "header": header, "rows": rows})
    return {"tables": shown_tables, "values": values}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure what is not measured yet, and write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--defences", nargs="+", choices=list(DEFENCES), default=list(DEFENCES))
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--cells", type=Path, default=OUT / "test_time")
    parser.add_argument("--out", type=Path, default=OUT / "test_time.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    x, y, data = samples(options.limit, options.seed)
    for model in options.models if not options.table else ():
        bare = ZeroShotClassifier(load_model(model), data.class_names, data.templates, device_type="cpu")
        for name in options.defences:
            file = cell_of(options.cells, model.replace(":", "-").replace("/", "-"), name, options.seed)
            if not claimed(file):
                continue
            started = time.process_time()
            cell = measured(bare, name, x, y, options, MODELS[model] / 255)
            save(file, cell)
            said = {key: round(float(of.mean()), 3) for key, of in numbers(cell).items() if of.dtype == bool}
            print(model, name, said, f"{time.process_time() - started:.0f} s", flush=True)
    settings = {key: getattr(options, key) for key in ("limit", "steps", "queries", "draws", "seed")}
    result = {
        "protocol": PROTOCOL.format(**settings),
        "command": "python -m benchmarks.test_time",
        "settings": settings,
        **tables(options.cells, options.seed),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
