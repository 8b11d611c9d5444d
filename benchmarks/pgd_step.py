"""What one PGD step on a CLIP-like model costs: ours, the least it can cost, ART's own, and the naive way."""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.attacks.evasion import ProjectedGradientDescent
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn
from torch.nn import functional as F

from art_multimodal import ZeroShotClassifier, load_model
from art_multimodal.attacks.evasion import ProjectedGradientDescentDualEncoder
from art_multimodal.models.dual_encoder import DualEncoder

EPS = 1 / 255
#: Our step may cost this many times one forward and one backward pass.
TARGET = 1.10
#: Largest difference of gradients, relative to the largest gradient, that still counts as equal.
TOLERANCE = 1e-4
PROTOCOL = (
    "One process, on the CPU. After an unrecorded round every contender runs once per repeat, one after the other "
    "(A B C A B C ...); a ratio is the median over the repeats of the ratio within a repeat. Seconds are per step: the "
    "time of an attack of `steps` steps on one batch, labels given, divided by `steps`. ART's attack predicts twice "
    "after its last step; the time of the same attack with 0 steps, measured in the same repeat, is subtracted. `cpu` "
    "is the processor time of the process over all its threads, `wall` the time on the clock. "
    "ours: ProjectedGradientDescentDualEncoder on ZeroShotClassifier, everything included. "
    "bound: one forward and one backward pass to the input of a plain module with the same weights, none of which "
    "requires a gradient: normalisation, image tower, similarity to stored text embeddings, cross-entropy. "
    "art_ours: art.attacks.evasion.ProjectedGradientDescent on ZeroShotClassifier. "
    "art_stock: the same attack on a stock PyTorchClassifier around the plain module, whose parameters require "
    "gradients. "
    "naive: the text tower runs in every step, over all positions of the context, and gradients of all parameters are "
    "computed; `naive_repeats` steps only."
)


class PlainModule(nn.Module):
    """The same classifier as anyone would write it: images of the model's own size to logits."""

    def __init__(self, encoder: DualEncoder, class_features: Tensor) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder)
        self.register_buffer("class_features", class_features.clone())

    def image_features(self, images: Tensor) -> Tensor:
        pixels = (images - self.encoder.preprocess.mean) / self.encoder.preprocess.std
        return F.normalize(self.encoder.image_tower(pixels), dim=-1)

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder.logit_scale.exp() * self.image_features(images) @ self.class_features.T


@dataclass(frozen=True)
class Contender:
    """Something that takes steps.

    :param run: Takes that many steps.
    :param fixed_cost: Whether the time of 0 steps is to be subtracted.
    :param only_once: Whether to take one step at a time, because it is slow.
    """

    run: Callable[[int], Any]
    fixed_cost: bool = False
    only_once: bool = False

    def seconds_per_step(self, steps: int) -> np.ndarray:
        """Return CPU and wall seconds."""
        steps = 1 if self.only_once else steps
        total = _seconds(lambda: self.run(steps))
        return (total - _seconds(lambda: self.run(0))) / steps if self.fixed_cost else total / steps


def _seconds(work: Callable[[], Any]) -> np.ndarray:
    start = np.array([time.process_time(), time.perf_counter()])
    work()
    return np.array([time.process_time(), time.perf_counter()]) - start


def load_encoder(name: str) -> DualEncoder:
    """Return ``load_model(name)``, or for a bare architecture of open_clip ("ViT-B-32") one with random weights."""
    if ":" in name:
        return load_model(name)
    import open_clip

    from art_multimodal.models.families.open_clip.encoder import OpenCLIPEncoder
    from art_multimodal.models.fast_gradients import with_fast_gradients

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model(name, pretrained=None)
    with_fast_gradients(model)
    return OpenCLIPEncoder(model, open_clip.get_tokenizer(name)).eval()


def art_attack(classifier: PyTorchClassifier, x: np.ndarray, y: np.ndarray) -> Callable[[int], np.ndarray]:
    """Return ART's PGD as a function of the number of steps."""

    def run(steps: int) -> np.ndarray:
        attack = ProjectedGradientDescent(
            classifier, eps=EPS, eps_step=EPS, max_iter=steps, batch_size=len(x), verbose=False
        )
        return attack.generate(x, y)

    return run


