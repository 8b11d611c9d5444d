"""How much resident memory an audit takes for each sample: two audits of different length, the same otherwise.

python benchmarks/memory.py
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
CLASSES = ("cat", "dog", "bird", "fish")
#: Images of a shard.
PER_SHARD = 5000
#: Most bytes for each further sample.
TARGET = 1000
PROTOCOL = (
    "Images of 8 x 8 pixels of random colours in shards of WebDataset (wds:), PNG files with labels, are classified by "
    "a linear dual encoder of 1,000 weights and attacked by the command art-multimodal audit, each audit in a process "
    "of its own. Both audits run the same passes in groups of 200: without an attack, with noise (ten draws), and one "
    "step of ART's projected gradient descent; both write all reports. Peak: the high-water mark of resident memory "
    "of the whole process (VmHWM), from listing the shards to the last report. Growth: the difference of the peaks "
    "over that of the numbers of samples. Labels are drawn at random, so most samples are wrong before any attack in "
    "both; a second pair of audits, `all right`, has the labels that the model gives, so that every sample is attacked."
)
#: The model, as a file for python:FILE:FUNCTION.
MODEL = """
import math
import torch
from torch import nn
from art_multimodal import CustomDualEncoder

def load():
    torch.manual_seed(0)
    image, text = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), nn.EmbeddingBag(256, 4, padding_idx=0)
    def tokenize(texts):
        rows = [list(text.encode())[:32] for text in texts]
        return torch.tensor([row + [0] * (32 - len(row)) for row in rows])
    return CustomDualEncoder(image, text, tokenize, 8, (0.5,) * 3, (0.5,) * 3, math.log(10.0)).eval()
"""
#: Run in a process of its own: an audit, and then the most memory that it has had.
CHILD = """
import sys
from art_multimodal.cli.program import main
from benchmarks.watching import peak_bytes
code = main(sys.argv[1:])
print("peak", peak_bytes())
sys.exit(code)
"""


def png(pixels: np.ndarray) -> bytes:
    """A PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=0)
    return stream.getvalue()


def answers(folder: Path, images: np.ndarray) -> np.ndarray:
    """What the model says of images ``(N, 8, 8, 3)``."""
    import torch

    from art_multimodal import ZeroShotClassifier, load_model

    torch.set_num_threads(1)
    classifier = ZeroShotClassifier(load_model(f"python:{folder / 'model.py'}:load"), CLASSES, device_type="cpu")
    x = images.transpose(0, 3, 1, 2).astype(np.float32) / 255
    return classifier.predict(x, batch_size=4096).argmax(axis=1)


def write_shards(folder: Path, count: int, labels_of: Any, seed: int = 0) -> None:
    """Write images and labels into shards, with the names of the classes."""
    folder.mkdir(parents=True)
    (folder / "classnames.txt").write_text("\n".join(CLASSES) + "\n")
    rng = np.random.default_rng(seed)
    for first in range(0, count, PER_SHARD):
        images = rng.integers(0, 256, size=(min(PER_SHARD, count - first), 8, 8, 3), dtype=np.uint8)
        labels = labels_of(images)
        with tarfile.open(folder / f"{first // PER_SHARD:06}.tar", "w") as archive:
            for number, (image, label) in enumerate(zip(images, labels, strict=True), start=first):
                for ending, content in (("png", png(image)), ("cls", str(label).encode())):
                    member = tarfile.TarInfo(f"{number:07}.{ending}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))


def peak_of(folder: Path, data: Path, attacks: str) -> tuple[int, dict[str, Any]]:
    """Audit in a process of its own; return the most bytes that it held, and its report."""
    out = folder / f"{data.name}-audit"
    audit = ["audit", f"python:{folder / 'model.py'}:load", "--data", f"wds:{data}", "--attacks", attacks]
    audit += ["--eps", "1/255", "--steps", "1", "--group-size", "200", "--batch-size", "200", "--device", "cpu"]
    command = [sys.executable, "-c", CHILD, *audit, "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("peak "))
    print(line, f"bytes, {data.name}", flush=True)
    return int(line.split()[1]), json.loads((out / "report.json").read_text(encoding="utf-8"))


def measure(few: int, many: int, attacks: str, jobs: int, folder: Path) -> dict[str, Any]:
    """Measure both kinds of labels, and return the result for the docs."""
    (folder / "model.py").write_text(MODEL)
    rng = np.random.default_rng(1)
    kinds = {
        "labels at random": lambda images: rng.integers(len(CLASSES), size=len(images)),
        "all right": lambda images: answers(folder, images),
    }
    found: dict[str, dict[int, Any]] = {kind: {} for kind in kinds}
    with ThreadPoolExecutor(jobs) as pool:
        for number, (kind, labels_of) in enumerate(kinds.items()):
            for count in (few, many):
                data = folder / f"{number}-{count}"
                write_shards(data, count, labels_of)
                found[kind][count] = pool.submit(peak_of, folder, data, attacks)
    rows, growth = [], {}
    for kind, audits in found.items():
        peaks = {}
        for count, audit in audits.items():
            peaks[count], report = audit.result()
            assert report["complete"] and report["results"]["clean"]["n"] == count
        growth[kind] = (peaks[many] - peaks[few]) / (many - few)
        clean = report["results"]["clean"]["accuracy"]
        sizes = [f"{peaks[count] / 2**20:.0f} MiB" for count in (few, many)]
        rows.append([kind, f"{clean:.1%}", *sizes, f"{growth[kind]:.0f} B"])
    return {
        "protocol": PROTOCOL,
        "command": f"python benchmarks/memory.py --few {few} --many {many} --attacks {attacks}",
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": version("torch")},
        "bytes_per_sample": growth,
        "target": TARGET,
        "table": {
            "header": ["labels", "right before", f"peak, {few:,}", f"peak, {many:,}", "for each further sample"],
            "rows": rows,
        },
    }


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--few", type=int, default=20_000)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--attacks", default="noise,art_pgd")
    parser.add_argument("--jobs", type=int, default=1, help="audits at the same time; peaks do not depend on it")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "memory.json")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options.few, options.many, options.attacks, options.jobs, Path(folder))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for kind, size in result["bytes_per_sample"].items():
        print(f"{kind}: {size:.0f} bytes for each further sample (at most {TARGET})")
    return result


if __name__ == "__main__":
    main()
