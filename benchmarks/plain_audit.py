"""The audit against ten lines of plain PyTorch that attack the same images: equal answers, and what the rest costs.

python benchmarks/plain_audit.py
"""

from __future__ import annotations

import argparse
import csv
import gc
import json
import os
import pickle
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from art_multimodal.attacks.evasion.image_ascent import own_generators  # noqa: E402
from art_multimodal.evaluations.audit import Audit, AuditSettings, write_reports  # noqa: E402
from art_multimodal.evaluations.audit.work import seed_of  # noqa: E402
from art_multimodal.functional.perturbations import random_start  # noqa: E402
from benchmarks.robust_training.captions import CIFAR_CLASSES  # noqa: E402
from benchmarks.robust_training.data import DATA, Captioned  # noqa: E402
from benchmarks.robust_training.language import make_tokenizer  # noqa: E402
from benchmarks.robust_training.model import SmallCLIP  # noqa: E402
from benchmarks.robust_training.pretrain import train  # noqa: E402

TEMPLATE, ATTACK, SEED = "a photo of a {}.", "pgd", 0
#: Most that the audit may take beyond the script.
TARGET = 0.10
PROTOCOL = (
    "The small CLIP of the training experiment, trained for a few epochs, on CIFAR-10's test images, by projected "
    "gradient descent (l_inf, one random start). The script reads the same file, asks about each batch, and attacks "
    "what is right of it; its random starts are drawn beforehand by the library's own function and are not counted for "
    "it. The audit is what the command runs: it opens the data, hashes them and the weights, checks every setting, "
    "attacks, looks whether gradients are hidden, logs each group, keeps pictures and writes report.html, report.md, "
    "report.json and samples.csv. Groups of 32 images and 10 steps are an audit's own defaults; up to 8 images of the "
    "first four groups, and of one in 16 later ones, are looked at for hidden gradients. Both in one process with the "
    "model loaded, on one thread; after a round that is not counted they take turns (A B A B ...). Overhead: median "
    "over the rounds of the processor time of the audit over that of the script, less 1. Answers are compared sample "
    "by sample, before the attack and after. Parts: what a run costs by itself, each image, and each step of an image "
    "that is attacked, from three settings of the same batches: few images, all images, and all images with the most "
    "steps; medians over the rounds."
)
#: Of what a run takes time, and in which unit it is told.
PARTS = {"run": "a run", "image": "an image", "step": "a step of an attacked image"}


# The script, as anyone would write it.
def plain(model: SmallCLIP, images, labels, prompts, starts, eps, step, steps, batch):  # type: ignore[no-untyped-def]
    with torch.no_grad():
        classes = model.encode_text(model.tokenize(prompts))
    logits = lambda x: model.logit_scale.exp() * model.encode_image(x) @ classes.T  # noqa: E731
    clean, attacked = [], []
    for x, y, d in zip(images.split(batch), labels.split(batch), starts.split(batch), strict=True):
        clean.append(logits(x).argmax(1).detach())
        attacked.append(clean[-1].clone())
        x, y, d, right = x[clean[-1] == y], y[clean[-1] == y], d[clean[-1] == y], clean[-1] == y
        for _ in range(steps):
            z = (x + d).clamp(0, 1).requires_grad_()
            gradient = torch.autograd.grad(F.cross_entropy(logits(z), y, reduction="sum"), z)[0]
            d = (z.detach() + step * gradient.sign() - x).clamp(-eps, eps)
        with torch.no_grad():
            attacked[-1][right] = logits((x + d).clamp(0, 1)).argmax(1)
    return torch.cat(clean), torch.cat(attacked)


def write_cifar(folder: Path, data: Path, limit: int | None) -> Path:
    """Write the test images as CIFAR-10's authors pickled them, for ``data:cifar10``."""
    with np.load(data / "cifar10.npz") as file:
        pixels, labels = file["x_test"][:limit], file["y_test"][:limit].tolist()
    inside = folder / "cifar-10-batches-py"
    inside.mkdir(parents=True)
    rows = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).reshape(len(pixels), -1)
    (inside / "test_batch").write_bytes(pickle.dumps({"data": rows, "labels": labels}, protocol=2))
    (inside / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CIFAR_CLASSES)}, protocol=2))
    return folder


