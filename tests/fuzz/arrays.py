"""Hostile files of arrays, and radii by the name of a modality, for models over several modalities."""

from __future__ import annotations

import io
import random
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from fuzz.data import NASTY
from fuzz.driver import Input, Make

_QUICK = ["--steps", "1", "--limit", "2", "--batch-size", "2", "--max-queries", "10", "--device", "cpu"]
_ATTACKS = ("modality_missing", "modality_removed", "modality_swap", "pgd", "art_pgd", "square", "decoupling_guided")
_RADII = (
    "0.1",
    "1/255",
    "0",
    "-1",
    "nan",
    "inf",
    "1e-320",
    "1e400",
    "1/0",
    "",
    "1/",
    "0x1",
    "9" * 400,
    "\u0661",
    "0,5",
)
_TYPES = ("float16", "float64", "int8", "uint64", "bool", "complex64", "S3", "U3", "datetime64[s]", "object", "i4,f4")
_NUMBERS = (np.nan, np.inf, -np.inf, 1e300, -1e-300, 255.0, -1.0)


@cache
def _given(name: str) -> dict[str, np.ndarray]:
    """Arrays that a demo takes."""
    from art_multimodal.datasets import LabelledSamples, open_data

    data = open_data(f"demo:{name}")
    assert isinstance(data, LabelledSamples)
    x, arrays = data.samples(slice(4)), {}
    for modality in x.dtype.names or ():
        of_steps = x[modality].dtype.names is not None
        arrays[modality] = x[modality]["values"] if of_steps else x[modality]
        if of_steps:
            arrays[f"{modality}_length"] = x[modality]["length"]
    return {**arrays, "label": data.labels[:4]}


def _nasty(rng: random.Random) -> str:
    drawn = "".join(rng.choice(NASTY + "abc_") for _ in range(rng.randrange(9))).replace("\0", "")
    # A zip file holds no half letters.
    return drawn.encode("utf-8", errors="ignore").decode("utf-8")


def _changed(rng: random.Random, array: np.ndarray) -> Any:
    """The same array, with something about it that is wrong, or may be."""
    array = np.array(array)
    if not array.ndim or not len(array):
        return array
    change = rng.randrange(8)
    if change == 0:
        # Not every type can be had of every other.
        with np.errstate(all="ignore"), suppress(ValueError, TypeError):
            return array.astype(rng.choice(_TYPES))
    if change == 1 and array.size and array.dtype.kind == "f":
        array.reshape(-1)[rng.randrange(array.size)] = rng.choice(_NUMBERS)
    elif change == 2 and array.dtype.kind == "f":
        array[...] = rng.choice(_NUMBERS)
    elif change == 3:
        return array[: rng.randrange(len(array) + 1)]
    elif change == 4:
        return rng.choice([array[None], array[..., None], array.T, array.reshape(-1), array[0], array[..., :0]])
    elif change == 5 and array.dtype.kind in "iu":
        array[rng.randrange(len(array))] = rng.choice([-1, 7, 49, 10**6, 2**31 - 1, -(2**31)])
    elif change == 6:
        return np.array([_nasty(rng) for _ in array])
    elif change == 7:
        return np.broadcast_to(array, (rng.choice([0, 1, 3]), *array.shape))
    return array


def arrays(rng: random.Random, folder: Path) -> Input:
    """A file of arrays, changed in some places, or in its bytes; and radii."""
    name = rng.choice(["views/concat", "spoken/redundant", "spoken/complementary"])
    given: dict[str, Any] = dict(_given(name.removesuffix("/concat")))
    for _ in range(rng.choice([0, 0, 1, 1, 2, 3])):
        which = rng.choice(list(given) or [""])
        what = rng.randrange(6)
        if what == 0:
            given.pop(which, None)
        elif what == 1:
            given[_nasty(rng) or "x"] = given.get(which, np.zeros(3))
        elif which:
            given[which] = _changed(rng, given[which])
    buffer = io.BytesIO()
    rng.choice([np.savez, np.savez_compressed])(
        buffer, **{key.replace("/", "_") or "x": value for key, value in given.items()}
    )
    content = bytearray(buffer.getvalue())
    for _ in range(rng.choice([0, 0, 0, 0, 0, 0, 1, 5, 50])):
        content[rng.randrange(len(content))] = rng.randrange(256)
    if rng.random() < 0.1:
        del content[rng.randrange(len(content)) :]
    path, out = folder / "x.npz", folder / "out"
    path.write_bytes(bytes(content))
    radii = []
    if rng.random() < 0.4:
        names = ["pix", "fou", "digit", "speech", "label", "", _nasty(rng)]
        radii = ["--eps", ",".join(f"{rng.choice(names)}={rng.choice(_RADII)}" for _ in range(rng.randrange(1, 4)))]
    norm = ["--norm", rng.choice(["2", "inf", "1"])] if rng.random() < 0.2 else []
    arguments = ["audit", f"demo:{name}", "--data", f"npz:{path}", "--attacks", rng.choice(_ATTACKS), *_QUICK, *norm]
    return Input([*arguments, *radii, "--out", str(out)], out=out)


CATEGORIES: dict[str, Make] = {"arrays": arrays}
