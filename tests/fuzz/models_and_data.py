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

_QUICK = ["--steps", "1", "--limit", "2", "--batch-size", "2", "--max-queries", "10", "--device", "cpu"]
#: Most inputs meet the quickest attack; the others see more of what was read.
_ATTACKS = ("pgd", "pgd", "pgd", "pgd", "square", "decoupling_guided", "character_attack")
_KNOWN = ("cat", "dog", "red", "car", "hill", "boat", "small", "on", "the", "of")


@cache
def made() -> dict[str, Path]:
    """Saved models of all families; made once in a process."""
    base = Path(tempfile.mkdtemp(prefix="fuzz-models-"))
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    return make_checkpoints(base)


def checkpoints(rng: random.Random, folder: Path) -> Input:
    """A saved model, changed in some places, as MODEL or as the language model of an attack."""
    (one,) = hostile_checkpoints(made(), folder, rng.randrange(2**32), 1)
    out, attacks = folder / "out", rng.choice(_ATTACKS)
    # Names of classes that the small vocabularies tell apart.
    model, data, further = one.spec, "demo:digits", ["--classes", ",".join(_KNOWN), "--templates", "a {}"]
    if one.spec.startswith("mlm:"):
        model, attacks, further = "demo:digits", "bert_attack", ["--language-model", one.spec.removeprefix("mlm:")]
    if one.spec.startswith("mmbt:"):
        data, attacks, further = "demo:shapes", "art_pgd", []
    arguments = ["audit", model, "--data", data, "--attacks", attacks, *_QUICK, *further, "--out", str(out)]
    return Input(arguments, {"HF_HUB_OFFLINE": "1"}, out=out)


def _of_data(kind: str) -> Make:
    def make(rng: random.Random, folder: Path) -> Input:
        from fuzz import data, plausible

        draw = np.random.default_rng(rng.randrange(2**32))
        root, out = folder / "data", folder / "out"
        root.mkdir()
        # Half of them are read and audited to the end: what is behind the reader is to be met, too.
        taken = rng.random() < 0.5
        spec = f"folder:{root}"
        if kind == "images":
            for label in ("a", "b"):
                content, ending = plausible.image(draw)
                if rng.random() < 0.7:
                    content, ending = data.image_bytes(draw), rng.choice(["png", "jpg", "webp", "tif", "gif"])
                (root / label).mkdir()
                (root / label / f"one.{ending}").write_bytes(content)
        else:
            names = plausible.folders(draw, root) if taken else data.write_photos(draw, root)
        if kind == "tables":
            (root / "table.csv").write_bytes((plausible.table if taken else data.csv_bytes)(draw, names))
            spec = f"csv:{root / 'table.csv'}"
        task = ["--task", "retrieval"] if kind == "tables" and rng.random() < 0.3 else []
        skipped = ["--max-skipped", rng.choice(["0.5", "1"])] if rng.random() < 0.5 else []
        native = ["--native-size"] if rng.random() < 0.2 else []
        attacks = "pgd" if task else rng.choice(_ATTACKS)
        # Texts of few words: an attack on texts tries all edits of each.
        further = ["--templates", "{}"] if attacks == "character_attack" else []
        arguments = ["audit", "demo:digits", "--data", spec, "--attacks", attacks, *_QUICK, *task, *native, *skipped]
        return Input([*arguments, *further, "--out", str(out)], out=out)

    return make


CATEGORIES: dict[str, Make] = {"checkpoints": checkpoints}
if importlib.util.find_spec("fuzz.data") is not None:
    CATEGORIES |= {kind: _of_data(kind) for kind in ("images", "tables", "folders")}
