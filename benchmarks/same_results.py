"""Whether audits say the same of every sample under other batch sizes, threads and processes."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from art_multimodal.evaluations.audit import Audit, AuditSettings, RunLog
from art_multimodal.evaluations.audit.lines import SampleRecord
from art_multimodal.processes import is_main_process, wait_for_everyone

ROOT = Path(__file__).parents[1]
PROTOCOL = (
    "Ten audits, each under the batch sizes {sizes}, with 1 and 2 threads and in 1 and 2 processes. Compared with the "
    "run of {first} samples at once, 1 thread and 1 process: for how many pairs of a sample and an attack the verdict "
    "(right or wrong) is another one, and for how many anything else of the record is: what is predicted, the changed "
    "text, what was removed, who broke it, queries. In the worst of the other runs. A forward pass of another shape "
    "rounds otherwise."
)
SIZES = (32, 7, 100)
THREADS = (1, 2)
#: Settings of the audits by name; of photos the folder is filled in.
AUDITS: dict[str, dict[str, Any]] = {
    "digits": {"model": "demo:digits", "data": "demo:digits", "eps": 8 / 255, "max_queries": 60},
    "digits, robust, l_inf 16/255": {"model": "demo:digits/robust", "attacks": "image", "eps": 16 / 255},
    "digits, l_2": {"model": "demo:digits", "attacks": "image", "norm": "2", "eps": 0.5},
    "digits, worst": {"model": "demo:digits", "attacks": "worst", "eps": 4 / 255, "max_queries": 60},
    "digits, random defence": {
        "model": "demo:digits",
        "attacks": "pgd,apgd,square",
        "eps": 8 / 255,
        "defences": ("gaussian_augmentation:sigma=0.1",),
        "draws": 3,
        "max_queries": 60,
    },
    "shapes": {"model": "demo:shapes", "data": "demo:shapes", "eps": 8 / 255, "max_queries": 60},
    "shapes, worst": {
        "model": "demo:shapes",
        "data": "demo:shapes",
        "attacks": "worst",
        "eps": 4 / 255,
        "max_queries": 60,
    },
    "scenes, retrieval": {
        "model": "demo:scenes",
        "data": "demo:scenes",
        "task": "retrieval",
        "attacks": "image,text,multimodal",
        "eps": 4 / 255,
        "max_queries": 60,
    },
    "photos of several sizes": {"model": "demo:digits", "attacks": "image", "eps": 8 / 255, "max_queries": 60},
    "digits, typographic and removal": {
        "model": "demo:digits",
        "attacks": "typographic,decoupling",
        "max_queries": 100,
    },
}


def photos(folder: Path) -> str:
    """A folder of digits as photos of several sizes, some larger than the model's."""
    from art_multimodal.datasets import open_data

    digits = open_data("demo:digits")
    for index in range(60):
        image = Image.fromarray((255 * digits.image(index).transpose(1, 2, 0)).round().astype(np.uint8))
        size = ((8, 8), (12, 9), (24, 24))[index % 3]
        place = folder / digits.class_names[digits.label_of(index)] / f"{index}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        image.resize(size, Image.Resampling.BICUBIC).save(place)
    return f"folder:{folder}"


def run_all(names: list[str], limit: int, folder: Path, processes: int) -> None:
    """Run every audit under every batch size and number of threads."""
    for number, name in enumerate(names):
        settings = AuditSettings(
            **{
                "data": f"folder:{folder / 'photos'}" if "photos" in name else "demo:digits",
                "limit": limit,
                "steps": 5,
                **AUDITS[name],
            }
        )
        for size in SIZES:
            for threads in THREADS:
                torch.set_num_threads(threads)
                out = folder / f"{number}-{size}-{threads}-{processes}"
                Audit(replace(settings, batch_size=size), out, device="cpu").evaluate()
                wait_for_everyone()
        if is_main_process():
            print(f"{processes} processes: {name}", file=sys.stderr, flush=True)


def records(folder: Path) -> dict[tuple[str, int], SampleRecord]:
    """What a run says of each attack and each sample."""
    return {
        (line.attack, sample.index): replace(sample, pictured=None)
        for line in RunLog.open(folder).lines()
        for sample in line.samples
    }


def compare(folder: Path, names: list[str], processes: tuple[int, ...]) -> tuple[list[list[Any]], dict[str, Any]]:
    """The rows of the table, and where runs differ."""
    rows, differences = [], {}
    for number, name in enumerate(names):
        first = records(folder / f"{number}-{SIZES[0]}-1-1")
        others = [f"{number}-{size}-{threads}-{count}" for size in SIZES for threads in THREADS for count in processes]
        verdicts, further, where = 0, 0, {}
        for other in others[1:]:
            found = records(folder / other)
            keys = first.keys() | found.keys()
            gone = [key for key in keys if key not in first or key not in found]
            there = [key for key in keys if key in first and key in found]
            apart = gone + [key for key in there if first[key].right != found[key].right]
            otherwise = [key for key in there if key not in apart and first[key] != found[key]]
            verdicts, further = max(verdicts, len(apart)), max(further, len(otherwise))
            if apart or otherwise:
                where[other] = {"verdicts": sorted(map(str, apart)), "further": sorted(map(str, otherwise))}
        rows.append([name, len(first), len(others), verdicts, further])
        differences[name] = where
    return rows, differences


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--audits", nargs="+", default=list(AUDITS), choices=list(AUDITS))
    parser.add_argument("--one-process", action="store_true")
    parser.add_argument("--part-of", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "same_results.json")
    options = parser.parse_args(arguments)
    if options.part_of:
        run_all(options.audits, options.limit, options.part_of, 2)
        return {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos(folder / "photos")
        run_all(options.audits, options.limit, folder, 1)
        if not options.one_process:
            command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", __file__]
            command += ["--part-of", name, "--limit", str(options.limit), "--audits", *options.audits]
            subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        rows, differences = compare(folder, options.audits, (1,) if options.one_process else (1, 2))
    header = ["audit", "samples and attacks", "runs", "other verdicts", "other records"]
    result = {
        "protocol": PROTOCOL.format(sizes=", ".join(map(str, SIZES)), first=SIZES[0]),
        "command": f"python benchmarks/same_results.py --limit {options.limit}",
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
        "differences": differences,
        "table": {"header": header, "rows": rows},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for row in [header, *rows]:
        print(" | ".join(map(str, row)))
    return result


if __name__ == "__main__":
    main()