def our_attack(classifier: ZeroShotClassifier, x: np.ndarray, y: np.ndarray) -> Callable[[int], np.ndarray]:
    """Return our PGD as a function of the number of steps."""

    def run(steps: int) -> np.ndarray:
        attack = ProjectedGradientDescentDualEncoder(
            classifier, eps=EPS, eps_step=EPS, max_iter=steps, batch_size=len(x), seed=0, verbose=False
        )
        return attack.generate(x, y)

    return run


def bound(module: PlainModule, x: np.ndarray, y: np.ndarray) -> Callable[[int], None]:
    """Return forward and backward passes to the input, without anything else that belongs to a step."""
    images, labels = torch.from_numpy(x).requires_grad_(True), torch.from_numpy(y)

    def run(steps: int) -> None:
        for _ in range(steps):
            torch.autograd.grad(F.cross_entropy(module(images), labels), images)

    return run


def naive(module: PlainModule, tokens: Tensor, x: np.ndarray, y: np.ndarray) -> Callable[[int], None]:
    """Return PGD steps of a plain script: both towers in every step, and ``loss.backward()`` for all parameters."""
    clean, labels = torch.from_numpy(x), torch.from_numpy(y)
    encoder = module.encoder
    # As open_clip runs it, over all positions of the context; the adapter leaves padding out.
    text_tower = getattr(getattr(encoder, "model", None), "encode_text", encoder.text_tower)

    def run(steps: int) -> None:
        delta = torch.zeros_like(clean).uniform_(-EPS, EPS).requires_grad_(True)
        for _ in range(steps):
            texts = F.normalize(text_tower(tokens), dim=-1)
            logits = encoder.logit_scale.exp() * module.image_features(clean + delta) @ texts.T
            F.cross_entropy(logits, labels).backward()
            moved = (delta.detach() + EPS * delta.grad.sign()).clamp(-EPS, EPS)
            delta.data = (clean + moved).clamp(0, 1) - clean
            delta.grad.zero_()

    return run


def with_gradient(module: nn.Module) -> int:
    """Number of parameters for which a gradient was computed."""
    return sum(p.grad is not None for p in module.parameters())


