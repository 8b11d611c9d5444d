"""Names of models, data, classes, files and folders."""

from __future__ import annotations

import csv
import random
from pathlib import Path

from fuzz.driver import Input
from fuzz.strings import file_name, hostile
from PIL import Image

_QUICK = ["--attacks", "pgd", "--steps", "1", "--limit", "2", "--batch-size", "2", "--device", "cpu"]


def _picture(path: Path, rng: random.Random) -> None:
    Image.new("L", (8, 8), rng.randrange(256)).save(path, "PNG")


def names_of_files(rng: random.Random, folder: Path) -> Input:
    """Class folders and images with hostile names, some of them damaged."""
    root = folder / "photos"
    for _ in range(rng.randint(2, 3)):
        of_class = root / file_name(rng)
        of_class.mkdir(parents=True, exist_ok=True)
        for _ in range(rng.randint(1, 2)):
            path = of_class / (file_name(rng)[:60] + ".png")
            _picture(path, rng)
            if rng.random() < 0.3:
                path.write_bytes(path.read_bytes()[: rng.randint(0, 40)])
    out = folder / (file_name(rng) if rng.random() < 0.3 else "out")
    arguments = ["audit", "demo:digits", "--data", f"folder:{root}", *_QUICK, "--out", str(out)]
    return Input(arguments + (["--strict"] if rng.random() < 0.2 else []), out=out)


def names_in_tables(rng: random.Random, folder: Path) -> Input:
    """A CSV with hostile labels, texts and paths."""
    rows = []
    for number in range(rng.randint(2, 3)):
        name = file_name(rng)[:60] + f"{number}.png"
        _picture(folder / name, rng)
        rows.append([hostile(rng) if rng.random() < 0.2 else name, hostile(rng)])
    retrieval = rng.random() < 0.4
    table = folder / "table.csv"
    with table.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        csv.writer(stream).writerows([["image", "text" if retrieval else "label"], *rows])
    out = folder / "out"
    arguments = ["audit", "demo:digits", "--data", f"csv:{table}", *_QUICK, "--out", str(out)]
    return Input(arguments + (["--task", "retrieval"] if retrieval else []), out=out)


def names_given(rng: random.Random, folder: Path) -> Input:
    """Hostile names on the command line, where models, data, classes, defences and folders are named."""
    model, data, out = "demo:digits", "demo:digits", str(folder / "out")
    further: list[str] = []
    strange = hostile(rng)
    if rng.random() < 0.1:
        strange += rng.choice(["\0", "x" * 300, "\udce9", "\ud800", "/" * 300])
    what = rng.randrange(9)
    if what == 0:
        scheme = rng.choice(["demo:", "hf:", "open_clip:", "open_clip:ViT-B-32/", "checkpoint:", "mmbt:", "", "hf:/x/"])
        model = scheme + strange
    elif what == 1:
        data = rng.choice(["demo:", "folder:", "csv:", "", "folder:/x/", "csv:/dev/"]) + strange
    elif what == 2:
        further = ["--classes", ",".join(hostile(rng) for _ in range(rng.choice([1, 9, 10, 10, 11])))]
    elif what == 3:
        further = ["--templates", rng.choice(["{} ", "", "a {} {} "]) + strange]
    elif what == 4:
        further = [
            "--defence",
            rng.choice(["", "jpeg:quality=", "spelling:vocabulary=", "tapt:statistics=", "unicode:"]) + strange,
        ]
    elif what == 5:
        out = str(folder / strange)
    elif what == 6:
        further = ["--attacks", strange]
    elif what == 7:
        further = [rng.choice(["--fail-under", "--protect", "--language-model"]), strange]
        if further[0] != "--fail-under":
            # Few words, for each is tried with all of its edits.
            further += ["--attacks", "character_attack", "--defence", "unicode", "--templates", "a big {}"]
    else:
        return Input([rng.choice(["list", "audit", "train", ""]), strange])
    if rng.random() < 0.1:
        method = strange if rng.random() < 0.3 else "tecoa"
        arguments = ["train", method, model, "--data", data, "--out", out, "--limit", "4", "--steps", "1"]
        return Input([*arguments, "--epochs", "1", *[x for x in further if not x.startswith("--def")][:0]])
    return Input(["audit", model, "--data", data, *_QUICK, *further, "--out", out], out=Path(out.replace("\0", "")))


CATEGORIES = {"names of files": names_of_files, "names in tables": names_in_tables, "names given": names_given}
