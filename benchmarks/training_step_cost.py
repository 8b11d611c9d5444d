"""What a step of MMCoA's training costs here, and what it costs as a script would have it.

    python benchmarks/training_step_cost.py [--quick | --device cuda]

CLIP ViT-B/32 and a language model of bert-base's geometry, both with random weights, on a CPU; about a quarter of an
hour. With ``--device cuda``: samples per second of a large batch in bf16, and the share of the matrix peak.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

sys.path.insert(0, str(Path(__file__).parent))
from bert_attack_cost import TEMPLATE, build, names
from training_steps import PHASES, Clock, Job, Taken, differences, ours, plain

from art_multimodal import ZeroShotClassifier
from art_multimodal.attacks.evasion import BertAttack
from art_multimodal.defences.trainer import AdversarialTrainerMMCoA, TrainingSettings
from art_multimodal.models.families.open_clip.encoder import OpenCLIPEncoder
from art_multimodal.models.fast_gradients import with_fast_gradients

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
#: The plain step costs at least so many times the CPU time of ours, and ours takes no more memory.
TARGET = 7.0
#: What rounding may do to two steps that are one and the same; see ``differences``.
TOLERANCES = {"loss": 1e-3, "images": 0.02, "texts": 0, "update": 0.05}
#: Each contender's step, and the precision of the library's trainer.
CONTENDERS = {
    "plain": (plain, "float32"),
    "ours": (ours, "float32"),
    "ours, bf16 attack": (ours, "bf16-attack"),
    "ours, bf16": (ours, "bf16"),
}
PROTOCOL = (
    "One step of MMCoA (arXiv:2404.19287) on a batch of random images of random classes of CIFAR-100, one prompt per "
    "class: PGD on the images (l_inf 1/255) against the prompts of all classes, BertAttack on the texts (one word, the "
    'language model\'s top 10, class names protected), then the contrastive loss (`positives="index"`), its gradient '
    "and AdamW on both towers. CLIP and the language model, of bert-base-uncased's sizes, have random weights. "
    "`plain`: the text tower encodes all prompts, padding included, in every step of PGD, whose backward pass "
    "computes gradients of all parameters; the text of every sample is attacked by itself, one question per call; "
    "clean and adversarial images are encoded in two passes. `ours`: AdversarialTrainerMMCoA as it is shipped, "
    "remembering nothing from earlier steps. Every step runs in a process of its own, from equal weights, on an equal "
    "batch, with equal random starts, one after the other (plain, ours, plain, ours, ...), each repeat on a batch of "
    "its own. CPU seconds of one thread; a ratio is that of the two steps of a repeat. Memory: the largest resident "
    "set of the process during the step, beyond that before trainer or optimizer were made: gradients, state of the "
    "optimizer and copies of weights are counted, weights are not. Checked in every repeat: adversarial texts are "
    "identical, adversarial images, loss and parameter update equal but for rounding. The bf16 rows compute something "
    "else and are not checked."
)


def settings_of(options: argparse.Namespace, precision: str, seed: int) -> TrainingSettings:
    """Of the trainer."""
    return TrainingSettings(
        positives="index", schedule="constant", max_iter=options.steps, precision=precision, seed=seed
    )


def run_one(options: argparse.Namespace) -> None:
    """Take one contender's step in this process, and write down what it did."""
    torch.set_num_threads(1)
    step, precision = CONTENDERS[options.contender]
    models = build(options.architecture, options.bert_layers)
    settings = settings_of(options, precision, options.seed)
    taken = step(Job.drawn(models, names(options.prompts), options.batch_size, settings, options.seed))
    save_file(
        {f"update/{name}": t.contiguous() for name, t in taken.update.items()} | {"images": taken.images}, options.out
    )
    said = {name: getattr(taken, name) for name in ("loss", "texts", "seconds", "peak_bytes")}
    options.out.with_suffix(".json").write_text(json.dumps(said), encoding="utf-8")


def taken_by(contender: str, options: argparse.Namespace, seed: int, folder: Path) -> Taken:
    """Let a contender take a step in a process of its own."""
    out = folder / f"{contender}.safetensors"
    sizes = [f"--{name.replace('_', '-')}={getattr(options, name)}" for name in SIZES]
    command = [sys.executable, __file__, f"--contender={contender}", f"--seed={seed}", f"--out={out}", *sizes]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    tensors = load_file(out)
    update = {name.removeprefix("update/"): t for name, t in tensors.items() if name != "images"}
    return Taken(images=tensors["images"], update=update, **json.loads(out.with_suffix(".json").read_text()))


