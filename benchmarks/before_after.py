"""What the same work costs in two trees of the project, side by side in one run.

    git worktree add /tmp/before REVISION
    python benchmarks/before_after.py /tmp/before [--only pgd,words] [--repeats 3]

Each piece of work runs in a process of its own with one thread, by turns in either tree (A B, B A, ...), after a round
that is not counted; compared are CPU seconds, the least of three in a process. Below 1 this tree is faster.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
#: Said once, and again by the docs.
PROTOCOL = (
    "CPU seconds of the same work in two trees, each time in a process of its own with one thread, by turns in either "
    "tree; the ratio is the median over the repeats. pgd: five steps of ProjectedGradientDescentDualEncoder on 16 "
    "images, geometry of CLIP ViT-B/32, 100 prompts. words: BertAttack on 40 prompts, a language model of 12 layers. "
    "exhaustive, guided: DecouplingAttack on four pairs, late fusion over ViT-B/32. digits: the guided one on 60 "
    "digits of demo:digits. training: a step of MMCoA (ViT-S-32-alt). audit: all default attacks on 100 digits, as "
    "`make audit` runs them."
)


def pgd() -> Callable[[], Any]:
    import numpy as np
    import open_clip
    import torch

    from art_multimodal import ZeroShotClassifier
    from art_multimodal.attacks.evasion import ProjectedGradientDescentDualEncoder
    from art_multimodal.models.fast_gradients import with_fast_gradients

    torch.manual_seed(0)
    clip = open_clip.create_model("ViT-B-32").eval()
    with_fast_gradients(clip)
    names = [f"thing {number}" for number in range(100)]
    classifier = ZeroShotClassifier(clip, names, tokenizer=open_clip.get_tokenizer("ViT-B-32"), device_type="cpu")
    images = np.random.default_rng(0).random((16, 3, 224, 224), dtype=np.float32)
    attack = ProjectedGradientDescentDualEncoder(
        classifier, eps=1 / 255, eps_step=0.25 / 255, max_iter=5, batch_size=16, verbose=False
    )
    return lambda: attack.generate(images, np.arange(16))


def words() -> Callable[[], Any]:
    import bert_attack_cost

    models = bert_attack_cost.build("ViT-B-32", 12)
    return lambda: bert_attack_cost.WAYS["shared beginnings"][0](models, 40)


def exhaustive() -> Callable[[], Any]:
    import decoupling_cost

    classifier, pairs = decoupling_cost.build(), decoupling_cost.samples(4)
    return lambda: decoupling_cost.here(classifier, pairs, 14)


def guided() -> Callable[[], Any]:
    import decoupling_cost

    from art_multimodal.attacks.evasion import DecouplingAttack

    classifier, pairs = decoupling_cost.build(), decoupling_cost.samples(4)
    return lambda: DecouplingAttack(classifier, max_queries=60, verbose=False).generate(pairs)


def digits(count: int = 60) -> Callable[[], Any]:
    import numpy as np

    from art_multimodal import ZeroShotClassifier, load_model
    from art_multimodal.attacks.evasion import DecouplingAttack
    from art_multimodal.datasets import open_data

    data: Any = open_data("demo:digits")
    classifier = ZeroShotClassifier(load_model("demo:digits"), data.class_names, data.templates, device_type="cpu")
    images = np.stack([data.image(index) for index in range(count)])
    labels = np.array([data.label_of(index) for index in range(count)])
    return lambda: DecouplingAttack(classifier, max_queries=200, verbose=False).generate(images, labels)


def few_digits() -> Callable[[], Any]:
    return digits(2)


#: What is run and timed in a process, after one time that is not counted.
WORK: dict[str, Callable[[], Callable[[], Any]]] = {
    work.__name__: work for work in (pgd, words, exhaustive, guided, digits, few_digits)
}
#: What is a command of its own; ``{out}`` is an empty folder.
COMMANDS = {
    "training": ["benchmarks/training_step_cost.py", "--contender", "ours", "--architecture", "ViT-S-32-alt"]
    + ["--bert-layers", "4", "--prompts", "50", "--batch-size", "8", "--steps", "5", "--out", "{out}/step.safetensors"],
    "audit": [
        "-m",
        "art_multimodal",
        "audit",
        "demo:digits",
        "--data",
        "demo:digits",
        "--eps",
        "4/255",
        "--limit",
        "100",
    ]
    + ["--batch-size", "100", "--group-size", "100", "--out", "{out}/audit"],
}
ALL = (*(name for name in WORK if name != "few_digits"), *COMMANDS)


def seconds_of(name: str, tree: Path) -> float:
    """CPU seconds of a piece of work in a tree."""
    environment = {**os.environ, "PYTHONPATH": f"{tree}{os.pathsep}{tree / 'benchmarks'}", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as out:
        command = [part.format(out=out) for part in COMMANDS.get(name, [__file__, str(tree), "--work", name])]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, *command], cwd=tree, env=environment, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise SystemExit(f"{name} failed in {tree}: {done.stderr[-500:]}")
        if name == "training":
            said = json.loads((Path(out) / "step.json").read_text(encoding="utf-8"))
            return sum(clocks[0] for clocks in said["seconds"].values())
    if name in COMMANDS:
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return float(done.stdout.splitlines()[-1])


def timed(name: str) -> float:
    """The least of three times, in this process."""
    import torch

    torch.set_num_threads(1)
    run, found = WORK[name](), []
    run()
    for _ in range(3):
        started = time.process_time()
        run()
        found.append(time.process_time() - started)
    return min(found)


def main(arguments: list[str] | None = None) -> dict[str, Any] | None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("before", type=Path, help="another tree of the project")
    parser.add_argument("--only", default=",".join(ALL), help=f"some of {', '.join(ALL)}")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="a file for the result")
    parser.add_argument("--work", help="used by the script itself")
    options = parser.parse_args(arguments)
    if options.work:
        print(timed(options.work))
        return None
    trees = {"before": options.before.resolve(), "after": ROOT}
    found: dict[str, Any] = {}
    for name in options.only.split(","):
        pairs = []
        for repeat in range(options.repeats):
            order = list(trees) if repeat % 2 == 0 else list(reversed(trees))
            pairs.append({which: seconds_of(name, trees[which]) for which in order})
        ratios = [pair["after"] / pair["before"] for pair in pairs]
        found[name] = {"ratio": statistics.median(ratios), "ratios": ratios, "seconds": pairs}
        print(f"{name}: {found[name]['ratio']:.3f} ({', '.join(f'{ratio:.3f}' for ratio in ratios)})", flush=True)
    result = {
        "protocol": PROTOCOL,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "work": found,
    }
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
