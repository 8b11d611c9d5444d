"""Hostile checkpoints, images, tables and folders of images, on the command line."""

from __future__ import annotations

import atexit
import importlib.util
import random
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from fuzz.checkpoints import hostile_checkpoints, make_checkpoints
from fuzz.driver import Input, Make

_QUICK = ["--steps", "1", "--limit", "2", "--batch-size", "2", "--device", "cpu"]


@cache
def _made() -> dict[str, Path]:
    base = Path(tempfile.mkdtemp(prefix="fuzz-models-"))
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    return make_checkpoints(base)


def checkpoints(rng: random.Random, folder: Path) -> Input:
    """A saved model, changed in some places, as MODEL or as the language model of an attack."""
    (one,) = hostile_checkpoints(_made(), folder, rng.randrange(2**32), 1)
    out, attacks = folder / "out", "pgd"
    model, data, further = one.spec, "demo:digits", []
    if one.spec.startswith("mlm:"):
        model, attacks, further = "demo:digits", "bert_attack", ["--language-model", one.spec.removeprefix("mlm:")]
    if one.spec.startswith("mmbt:"):
        data, attacks = "demo:shapes", "art_pgd"
    arguments = ["audit", model, "--data", data, "--attacks", attacks, *_QUICK, *further, "--out", str(out)]
    return Input(arguments, {"HF_HUB_OFFLINE": "1"}, out=out)


def _of_data(kind: str) -> Make:
    def make(rng: random.Random, folder: Path) -> Input:
        from fuzz import data

        draw = np.random.default_rng(rng.randrange(2**32))
        root, out = folder / "data", folder / "out"
        root.mkdir()
        names = data.write_photos(draw, root)
        spec = f"folder:{root}"
        if kind == "images":
            for label in ("a", "b"):
                (root / label).mkdir(exist_ok=True)
                (root / label / f"hostile.{rng.choice(['png', 'jpg', 'webp', 'tif', 'gif'])}").write_bytes(
                    data.image_bytes(draw)
                )
        elif kind == "tables":
            (root / "table.csv").write_bytes(data.csv_bytes(draw, names))
            spec = f"csv:{root / 'table.csv'}"
        task = ["--task", "retrieval"] if kind == "tables" and rng.random() < 0.3 else []
        native = ["--native-size"] if rng.random() < 0.2 else []
        arguments = ["audit", "demo:digits", "--data", spec, "--attacks", "pgd", *_QUICK, *task, *native]
        return Input([*arguments, "--out", str(out)], out=out)

    return make


CATEGORIES: dict[str, Make] = {"checkpoints": checkpoints}
if importlib.util.find_spec("fuzz.data") is not None:
    CATEGORIES |= {kind: _of_data(kind) for kind in ("images", "tables", "folders")}