def summary(values: Sequence[float]) -> dict[str, float | int]:
    """Median and range."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


def measure(options: argparse.Namespace, save: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Take all steps, and return the result as it is written.

    :param save: Is given what is known after each step: they take long.
    """
    repeats = dict.fromkeys(CONTENDERS, options.bf16_repeats)
    repeats |= {"plain": options.plain_repeats, "ours": options.repeats}
    taken: dict[str, list[Taken]] = {name: [] for name in CONTENDERS}
    checks: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(max(repeats.values())):
            found: dict[str, Taken] = {}
            for name in CONTENDERS:
                if repeat >= repeats[name]:
                    continue
                step = found[name] = taken_by(name, options, repeat, Path(folder))
                taken[name].append(step)
                print(f"{name}: {total(step):.1f} CPU s, {(step.peak_bytes or 0) / 2**30:.2f} GiB", flush=True)
                if name == "ours" and "plain" in found:
                    checks.append(differences(step, found["plain"]))
                    check(checks[-1])
                    step.update = found["plain"].update = {}
                if taken["plain"] and taken["ours"]:
                    save(result_of(taken, checks, options))
    return result_of(taken, checks, options)


def result_of(
    taken: dict[str, list[Taken]], checks: list[dict[str, float]], options: argparse.Namespace
) -> dict[str, Any]:
    """What the steps taken so far say."""
    taken = {name: steps for name, steps in taken.items() if steps}
    ratios = {
        name: {
            clock: summary([total(p, i) / total(s, i) for p, s in zip(taken["plain"], steps, strict=False)])
            for i, clock in enumerate(("cpu", "wall"))
        }
        for name, steps in taken.items()
        if name != "plain"
    }
    result: dict[str, Any] = {
        "benchmark": "training_step_cost",
        "protocol": PROTOCOL,
        "command": "python benchmarks/training_step_cost.py",
        "settings": {name: getattr(options, name) for name in SIZES},
        "machine": machine(),
        "target": {"plain_to_ours": TARGET},
        "ratios_plain_to": ratios,
        "seconds": {
            name: {
                clock: {
                    **{phase: summary([step.seconds[phase][i] for step in steps]) for phase in PHASES},
                    "step": summary([total(step, i) for step in steps]),
                }
                for i, clock in enumerate(("cpu", "wall"))
            }
            for name, steps in taken.items()
        },
        "peak_gib": {
            name: summary([(step.peak_bytes or 0) / 2**30 for step in steps]) for name, steps in taken.items()
        },
        "differences": checks,
    }
    result["table"] = table_of(result)
    return result


def total(step: Taken, clock: int = 0) -> float:
    """Seconds of a whole step: of the CPU, or on the wall."""
    return sum(step.seconds[phase][clock] for phase in PHASES)


def check(found: dict[str, float]) -> None:
    """Refuse to compare steps that compute different things."""
    for name, most in TOLERANCES.items():
        if not found[name] <= most:
            raise SystemExit(f"The {name} of the two steps differ by {found[name]:.2g}, so their cost is not compared.")


def machine() -> dict[str, Any]:
    """Where this runs."""
    return {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__}


def table_of(result: dict[str, Any]) -> dict[str, Any]:
    """The result as the docs print it."""
    seconds, peaks, ratios = result["seconds"], result["peak_gib"], result["ratios_plain_to"]
    rows = [
        [f"{phase}, CPU seconds", *(f"{of['cpu'][phase]['median']:.1f}" for of in seconds.values())]
        for phase in (*PHASES, "step")
    ]
    rows.append(["peak memory, GiB", *(f"{peaks[name]['median']:.2f}" for name in seconds)])
    spans = [ratios[name]["cpu"] if name in ratios else None for name in seconds]
    rows.append(
        [
            "times cheaper than plain (range)",
            *("1" if s is None else f"{s['median']:.2f} ({s['min']:.2f} to {s['max']:.2f})" for s in spans),
        ]
    )
    rows.append(["steps measured", *(of["cpu"]["step"]["n"] for of in seconds.values())])
    return {"header": ["", *seconds], "rows": rows}


