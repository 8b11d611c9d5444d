"""Options of the commands, files that they name, and the environment."""

from __future__ import annotations

import os
import random
from pathlib import Path

from fuzz.driver import Input
from fuzz.strings import hostile, number

_NUMBERS = {
    "audit": (
        *("--eps", "--eps-step", "--steps", "--max-queries", "--limit", "--batch-size", "--seed", "--max-words"),
        *("--max-edits", "--top-k", "--max-share", "--draws", "--fail-under"),
    ),
    "train": (
        *("--epochs", "--batch-size", "--learning-rate", "--eps", "--eps-step", "--steps", "--option"),
        *("--weight-decay", "--warmup-steps", "--max-grad-norm", "--validation", "--validate-every"),
        *("--validation-steps", "--limit", "--seed", "--checkpoint-every"),
    ),
}
_CHOICES = {
    "audit": ("--task", "--norm", "--device", "--templates", "--classes", "--protect", "--language-model"),
    "train": ("--norm", "--device", "--task", "--towers", "--positives", "--optimizer", "--schedule", "--precision"),
}
_DEFENCES = ("jpeg:quality=", "spatial_smoothing:window_size=", "feature_squeezing:bit_depth=")


def _called(rng: random.Random, folder: Path, further: list[str], command: str) -> Input:
    out = folder / "out"
    if command == "audit":
        model = rng.choice(["demo:digits", "demo:digits", "demo:digits/robust"])
        first = ["audit", model, "--data", "demo:digits", "--attacks", "pgd", "--steps", "1", "--limit", "2"]
        first += ["--batch-size", "2"]
    else:
        first = ["train", "tecoa", "demo:digits", "--data", "demo:digits", "--limit", "20", "--epochs", "1"]
        first += ["--steps", "1", "--eps", "1/255"]
    return Input([*first, *further, "--device", "cpu", "--out", str(out)], out=out)


def numbers(rng: random.Random, folder: Path) -> Input:
    """One or two options with what is no number, or a strange one."""
    command = "audit" if rng.random() < 0.85 else "train"
    further: list[str] = []
    for _ in range(rng.randint(1, 2)):
        option, value = rng.choice(_NUMBERS[command]), number(rng)
        if option == "--fail-under":
            value = rng.choice(["pgd.accuracy=", "image.", "clean.accuracy=", ""]) + value
        if option == "--option":
            value = rng.choice(["", "x=", "lambda_img="]) + value
        further += [option, value]
    if command == "audit" and rng.random() < 0.2:
        further += ["--defence", rng.choice(_DEFENCES) + number(rng)]
    return _called(rng, folder, further, command)


def choices(rng: random.Random, folder: Path) -> Input:
    """Choices that are none, options twice, without a value or unknown."""
    command = "audit" if rng.random() < 0.85 else "train"
    further = [rng.choice(_CHOICES[command]), hostile(rng)]
    what = rng.randrange(4)
    if what == 0:
        further += further
    elif what == 1:
        further += [rng.choice(["--nothing", "-x", "--", "-", "--out", "--resume=1", "---"])]
    elif what == 2:
        further = further[:1]
    return _called(rng, folder, further, command)


def files(rng: random.Random, folder: Path) -> Input:
    """Files that options name: devices, pipes, folders, links, and files of strange bytes."""
    path = folder / "words.txt"
    what = rng.randrange(7)
    if what == 0:
        path = Path(rng.choice(["/dev/zero", "/dev/null", "/dev/full", "/dev/urandom", "/proc/self/mem", "/dev/stdin"]))
    elif what == 1:
        os.mkfifo(path)
    elif what == 2:
        path.mkdir()
    elif what == 3:
        path.symlink_to(rng.choice(["/dev/zero", "nowhere", "words.txt"]))
    elif what == 4:
        path.write_bytes(rng.randbytes(rng.randrange(200)))
    elif what == 5:
        with path.open("wb") as stream:
            stream.truncate(1 << 40)
    else:
        lines = [hostile(rng) for _ in range(rng.randint(0, 12))]
        path.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
    option = rng.choice(["--templates", "--classes", "--protect", "--defence"])
    defence = rng.choice(["spelling:vocabulary", "tapt:statistics"])
    value = f"{defence}={path}" if option == "--defence" else str(path)
    return _called(rng, folder, [option, value], "audit")


def environment(rng: random.Random, folder: Path) -> Input:
    """What launchers leave behind, and places that cannot be written to."""
    given = _called(rng, folder, [], "audit")
    names = rng.sample(["WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_PORT", "MASTER_ADDR"], rng.randint(1, 3))
    values = {name: number(rng).replace("\0", "") for name in names}
    # Processes that are meant would be waited for.
    if values.get("WORLD_SIZE", "1").strip() not in ("", "0", "1"):
        values["WORLD_SIZE"] = rng.choice(["two", "-2", "1.5", "9" * 30, "0x2", "٣", " ", "\x1b[31m", "1e3"])
    out = folder / "out"
    what = rng.randrange(6)
    if what == 0:
        out.write_text("a file")
    elif what == 1:
        out.symlink_to("nowhere")
    elif what == 2:
        out = Path(rng.choice(["/proc/x", "/dev/full", "/dev/null/x", "/sys/x", "/proc/self/fd/9"]))
    elif what == 3:
        out = folder / ("x" * rng.choice([255, 256, 300, 5000]))
    elif what == 4:
        os.mkfifo(out)
    return Input([*given.arguments[:-1], str(out)], values, out=out)


CATEGORIES = {"numbers": numbers, "choices": choices, "files of options": files, "environment": environment}
