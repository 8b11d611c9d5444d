"""A plan on a ViT-B/32 with ImageNet's 1,000 classes in 80 templates: how soon it attacks, and with how much memory.

python benchmarks/thousand_classes.py
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.watching import peak_bytes, processor_seconds  # noqa: E402

#: Photos of the class that the model sees everywhere, and of each other class.
OF_FIRST, OF_OTHERS = 2000, 1
#: Seconds until the first batch is attacked, on two cores, and bytes.
TARGET = {"seconds": 120.0, "bytes": 6 * 10**9}
CORES = 2
PROTOCOL = (
    "The command `art-multimodal audit --plan plan.yaml` in a process of its own, on the CPU: open_clip's ViT-B-32 "
    "with random weights from a checkpoint (the bias of the image tower's last layer makes it answer with one "
    "class, so that there is something to attack), data:imagenet in torchvision's layout with all 1,000 classes, "
    "their names and the 80 prompt templates of the CLIP paper, small random photos; a plan with APGD, an attack on "
    "words and one on letters. Read from the folder of the run and from /proc: time and processor time from the "
    "start of the command to the first line of the log, which is when the first batch is attacked; to the line of "
    "APGD; and the most resident memory until so many seconds of processor time later, in the middle of the text "
    "attacks. Half of the processor time is what it takes on two cores with nothing else to do, where both are busy "
    "all the time; on the clock is what it took on a machine that others used, too. Random weights change no cost; "
    "what the text attacks find, they do."
)
PLAN = """\
plan: 1
models: ["open_clip:ViT-B-32/{weights}"]
data: "data:imagenet:root={root}"
samples: {{limit: 64, seed: 0}}
attacks:
  image: [apgd]
  text: [bert_attack, character_attack]
budgets: {{eps: 1/255, steps: 2}}
{templates}
floors: {{image: 0.3, text: 0.3}}
"""


def write_photos(root: Path, first: int = OF_FIRST, others: int = OF_OTHERS, side: int = 32) -> list[str]:
    """Write ImageNet's validation folders with random photos; return the names of the classes."""
    from open_clip import IMAGENET_CLASSNAMES
    from timm.data import ImageNetInfo

    rng = np.random.default_rng(0)
    files = []
    for _ in range(8):
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(stream, "JPEG")
        files.append(stream.getvalue())
    for number, one in enumerate(ImageNetInfo().label_names()):
        folder = root / "imagenet" / "val" / one
        folder.mkdir(parents=True)
        for photo in range(others if number else first):
            (folder / f"{photo}.JPEG").write_bytes(files[photo % len(files)])
    return list(IMAGENET_CLASSNAMES)


def write_weights(path: Path, name: str, templates: Sequence[str]) -> None:
    """Write random weights of a ViT-B-32 whose image embeddings all lie beside one class."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32").eval()
    with torch.no_grad():
        tokens = open_clip.get_tokenizer("ViT-B-32")([template.format(name) for template in templates])
        wanted = F.normalize(model.encode_text(tokens, normalize=True).mean(dim=0), dim=0)
        # ln_post ends in the bias, and the projection makes the embedding of it.
        model.visual.ln_post.bias += 100 * torch.linalg.lstsq(model.visual.proj.T, wanted[:, None]).solution[:, 0]
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)


def watch(command: Sequence[str], log: Path, environment: dict[str, str], further: float) -> dict[str, Any]:
    """Start a run, and stop it so many processor seconds after its first attack; return what it took."""
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    found: dict[str, Any] = {"peak": 0}
    try:
        while process.poll() is None:
            used = processor_seconds(process.pid)
            found["peak"] = max(found["peak"], peak_bytes(process.pid))
            lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
            for name, least in (("first batch", 1), ("attacked", 2)):
                if len(lines) >= least and name not in found:
                    found[name] = {"clock": time.perf_counter() - started, "processor": used, "peak": found["peak"]}
                    print(f"{name}: {used:.0f} s of processor time, {found['peak'] / 1e9:.2f} GB", flush=True)
            if "attacked" in found and used > found["attacked"]["processor"] + further:
                break
            time.sleep(0.25)
        else:
            if process.returncode:
                assert process.stderr is not None
                raise SystemExit(process.stderr.read().decode()[-2000:])
    finally:
        process.kill()
        process.wait()
    found["lines"] = len(lines)
    return found


def measure(threads: int, further: float, count: int, folder: Path) -> dict[str, Any]:
    """Run the plan, and return the result for the docs."""
    from art_multimodal.datasets.named.imagenet import imagenet_templates

    templates = imagenet_templates()[:count]
    names = write_photos(folder / "data")
    write_weights(folder / "weights.safetensors", names[0], templates)
    own = "" if count == 80 else f"templates: {json.dumps(templates)}"
    plan = PLAN.format(weights=folder / "weights.safetensors", root=folder / "data", templates=own)
    (folder / "plan.yaml").write_text(plan, encoding="utf-8")
    out = folder / "audit"
    command = [sys.executable, "-m", "art_multimodal", "audit", "--plan", str(folder / "plan.yaml")]
    command += ["--out", str(out), "--device", "cpu", "--group-size", "4"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    found = watch(command, out / "log.jsonl", environment, further)
    header = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert (len(header["data"]["class_names"]), len(header["data"]["templates"])) == (1000, count)
    first, attacked = found["first batch"], found["attacked"]
    rows = [
        [what, f"{one['processor']:.0f} s", f"{one['processor'] / CORES:.0f} s", f"{one['clock']:.0f} s"]
        for what, one in (("first batch is attacked", first), ("APGD is through with it", attacked))
    ]
    sizes = [["until the first batch is attacked", f"{first['peak'] / 1e9:.2f} GB"],
             ["among the text attacks", f"{found['peak'] / 1e9:.2f} GB"]]  # fmt: skip
    return {
        "protocol": PROTOCOL,
        "command": f"python benchmarks/thousand_classes.py --threads {threads} --further {further:g} "
                   f"--templates {count}",
        "machine": {"cores": os.cpu_count(), "threads": threads, "python": platform.python_version(),
                    "torch": version("torch")},
        "target": TARGET,
        **found,
        "tables": [
            {"title": "Time from the start of the command", "rows": rows,
             "header": ["until", "processor time", "over two cores", "on the clock"]},
            {"title": "Most resident memory", "header": ["when", "memory"], "rows": sizes},
        ],
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--further", type=float, default=60.0, help="processor seconds of text attacks")
    parser.add_argument("--templates", type=int, default=80, help="the first ones, for a short run")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "thousand_classes.json")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options.threads, options.further, options.templates, Path(folder))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for table in result["tables"]:
        print(table["title"], *(" | ".join(row) for row in table["rows"]), sep="\n")
    return result


if __name__ == "__main__":
    main()
