"""What a defence at test time would have to do to survive: ideas of ours, tried, with the one that was kept.

    python -m benchmarks.test_time_ideas

Cells are kept in ``results/test_time_ideas``; what is there is not computed again. ``--table`` only writes the table.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_multimodal import ZeroShotClassifier, load_model
from art_multimodal.attacks.evasion import ProjectedGradientDescentDualEncoder
from art_multimodal.datasets import open_data
from art_multimodal.defences.test_time import CoarseGrid, Passes, TestTimeDefence, reachable_answers
from art_multimodal.estimators.test_time import BareModel
from art_multimodal.evaluations.suite import Budget
from art_multimodal.evaluations.suite.image import ImageAttack, square
from benchmarks.fusions.store import cell_of, claimed, load, save

ROOT = Path(__file__).parents[1]
OUT = ROOT / "benchmarks" / "results"
#: Each with a radius, in 255ths, within which the bare model is right about some two fifths of its images.
MODELS = {"demo:digits": 6, "demo:digits/robust": 20}


class LeastOfGrids(TestTimeDefence):
    """Of several grids the least probability of each class: whoever misleads one has to persuade the others, too."""

    grids = (CoarseGrid(8, 3), CoarseGrid(16, 3), CoarseGrid(16, 256))

    def passes(self) -> Passes:
        return Passes(len(self.grids))

    def one_answer(self, bare: BareModel, images: Tensor, classes: Tensor, generators: Sequence[Any]) -> Tensor:
        grids = [grid.with_params(gradient=self.gradient, softness=self.softness) for grid in self.grids]
        answers = [grid.one_answer(bare, images, classes, ()).log_softmax(dim=-1) for grid in grids]
        return torch.stack(answers).amin(dim=0)


#: By the names of rows: what was tried, and in a few words why.
IDEAS: dict[str, tuple[TestTimeDefence | None, str]] = {
    "none": (None, "the bare model"),
    "low_resolution": (CoarseGrid(8, 256), "8 by 8 cells, all greys: a projection, and 64 directions instead of 3,072"),
    "few_greys": (CoarseGrid(32, 3), "3 greys at full resolution"),
    "least_of_grids": (LeastOfGrids(), "least probability of each class over three grids"),
    "coarse_grid": (CoarseGrid(8, 3), "8 by 8 cells, 3 greys: what was kept"),
    "coarse_grid_16x2": (CoarseGrid(16, 2), "the same with 16 by 16 cells and 2 greys"),
}
ADAPTIVE = ("cross_entropy", "margin", "bpda", "square", "counted")
PROTOCOL = (
    "{limit} held-out digits, l_inf within the radius in the title, one seed. Naive: 10 steps of cross-entropy descent "
    "on the bare model, shown to the defended one. Adaptive: through the unrolled defence {steps} steps on the "
    "cross-entropy from {restarts} random starts and on the margin from the image; the cross-entropy with identity "
    "gradients (BPDA); Square with {queries} queries. Counted: every picture that a coarse grid can be made to show is "
    "asked for where they are at most {pictures}, and the worst is searched elsewhere. `worst`: of all, per image. "
    "`certified`: all pictures were asked for, and all gave the right answer. In percent."
)


def samples(limit: int) -> tuple[np.ndarray, np.ndarray, Any]:
    """Images, labels, and where they come from."""
    data = open_data("demo:digits")
    rows = np.random.default_rng(0).permutation(len(data))[:limit]
    return np.stack([data.image(int(row)) for row in rows]), np.array([data.label_of(int(row)) for row in rows]), data


def measured(
    bare: ZeroShotClassifier, name: str, x: np.ndarray, y: np.ndarray, options: argparse.Namespace, eps: float
) -> dict[str, np.ndarray]:
    """Which samples are right, before and under each attack."""
    defence = IDEAS[name][0]
    naive = _descent(bare, x, y, eps, "cross_entropy", 10, 1)
    if defence is None:
        strong = _descent(bare, x, y, eps, "margin", options.steps, 0)
        found = {"clean": x, "naive": naive, "margin": strong}
        return {name: bare.predict_labels(images) == y for name, images in found.items()}
    answering = bare.with_test_time_defence(defence)
    unrolled = bare.with_test_time_defence(defence.with_params(seed=1))
    identity = bare.with_test_time_defence(defence.with_params(seed=1, gradient="bpda"))
    budget = Budget(eps=eps, max_queries=options.queries, batch_size=len(x))
    made = {
        "clean": x,
        "naive": naive,
        "cross_entropy": _descent(unrolled, x, y, eps, "cross_entropy", options.steps, options.restarts),
        "margin": _descent(unrolled, x, y, eps, "margin", options.steps, 0),
        "bpda": _descent(identity, x, y, eps, "cross_entropy", options.steps, options.restarts),
        "square": ImageAttack(unrolled, budget, square).attack(x, y, 0).x,
    }
    found = {attack: answering.predict_labels(images) == y for attack, images in made.items()}
    if name.startswith("coarse_grid"):
        reached = reachable_answers(answering, x, eps, max_queries=options.pictures)
        found |= {"counted": reached.attacked(y), "certified": reached.certified(y), "complete": reached.complete}
    return found


def _descent(
    victim: ZeroShotClassifier, x: np.ndarray, y: np.ndarray, eps: float, loss: str, steps: int, starts: int
) -> np.ndarray:
    attack = ProjectedGradientDescentDualEncoder(
        victim, loss=loss, eps=eps, eps_step=eps / 4, max_iter=steps, num_random_init=starts, seed=0, verbose=False
    )
    return attack.generate(x, y)


def numbers(cell: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A cell with what all of its attacks leave together."""
    attacks = [cell[attack] for attack in ("clean", "naive", *ADAPTIVE) if attack in cell]
    return {**cell, "worst": np.logical_and.reduce(attacks)}


