"""Do attacks carry over between three small CLIPs of different architecture, and what helps them to?

python benchmarks/transfer.py

Models are trained once, two minutes each on an idle core, and kept in build/transfer; every cell is kept beside
them, so that a run goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import permutation_test
from torch import Tensor, nn
from torch.nn import functional as F
from victims import CIFAR, CIFAR_CLASSES, CIFAR_TEMPLATES

from art_multimodal import ZeroShotClassifier
from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.evasion import TransferAttack
from art_multimodal.demo.towers import PAD, Block, ByteTextTower, byte_tokens
from art_multimodal.evaluations.transfer import NOISE, OTHERS, TransferCell, TransferMatrix, transfer_matrix
from art_multimodal.functional.statistics import mean_ci95, proportion_ci95
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.preprocessing import ImagePreprocessing

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "transfer"
TEMPLATE = CIFAR_TEMPLATES[0]
EMBEDDING, CONTEXT = 64, 40
#: Each is compared with the one of the other name.
VARIANTS: dict[str, tuple[dict[str, Any], str]] = {
    "plain steps": ({"decay": 0.0, "diversity": 0.0}, ""),
    "momentum": ({"diversity": 0.0}, "plain steps"),
    "momentum, diversity": ({}, "momentum"),
    "momentum, a crop": ({"diversity": 0.0, "crops": 1}, "momentum"),
    "momentum, four scales": ({"diversity": 0.0, "scales": (0.5, 0.75, 1.25, 1.5)}, "momentum"),
    "embeddings, momentum": ({"diversity": 0.0, "ensemble": "embeddings"}, "momentum"),
}
PROTOCOL = (
    "Three dual encoders of different architecture (convolutions, a vision transformer, mixed patches), trained on "
    "{train:,} images of CIFAR-10 for {epochs} epochs each, with the class prompts: small models, far from the state "
    "of the art, and one seed. {samples} test images, l_inf, eps {eps:g}/255, {steps} steps. Success in % over the "
    "samples that the target has right before. White box: each model on itself. One to another: all {pairs} pairs of "
    "two models together. Two to the third: made on the mean logits (or embeddings) of the two others. Intervals "
    "and tests are over images, each of which counts in several pairs. p, one-sided, of 9,999 exchanges within images: "
    "that a variant is no better than what it is compared with, that two are no better than one of them on average, "
    "and than the better one of the two for each target, which is chosen behind the fact."
)


class Mixer(nn.Module):
    """Patches of 4 x 4 pixels that are mixed by perceptrons, across places and across channels."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.places = nn.ModuleList(self._perceptron(64, 64) for _ in range(depth))
        self.channels = nn.ModuleList(self._perceptron(width, 2 * width) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * depth + 1))

    @staticmethod
    def _perceptron(width: int, inside: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(width, inside), nn.GELU(), nn.Linear(inside, width))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        for number, (places, channels) in enumerate(zip(self.places, self.channels, strict=True)):
            x = x + places(self.norms[2 * number](x).transpose(1, 2)).transpose(1, 2)
            x = x + channels(self.norms[2 * number + 1](x))
        return self.norms[-1](x).mean(dim=1)