def summary(values: Sequence[float]) -> dict[str, float | int]:
    """Median and range."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run everything and return the result as written to the file."""
    encoder = load_encoder(options.model)
    class_names = [f"thing {index}" for index in range(options.prompts)]
    ours = ZeroShotClassifier(encoder, class_names, device_type="cpu")
    rng = np.random.default_rng(0)
    x = rng.random((options.batch_size, *ours.input_shape), dtype=np.float32)
    y = rng.integers(options.prompts, size=options.batch_size)

    plain = PlainModule(encoder, ours.class_features()).eval()
    stock = PyTorchClassifier(
        model=plain,
        loss=nn.CrossEntropyLoss(),
        input_shape=ours.input_shape,
        nb_classes=options.prompts,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
    frozen = PlainModule(encoder, ours.class_features()).eval().requires_grad_(False)
    contenders = {
        "ours": Contender(our_attack(ours, x, y)),
        "bound": Contender(bound(frozen, x, y)),
        "art_ours": Contender(art_attack(ours, x, y), fixed_cost=True),
        "art_stock": Contender(art_attack(stock, x, y), fixed_cost=True),
        "naive": Contender(naive(plain, ours.model.head.tokens, x, y), only_once=True),
    }

    # The unrecorded round, which also checks that the contenders compute the same.
    one_hot = np.eye(options.prompts, dtype=np.float32)[y]
    our_gradient, stock_gradient = ours.loss_gradient(x, one_hot), stock.loss_gradient(x, one_hot)
    plain.zero_grad(set_to_none=True)
    for contender in contenders.values():
        if contender is not contenders["naive"]:
            contender.run(1)
    checks = {
        "loss_gradient_max_relative_difference": float(
            np.abs(our_gradient - stock_gradient).max() / np.abs(stock_gradient).max()
        ),
        "parameters_with_gradient_after_art_attack": {"ours": with_gradient(ours.model), "stock": with_gradient(plain)},
    }

    seconds: dict[str, list[np.ndarray]] = {name: [] for name in contenders}
    for repeat in range(options.repeats):
        for name, contender in contenders.items():
            if name != "naive" or repeat < options.naive_repeats:
                seconds[name].append(contender.seconds_per_step(options.steps))
    checks["parameters_with_gradient_after_art_attack"]["ours"] += with_gradient(ours.model)

    def ratio(over: str, under: str) -> dict[str, Any]:
        pairs = np.array([a / b for a, b in zip(seconds[over], seconds[under], strict=False)])
        return {clock: summary(column.tolist()) for clock, column in zip(("cpu", "wall"), pairs.T, strict=True)}

    return {
        "benchmark": "pgd_step",
        "protocol": PROTOCOL,
        "settings": {
            "model": options.model + ("" if ":" in options.model else " (open_clip, random weights)"),
            "image_shape": list(ours.input_shape),
            "prompts": options.prompts,
            "batch_size": options.batch_size,
            "steps": options.steps,
            "repeats": options.repeats,
            "naive_repeats": min(options.naive_repeats, options.repeats),
            "norm": "inf",
            "eps": EPS,
        },
        "machine": {
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "processor": platform.machine(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "adversarial-robustness-toolbox": version("adversarial-robustness-toolbox"),
        },
        "ratios": {
            "ours_to_bound": ratio("ours", "bound"),
            "art_ours_to_art_stock": ratio("art_ours", "art_stock"),
            **({"naive_to_ours": ratio("naive", "ours")} if seconds["naive"] else {}),
        },
        "targets": {"ours_to_bound": TARGET},
        "seconds_per_step": {
            name: {clock: summary([float(t[i]) for t in times]) for i, clock in enumerate(("cpu", "wall"))}
            for name, times in seconds.items()
            if times
        },
        "checks": checks,
    }


def table_of(result: dict[str, Any]) -> dict[str, list[Any]]:
    """The ratios as the docs print them."""
    rows = [
        [name.replace("_", " "), *(f"{row['cpu'][key]:.3f}" for key in ("median", "min", "max")), row["cpu"]["n"]]
        for name, row in result["ratios"].items()
    ]
    counts = result["checks"]["parameters_with_gradient_after_art_attack"]
    rows += [[f"parameters with a gradient after ART's attack, {name}", n, "", "", ""] for name, n in counts.items()]
    return {"header": ["ratio of CPU times", "median", "least", "most", "runs"], "rows": rows}


def table(result: dict[str, Any]) -> str:
    """Return the result as text."""
    lines = [f"{'CPU time':<24}{'median':>10}{'min':>10}{'max':>10}{'n':>4}"]
    for name, clocks in {**result["ratios"], **result["seconds_per_step"]}.items():
        row = clocks["cpu"]
        unit = "   seconds per step" if name in result["seconds_per_step"] else ""
        target = f"   target: at most {result['targets'][name]:.2f}" if name in result["targets"] else ""
        lines.append(f"{name:<24}{row['median']:10.4f}{row['min']:10.4f}{row['max']:10.4f}{row['n']:4d}{unit}{target}")
    difference = result["checks"]["loss_gradient_max_relative_difference"]
    counts = result["checks"]["parameters_with_gradient_after_art_attack"]
    lines += [
        f"Loss gradients of ours and of the stock classifier differ by at most {difference:.1e} (relative).",
        f"Parameters whose gradient ART's attack computed: {counts['ours']} on ours, {counts['stock']} on stock.",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print a table, write the JSON file and return what is in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model",
        default="ViT-B-32",
        help="an open_clip architecture (random weights), or a model for load_model (demo:digits)",
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--naive-repeats", type=int, default=2, help="repeats in which the naive step runs too (slow)")
    parser.add_argument("--steps", type=int, default=5, help="steps of an attack")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--prompts", type=int, default=100, help="number of classes, one prompt each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "pgd_step.json")
    options = parser.parse_args(arguments)

    threads = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    try:
        result = measure(options)
    finally:
        torch.set_num_threads(threads)
    command = f"python benchmarks/pgd_step.py --repeats {options.repeats} --naive-repeats {options.naive_repeats}"
    result |= {"command": command, "table": table_of(result)}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(table(result))
    difference = result["checks"]["loss_gradient_max_relative_difference"]
    if not difference <= TOLERANCE:
        raise SystemExit(f"The gradients differ by {difference:.1e}: the times above compare different computations.")
    return result


if __name__ == "__main__":
    main()
