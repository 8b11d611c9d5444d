"""A benchmark, an audit and ten lines of plain PyTorch say the same of CIFAR-10, to the last sample."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import numpy as np
from audits import one_thread

sys.path.insert(0, str(Path(__file__).parents[2]))

from art_multimodal.evaluations.benchmark import Benchmark, parse_config
from benchmarks.plain_audit import ATTACK, SEED, TEMPLATE, Contenders, of_samples, read_cifar, small_clip, write_cifar

ROOT = Path(__file__).parents[2]
TOGETHER, EPS, STEPS = 32, 0.02, 3
#: Of the training: epochs, images of a batch, images, seed.
TRAINING = (24, 32, 80, 0)


def of_benchmark(model: str, data: Path, out: Path) -> tuple[Path, dict]:
    """The folder of the only cell of a benchmark, and what its table holds."""
    config = {
        "benchmark": 1,
        "models": [{"name": "small CLIP", "model": model}],
        "data": [{"name": "CIFAR-10", "data": f"data:cifar10:root={data}", "templates": [TEMPLATE]}],
        "attacks": {"image": [ATTACK]},
        "samples": {"seed": SEED},
        "budgets": {"eps": [EPS], "steps": STEPS},
        "batch_size": TOGETHER,
    }
    job = Benchmark(parse_config(json.dumps(config)), out, device="cpu")
    assert not job.run().failed
    return job.folder.cell(job.cells[0]), job.write()


def test_benchmark_audit_and_script_agree_on_every_sample(folder: Path, tmp_path: Path) -> None:
    # As its authors pickled it, and the model as a user names it.
    data = write_cifar(tmp_path / "data", folder, None)
    loader = tmp_path / "model.py"
    loader.write_text(
        textwrap.dedent(
            f"""
            import sys
            from pathlib import Path
            sys.path.insert(0, {str(ROOT)!r})
            from benchmarks.plain_audit import small_clip

            def load():
                return small_clip(Path({str(tmp_path)!r}), Path({str(folder)!r}), *{TRAINING})
            """
        )
    )
    with one_thread():
        model = small_clip(tmp_path, folder, *TRAINING)
        contenders = Contenders(model, data, EPS, STEPS, TOGETHER)
        audited = of_samples(contenders.audit())
        images, labels = read_cifar(data)
        starts = contenders.starts(images[contenders.order])
        scripted = tuple(part.numpy() for part in contenders.script(starts))
        cell, content = of_benchmark(f"python:{loader}:load", data, tmp_path / "out")
    benchmarked = of_samples(cell)
    truth = labels[contenders.order].numpy()
    for part in (0, 1):
        np.testing.assert_array_equal(audited[part], scripted[part])
        np.testing.assert_array_equal(benchmarked[part], scripted[part])
    clean, attacked = ((part == truth).mean() for part in scripted)
    numbers = {one["column"]: one["accuracy"] for one in content["numbers"] if one["data"]}
    assert numbers == {"clean": clean, "image": attacked, "worst": attacked}
    # There was something to agree about: the last group is no whole one, and some fell and some did not.
    assert len(truth) % TOGETHER and 0 < attacked < clean