class Transformer(nn.Module):
    """A vision transformer on patches of 4 x 4 pixels."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.positions = nn.Parameter(torch.randn(64, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, 4) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.norm(x).mean(dim=1)


def convolutions(width: int) -> nn.Module:
    """Three convolutions, each at half the resolution of the one before."""
    layers: list[nn.Module] = []
    for before, after in ((3, width), (width, 2 * width), (2 * width, 2 * width)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(8, after), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * width, 2 * width))


TOWERS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "convolutions": (lambda: convolutions(32), 64),
    "transformer": (lambda: Transformer(64, 3), 64),
    "mixer": (lambda: Mixer(64, 3), 64),
}


class SmallCLIP(DualEncoder):
    """A dual encoder for 32 x 32 pixels with one of the towers.

    :param tower: A name of :data:`TOWERS`.
    """

    def __init__(self, tower: str) -> None:
        preprocess = ImagePreprocessing((32, 32), (0.491, 0.482, 0.447), (0.247, 0.243, 0.262))
        super().__init__(preprocess, CONTEXT, pad_id=PAD)
        make, width = TOWERS[tower]
        self.visual, self.projection = make(), nn.Linear(width, EMBEDDING, bias=False)
        self.text = ByteTextTower(64, 1, 4, EMBEDDING, CONTEXT)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def image_tower(self, pixels: Tensor) -> Tensor:
        return self.projection(self.visual(pixels))

    def text_tower(self, tokens: Tensor) -> Tensor:
        return self.text(tokens)

    def token_ids(self, texts: list[str], length: int) -> Tensor:
        return byte_tokens(texts, length)


def read(data: Path, part: str) -> tuple[Tensor, Tensor]:
    """Images ``[N, 3, 32, 32]`` in [0, 1] and labels."""
    with np.load(data) as file:
        images = torch.from_numpy(file[f"x_{part}"]).permute(0, 3, 1, 2).float() / 255
        return images, torch.from_numpy(file[f"y_{part}"].astype(np.int64))


def trained(tower: str, options: argparse.Namespace, images: Tensor, labels: Tensor) -> SmallCLIP:
    """A model, from its file or trained: each image belongs to the prompt of its class."""
    # Weights do not depend on which models are trained in one run.
    torch.manual_seed(1 + list(TOWERS).index(tower))
    model = SmallCLIP(tower)
    path = options.folder / f"{tower}-{options.epochs}-{len(images)}.safetensors"
    if path.exists():
        model.load_state_dict(load_file(path))
        return model.eval()
    generator, started = torch.Generator().manual_seed(0), time.process_time()
    tokens = model.tokenize([TEMPLATE.format(name) for name in CIFAR_CLASSES])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    steps = options.epochs * (len(images) // 128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    model.train()
    for _ in range(options.epochs):
        for rows in torch.randperm(len(images), generator=generator)[: len(images) // 128 * 128].split(128):
            batch = images[rows]
            mirrored = torch.rand(len(rows), 1, 1, 1, generator=generator) < 0.5
            down, right = torch.randint(0, 5, (2,), generator=generator).tolist()
            batch = F.pad(torch.where(mirrored, batch.flip(-1), batch), (2, 2, 2, 2), mode="reflect")
            logits = model(batch[..., down : down + 32, right : right + 32], tokens)
            loss = F.cross_entropy(logits, labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    print(f"{tower}: loss {loss.item():.2f}, {time.process_time() - started:.0f} s of CPU", flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}, path)
    return model.eval()


def measured(
    name: str,
    changes: dict[str, Any],
    classifiers: dict[str, ZeroShotClassifier],
    x: np.ndarray,
    y: np.ndarray,
    options: Any,
) -> TransferMatrix:
    """The matrix of a variant, from its file as far as it is there."""
    eps = options.eps / 255
    budget = Budget("inf", eps, 2.5 * eps / options.steps, options.steps, batch_size=64)
    settings = (options.eps, options.steps, len(x), options.epochs, options.train)
    key = "-".join(f"{value:g}" for value in settings)
    path = options.folder / f"{name.replace(', ', '+').replace(' ', '_')}-{key}.json"
    known = json.loads(path.read_text()) if path.exists() else []

    def attack(surrogates: Sequence[ZeroShotClassifier]) -> TransferAttack:
        step, steps = budget.eps_step, budget.max_iter
        return TransferAttack(
            surrogates, eps=eps, eps_step=step, max_iter=steps, batch_size=64, seed=0, verbose=False, **changes
        )

    done = [TransferCell(**one) for one in known]
    for matrix in transfer_matrix(classifiers, [(x, y)], attack, budget, done=done):
        cells = [{"source": c.source, "target": c.target, "outcomes": c.outcomes} for c in matrix.cells.values()]
        path.write_text(json.dumps(cells))
    print(f"{name}: done", flush=True)
    return matrix


def outcomes_of(cells: Sequence[TransferCell]) -> np.ndarray:
    """Outcomes ``[cells, N]``: 1 misled, 0 not, NaN where the target was wrong before."""
    return np.array([[{"1": 1.0, "0": 0.0, "-": np.nan}[letter] for letter in cell.outcomes] for cell in cells])


def share(cells: Sequence[TransferCell]) -> str:
    """Success in %, with its interval: images were drawn, and each counts in several cells."""
    outcomes = outcomes_of(cells)
    fooled, n = np.nansum(outcomes, axis=0), np.isfinite(outcomes).sum(axis=0)
    mean = fooled.sum() / n.sum()
    low, high = proportion_ci95(int(fooled.sum()), int(n.sum())) or (0.0, 1.0)
    # What each image adds to the quotient of two sums, to the first order.
    by_image = mean_ci95(mean + (fooled - mean * n) / n.mean())
    if len(outcomes) > 1 and by_image is not None:
        low, high = max(0.0, min(low, by_image[0])), min(1.0, max(high, by_image[1]))
    return f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def better(cells: Sequence[TransferCell], others: Sequence[TransferCell]) -> str:
    """p of the one-sided test that the first mislead more: under none of it an image's two sums might be exchanged."""
    sums = [np.nansum(outcomes_of(of), axis=0) for of in (cells, others)]
    if np.array_equal(*sums):
        return "1"

    def more(these: np.ndarray, those: np.ndarray, axis: int) -> np.ndarray:
        return (these - those).sum(axis=axis)

    found = permutation_test(
        sums, more, permutation_type="samples", alternative="greater", n_resamples=9_999, batch=1_000, rng=0
    )
    return f"{found.pvalue:.2g}"


