"""Options, models, data and runs of ``certify``, and of an audit of a smoothed model."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
from fuzz import data, plausible
from fuzz.checkpoints import hostile_checkpoints
from fuzz.driver import Input
from fuzz.models_and_data import made
from fuzz.strings import hostile, number

_QUICK = ["--limit", "2", "--batch-size", "9", "--device", "cpu"]
_NUMBERS = (
    *("--limit", "--batch-size", "--seed", "--samples", "--choosing", "--alpha", "--attack-steps", "--max-skipped"),
    *("--keep", "--budget", "--elements", "--fail-under"),
)
_MASKS = ("partition", "design", "all", "independent", "joint", "bernoulli")
#: Choices, with what may well be taken.
_CHOICES: dict[str, tuple[str, ...]] = {
    "--masks": _MASKS,
    "--edits": ("modify", "any"),
    "--layout": ("interleaved", "contiguous"),
    "--rule": ("majority", "paired", "published"),
    **dict.fromkeys(("--elements", "--budget", "--keep", "--protect", "--classes"), ()),
}
_MODELS = {"demo:digits": "image=4", "demo:views/late": "pix=4,fou=20", "demo:shapes/late": "image=8,text=2"}


def _number(rng: random.Random) -> str:
    """A strange number, or one that may well be taken: what stands behind the options is to be met, too."""
    return number(rng) if rng.random() < 0.4 else rng.choice(["0", "1", "1", "2", "3", "4", "7", "16", "0.5", "0.01"])


def _value(option: str, rng: random.Random, model: str, value: str) -> str:
    """What an option takes, with something odd in the place of a number."""
    own = [part.partition("=")[0] for part in _MODELS[model].split(",")]
    name = rng.choice([*own, *own, "lab", hostile(rng, 1)])
    if option in ("--keep", "--budget", "--certify-budget"):
        return rng.choice(["", "sticker:"]) + f"{name}={value}" + rng.choice(["", "", f",{own[-1]}={value}", ",", "=1"])
    if option == "--elements":
        return f"{name}=" + rng.choice(
            [f"blocks:{value}", f"steps:{value}", "points", "words", f"words:{value}", value]
        )
    if option == "--fail-under":
        return rng.choice([f"certified.{own[0]}=1=", "certified.", "certified.accuracy=", "constant.", ""]) + value
    return value


def _called(rng: random.Random, folder: Path, model: str, further: list[str]) -> Input:
    """A certification, or an audit of the smoothed model, with further options."""
    out, keep = folder / "out", _MODELS[model]
    start = [model, "--data", model.partition("/")[0]]
    if rng.random() < 0.3:
        further = [{"--budget": "--certify-budget"}.get(one, one) for one in further]
        attacks = "pgd" if model == "demo:digits" else "art_pgd" if model.startswith("demo:shapes") else "modality_swap"
        start = ["audit", *start, "--attacks", attacks, "--steps", "1", "--attack-steps", "1"]
    else:
        start = ["certify", *start]
    given = [] if "--keep" in further else ["--keep", keep]
    random_masks = {"--samples", "--choosing", "--alpha", "--rule"} & set(further)
    masks = [] if "--masks" in further else ["--masks", rng.choice(_MASKS[3:] if random_masks else _MASKS[:2])]
    votes = [] if "--samples" in further or masks[-1:] not in (["independent"], ["joint"]) else ["--samples", "20"]
    return Input([*start, *given, *masks, *votes, *_QUICK, *further, "--out", str(out)], out=out)


def numbers(rng: random.Random, folder: Path) -> Input:
    """One or two options with what is no number, or a strange one."""
    model, further = rng.choice(list(_MODELS)), []
    for option in rng.sample(_NUMBERS, rng.randint(1, 2)):
        further += [option, _value(option, rng, model, _number(rng))]
    return _called(rng, folder, model, further)


def choices(rng: random.Random, folder: Path) -> Input:
    """Choices that are none, options twice, or without a value."""
    model, option = rng.choice(list(_MODELS)), rng.choice(list(_CHOICES))
    known = rng.choice(_CHOICES[option]) if _CHOICES[option] and rng.random() < 0.6 else hostile(rng)
    further = [option, rng.choice([known, _value(option, rng, model, rng.choice([_number(rng), hostile(rng, 1)]))])]
    what = rng.randrange(8)
    if what == 0:
        further += further
    elif what == 1:
        further = further[:1]
    return _called(rng, folder, model, further)


def checkpoints(rng: random.Random, folder: Path) -> Input:
    """A saved model, changed in some places."""
    (one,) = hostile_checkpoints(made(), folder, rng.randrange(2**32), 1)
    out = folder / "out"
    spec = one.spec.removeprefix("mlm:") if one.spec.startswith("mlm:") else one.spec
    of_pairs = one.spec.startswith("mmbt:")
    further = [] if of_pairs else ["--classes", "cat,dog,red,car", "--templates", "a {}"]
    arguments = ["certify", spec, "--data", "demo:shapes" if of_pairs else "demo:digits", "--keep", "image=4"]
    elements = ["--elements", f"image=blocks:{rng.choice([8, 16, 56])}"] if rng.random() < 0.3 else []
    return Input([*arguments, *elements, *_QUICK, *further, "--out", str(out)], {"HF_HUB_OFFLINE": "1"}, out=out)


def of_data(rng: random.Random, folder: Path) -> Input:
    """Folders and tables of images, of which some cannot be read, and sizes differ."""
    draw = np.random.default_rng(rng.randrange(2**32))
    root, out = folder / "data", folder / "out"
    root.mkdir()
    names = plausible.folders(draw, root) if rng.random() < 0.7 else data.write_photos(draw, root)
    spec = f"folder:{root}"
    if rng.random() < 0.4:
        (root / "table.csv").write_bytes((plausible.table if rng.random() < 0.7 else data.csv_bytes)(draw, names))
        spec = f"csv:{root / 'table.csv'}"
    native = ["--native-size"] if rng.random() < 0.3 else []
    skipped = ["--max-skipped", rng.choice(["0.5", "1"])] if rng.random() < 0.5 else []
    elements = ["--elements", f"image=blocks:{rng.choice([1, 2, 8, 64])}"] if rng.random() < 0.7 else []
    keep = ["--keep", f"image={rng.choice([1, 1, 2, 4])}", "--masks", rng.choice(_MASKS[:2])]
    arguments = ["certify", "demo:digits", "--data", spec, *keep, *elements, *native, *skipped, *_QUICK]
    return Input([*arguments, "--out", str(out)], out=out)


CATEGORIES = {
    "certify numbers": numbers,
    "certify choices": choices,
    "certify checkpoints": checkpoints,
    "certify data": of_data,
}