def tables(folder: Path) -> dict[str, Any]:
    """A table for each model, and the numbers behind it."""
    shown, values = [], {}
    columns = ("clean", "naive", *ADAPTIVE, "worst", "certified")
    for model, radius in MODELS.items():
        rows, values[model] = [], {}
        for name, (_, idea) in IDEAS.items():
            file = cell_of(folder, model.replace(":", "-").replace("/", "-"), name, 0)
            if not file.exists():
                continue
            cell = numbers(load(file))
            of = values[model][name] = {column: float(bits.mean()) for column, bits in cell.items()}
            rows.append([f"`{name}`", idea, *(f"{100 * of[c]:.1f}" if c in of else "" for c in columns)])
        header = ["idea", "what it does", *columns]
        shown.append({"title": f"{model}, eps {radius}/255", "header": header, "rows": rows})
    return {"tables": shown, "values": values}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure what is not measured yet, and write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    settings = {"limit": 60, "steps": 10, "restarts": 2, "queries": 100, "pictures": 4096}
    for name, default in settings.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--ideas", nargs="+", choices=list(IDEAS), default=list(IDEAS))
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--cells", type=Path, default=OUT / "test_time_ideas")
    parser.add_argument("--out", type=Path, default=OUT / "test_time_ideas.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    x, y, data = samples(options.limit)
    for model in options.models if not options.table else ():
        bare = ZeroShotClassifier(load_model(model), data.class_names, data.templates, device_type="cpu")
        for name in options.ideas:
            file = cell_of(options.cells, model.replace(":", "-").replace("/", "-"), name, 0)
            if not claimed(file):
                continue
            started = time.process_time()
            cell = measured(bare, name, x, y, options, MODELS[model] / 255)
            save(file, cell)
            said = {key: round(float(of.mean()), 3) for key, of in numbers(cell).items()}
            print(model, name, said, f"{time.process_time() - started:.0f} s", flush=True)
    used = {name: getattr(options, name) for name in settings}
    result = {
        "protocol": PROTOCOL.format(**used),
        "command": "python -m benchmarks.test_time_ideas",
        "settings": used,
        **tables(options.cells),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