def throughput(options: argparse.Namespace) -> dict[str, Any]:
    """Samples per second of whole steps on a device, and what share of its matrix peak they reach, in bf16."""
    cuda = options.device == "cuda"
    models = build(options.architecture, options.bert_layers)
    settings = settings_of(options, "bf16", 0)
    job = Job.drawn(models, names(options.prompts), options.batch_size * (options.repeats + 1), settings)
    with_fast_gradients(models.clip)
    encoder = OpenCLIPEncoder(models.clip, models.tokenizer).eval()
    classifier = ZeroShotClassifier(encoder, job.class_names, TEMPLATE, device_type="gpu" if cuda else "cpu")
    models.bert.to(classifier.device)
    attack = BertAttack(classifier, models.language_model(), verbose=False)
    trainer = AdversarialTrainerMMCoA(classifier, settings, attack)
    steps: list[float] = []

    def done(record: Any) -> None:
        clock.mark("step")
        steps.append(clock.seconds.pop("step")[1])

    clock = Clock(torch.cuda.synchronize if cuda else lambda: None)
    clock.mark()
    trainer.fit(job.images, job.labels, batch_size=options.batch_size, nb_epochs=1, callback=done)
    few = slice(0, options.batch_size)
    with Operations() as counter:
        trainer.fit(job.images[few], job.labels[few], batch_size=options.batch_size, nb_epochs=1)
    # The first step warms up, and asks the language model what is remembered afterwards.
    seconds = statistics.median(steps[1:])
    peak = matrix_peak(options.device, 8192 if cuda else 256)
    reached = counter.total / seconds
    name = torch.cuda.get_device_name() if cuda else platform.machine()
    return {
        "benchmark": "training_step_throughput",
        "protocol": (
            'Whole steps of AdversarialTrainerMMCoA with precision="bf16", median after the first. Operations: those '
            "of matrix products, convolutions and attention, counted in one more fit of one step. Peak: "
            "the fastest of ten products of two large square matrices in bf16 on the same device."
        ),
        "command": f"python benchmarks/training_step_cost.py --device {options.device}",
        "settings": {name: getattr(options, name) for name in (*SIZES, "repeats")},
        "machine": {**machine(), "device": name},
        "samples_per_second": options.batch_size / seconds,
        "share_of_bf16_matrix_peak": reached / peak,
        "table": {
            "header": ["device", "samples per second", "TFLOP/s", "matrix peak, TFLOP/s", "share"],
            "rows": [
                [
                    name,
                    f"{options.batch_size / seconds:.1f}",
                    f"{reached / 1e12:.1f}",
                    f"{peak / 1e12:.1f}",
                    f"{100 * reached / peak:.0f} %",
                ]
            ],
        },
    }


class Operations(TorchDispatchMode):
    """Counts those of matrix products, convolutions and attention (torch's own counter cannot with autograd.grad)."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=found)
        return found


def matrix_peak(device: str, side: int) -> float:
    """Operations per second of a product of two large matrices in bf16."""
    left = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        left @ left
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best


#: Options that both processes have to know.
SIZES = ("architecture", "bert_layers", "prompts", "batch_size", "steps")
QUICK = {"architecture": "ViT-S-32-alt", "bert_layers": 1, "prompts": 8, "batch_size": 4, "steps": 2}
QUICK |= {"repeats": 1, "plain_repeats": 1, "bf16_repeats": 0}


def main(arguments: list[str] | None = None) -> dict[str, Any] | None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--architecture", default="ViT-B-32", help="of open_clip")
    parser.add_argument("--bert-layers", type=int, default=12)
    parser.add_argument("--prompts", type=int, default=100, help="at most 100")
    parser.add_argument("--batch-size", type=int, help="default: 16, with --device cuda 256")
    parser.add_argument("--steps", type=int, default=10, help="of PGD")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--plain-repeats", type=int, default=2)
    parser.add_argument("--bf16-repeats", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a small model, once")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--throughput", action="store_true", help="of the device alone, as with --device cuda")
    parser.add_argument("--contender", choices=CONTENDERS, help="used by the script itself")
    parser.add_argument("--seed", type=int, default=0, help="used by the script itself")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    if options.quick:
        vars(options).update(QUICK)
    if options.contender:
        run_one(options)
        return None
    alone = options.throughput or options.device == "cuda"
    options.batch_size = options.batch_size or (256 if alone else 16)

    def save(result: dict[str, Any]) -> None:
        out = options.out or RESULTS / f"{result['benchmark']}.json"
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")

    result = throughput(options) if alone else measure(options, save)
    save(result)
    print(json.dumps(result["table"], indent=2))
    return result


if __name__ == "__main__":
    main()