def read_cifar(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """What :func:`write_cifar` wrote."""
    content = pickle.loads((folder / "cifar-10-batches-py" / "test_batch").read_bytes())
    images = torch.from_numpy(content["data"].reshape(-1, 3, 32, 32)).float() / 255
    return images, torch.tensor(content["labels"])


def small_clip(folder: Path, data: Path, epochs: int, batch_size: int, most: int, seed: int) -> SmallCLIP:
    """The experiment's model, trained once and kept in a folder."""
    captioned = Captioned(data)
    tokenizer = make_tokenizer(captioned)
    path = folder / f"model-{epochs}-{most}-{seed}.safetensors"
    if not path.exists():
        kept = np.sort(np.random.default_rng(seed).permutation(len(captioned))[:most])
        captioned.images, captioned.names = captioned.images[kept], [captioned.names[row] for row in kept]
        captioned.drawn, captioned.classes = captioned.drawn[kept], captioned.classes[kept]
        torch.manual_seed(seed)
        model = train(captioned, SmallCLIP(tokenizer), epochs, batch_size, seed)
        model.logit_scale.data.clamp_(max=float(np.log(50)))
        model.fold().save(path)
    return SmallCLIP.load(path, tokenizer)


class Contenders:
    """The audit and the script, with equal settings.

    :param together: Images of a batch, and of a group of the audit.
    """

    def __init__(self, model: SmallCLIP, folder: Path, eps: float, steps: int, together: int) -> None:
        self.model, self.folder, self.together = model, folder, together
        self.settings = AuditSettings(
            model=model,
            data=f"data:cifar10:root={folder}",
            attacks=ATTACK,
            eps=eps,
            steps=steps,
            templates=(TEMPLATE,),
            batch_size=together,
            group_size=together,
            seed=SEED,
        )
        self.runs = 0

    def audit(self) -> Path:
        """The folder of an audit."""
        self.runs += 1
        out = self.folder / f"audit-{self.runs}"
        audit = Audit(self.settings, out, device="cpu")
        self.order, self.budget = audit.order, audit.budget
        write_reports(audit.evaluate())
        return out

    def starts(self, images: torch.Tensor) -> torch.Tensor:
        """The random starts of the audit's attack, in its order."""
        found = torch.empty_like(images)
        for number, part in enumerate(torch.arange(len(images)).split(self.together)):
            own = own_generators(seed_of(SEED, ATTACK, number, 0), images[part].numpy())
            for row, generator in zip(part, own, strict=True):
                found[row] = random_start(images[row][None], float("inf"), self.budget.eps, generator)[0]
        return found

    def script(self, starts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Answers of the script, in the audit's order."""
        images, labels = read_cifar(self.folder)
        images, labels = images[self.order], labels[self.order]
        prompts = [TEMPLATE.format(name) for name in CIFAR_CLASSES]
        ball = self.budget.eps, self.budget.eps_step, self.budget.max_iter
        return plain(self.model, images, labels, prompts, starts, *ball, self.together)


def of_samples(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Answers before and after the attack in an audit's ``samples.csv``, in its order; one that was wrong stays."""
    with (folder / "samples.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    before = [CIFAR_CLASSES.index(row["predicted"]) for row in rows]
    after = [row[f"{ATTACK} predicted"] for row in rows]
    return np.array(before), np.array(
        [CIFAR_CLASSES.index(name) if name else was for name, was in zip(after, before, strict=True)]
    )


def measure(contenders: Contenders, repeats: int) -> dict[str, Any]:
    """Both in turns: how often answers differ, and seconds of each."""
    first = contenders.audit()
    images, labels = read_cifar(contenders.folder)
    starts = contenders.starts(images[contenders.order])
    clean, attacked = (part.numpy() for part in contenders.script(starts))
    before, after = of_samples(first)
    truth = labels[contenders.order].numpy()
    seconds: dict[str, list[float]] = {"audit": [], "script": []}
    for _ in range(repeats):
        for name, run in (("audit", contenders.audit), ("script", lambda: contenders.script(starts))):
            gc.collect()
            started = time.process_time()
            run()
            seconds[name].append(time.process_time() - started)
    ratios = [a / b for a, b in zip(seconds["audit"], seconds["script"], strict=True)]
    return {
        "samples": len(truth),
        "right": {"audit": [int((a == truth).sum()) for a in (before, after)],
                  "script": [int((a == truth).sum()) for a in (clean, attacked)]},
        "different": [int((before != clean).sum()), int((after != attacked).sum())],
        "seconds": seconds,
        "overhead": {"median": statistics.median(ratios) - 1, "min": min(ratios) - 1, "max": max(ratios) - 1},
    }  # fmt: skip


def one_cell(model: SmallCLIP, options: argparse.Namespace, steps: int, together: int, limit: int) -> dict[str, Any]:
    """Measure one setting.

    :param limit: Images.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = write_cifar(Path(folder) / "data", options.data, limit)
        measured = measure(Contenders(model, data, options.eps, steps, together), options.repeats)
    return {"steps": steps, "together": together, **measured}


def row_of(cell: dict[str, Any]) -> list[Any]:
    """A cell as a row of the table."""
    n, spread = cell["samples"], cell["overhead"]
    shares = [f"{a / n:.1%} / {b / n:.1%}" for a, b in zip(*cell["right"].values(), strict=True)]
    times = [f"{statistics.median(cell['seconds'][name]):.2f} s" for name in ("script", "audit")]
    overhead = f"{spread['median']:.1%} ({spread['min']:.1%} to {spread['max']:.1%})"
    return [cell["steps"], cell["together"], *shares, sum(cell["different"]), *times, overhead]


def parts_of(few: dict[str, Any], many: dict[str, Any], longer: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Seconds of a run by itself, of an image, and of a step of an attacked image, of the audit and of the script.

    :param few: A cell with few images.
    :param many: One with more images, and as many steps.
    :param longer: One with more images and more steps.
    """
    found = {}
    for name in ("audit", "script"):
        at_first, at_all, at_most = (statistics.median(cell["seconds"][name]) for cell in (few, many, longer))
        attacked, of_few = many["right"]["audit"][0], few["right"]["audit"][0]
        step = (at_most - at_all) / (attacked * (longer["steps"] - many["steps"]))
        image = (at_all - at_first - step * many["steps"] * (attacked - of_few)) / (many["samples"] - few["samples"])
        run = at_first - image * few["samples"] - step * many["steps"] * of_few
        found[name] = {"run": run, "image": image, "step": step}
    return found


def rows_of_parts(together: int, parts: dict[str, dict[str, float]]) -> list[list[Any]]:
    """The parts as a table: milliseconds of the script and of the audit, and what the audit costs beyond."""
    rows = []
    for part, name in PARTS.items():
        script, audit = (1000 * parts[who][part] for who in ("script", "audit"))
        rows.append([together, name, *(f"{value:.3f} ms" for value in (script, audit, audit - script))])
    return rows


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "plain_audit", help="of the trained model")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=256, help="of the training")
    parser.add_argument("--training-images", type=int, default=15_000)
    parser.add_argument("--limit", type=int, default=2000, help="images")
    parser.add_argument("--few", type=int, default=512, help="images of the setting that shows what a run costs")
    parser.add_argument("--eps", type=float, default=2 / 255)
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 40])
    parser.add_argument("--together", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "plain_audit.json")
    options = parser.parse_args(arguments)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = small_clip(
            options.folder, options.data, options.epochs, options.batch_size, options.training_images, options.seed
        )
        cells, rows, parts, shares_of = [], [], [], []
        for together in options.together:
            by_steps = {}
            for steps in sorted(options.steps):
                by_steps[steps] = one_cell(model, options, steps, together, options.limit)
                cells.append(by_steps[steps])
                rows.append(row_of(by_steps[steps]))
                print(*rows[-1], sep="  ", flush=True)
            if len(by_steps) > 1:
                least, *_, most = by_steps
                few = one_cell(model, options, least, together, options.few)
                found = parts_of(few, by_steps[least], by_steps[most])
                parts.append({"together": together, "few": few, **found})
                shares_of += rows_of_parts(together, found)
                print(*shares_of[-len(PARTS) :], sep="\n", flush=True)
    finally:
        torch.set_num_threads(threads)
    result = {
        "protocol": PROTOCOL,
        "command": (
            f"python benchmarks/plain_audit.py --epochs {options.epochs} --training-images {options.training_images} "
            f"--limit {options.limit} --few {options.few} --repeats {options.repeats} "
            f"--steps {' '.join(map(str, options.steps))} --together {' '.join(map(str, options.together))}"
        ),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": version("torch")},
        "settings": {"eps": options.eps, "samples": options.limit, "few": options.few, "epochs": options.epochs,
                     "seed": options.seed},
        "target": TARGET,
        "cells": cells,
        "parts": parts,
        "tables": [
            {
                "title": "Overhead",
                "header": ["steps", "images together", "accuracy, audit / script", "under attack",
                           "answers that differ", "script", "audit", "overhead"],
                "rows": rows,
            },
            {
                "title": "Of what the time is made",
                "header": ["images together", "processor time of", "script", "audit", "beyond the script"],
                "rows": shares_of,
            },
        ],
    }  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