def rows_of(matrices: dict[str, TransferMatrix]) -> list[list[str]]:
    """A row for each variant."""
    rows, single, both = [], {}, {}
    for name, matrix in matrices.items():
        models, cells = matrix.models, matrix.cells
        single[name] = [cells[a, b] for a in models for b in models if a != b]
        both[name] = [cells[OTHERS, b] for b in models]
        # For each target the better one of the two others; and each of the two, which two against one meet twice.
        best = [max((cells[a, b] for a in models if a != b), key=lambda cell: cell.fooled) for b in models]
        twice = [cells[OTHERS, b] for a in models for b in models if a != b]
        if not rows:
            rows.append([NOISE, "", share([cells[NOISE, b] for b in models]), *[""] * 5])
        other = VARIANTS[name][1]
        tests = [better(single[name], single[other]), better(both[name], both[other])] if other in single else ["", ""]
        rows.append(
            [
                name,
                share([cells[a, a] for a in models]),
                share(single[name]),
                tests[0],
                share(both[name]),
                tests[1],
                better(twice, single[name]),
                better(both[name], best),
            ]
        )
    return rows


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=CIFAR)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--train", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--eps", type=float, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "transfer.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    images, labels = read(options.data, "train")
    if options.train > len(images):
        parser.error(f"--train {options.train}: the data have {len(images)} training images.")
    images, labels = images[: options.train], labels[: options.train]
    models = {tower: trained(tower, options, images, labels) for tower in TOWERS}
    classifiers = {
        name: ZeroShotClassifier(model, CIFAR_CLASSES, TEMPLATE, device_type="cpu") for name, model in models.items()
    }
    held, truth = (part[: options.samples].numpy() for part in read(options.data, "test"))
    matrices = {
        name: measured(name, of, classifiers, held, truth, options)
        for name, (of, _) in VARIANTS.items()
        if name in options.variants
    }
    settings = {
        name: value for name, value in vars(options).items() if name not in ("out", "data", "folder", "variants")
    }
    first = next(iter(matrices.values()))
    shown = matrices.get("momentum, diversity", first)
    result = {
        "protocol": PROTOCOL.format(**{**settings, "train": len(images), "pairs": len(models) * (len(models) - 1)}),
        "command": "python benchmarks/transfer.py",
        "settings": settings,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
        "tables": [
            {
                "title": "What helps",
                "header": [
                    "attack",
                    "white box",
                    "one to another",
                    "p",
                    "two to the third",
                    "p",
                    "p, two against one",
                    "p, two against the better one",
                ],
                "rows": rows_of(matrices),
            },
            {
                "title": "Who to whom, with momentum and diversity",
                "header": ["made on", *models],
                "rows": [
                    ["accuracy before", *(f"{100 * first.accuracy(name):.1f}" for name in models)],
                    *([source, *(share([shown.cells[source, name]]) for name in models)] for source in shown.sources),
                ],
            },
        ],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for table in result["tables"]:
        print("\n".join(" | ".join(row) for row in [table["header"], *table["rows"]]), end="\n\n")
    return result


if __name__ == "__main__":
    main()
