"""Folders of runs that somebody else has made, or changed, and that ``--resume`` goes on with."""

from __future__ import annotations

import atexit
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from fuzz.driver import Input, call
from fuzz.strings import hostile
from PIL import Image

from art_multimodal.store import sealed_document, sealed_line

_AUDIT = ["audit", "demo:digits", "--data", "demo:digits", "--attacks", "pgd,decoupling_guided", "--eps", "1"]
_AUDIT += [
    "--steps",
    "1",
    "--max-queries",
    "10",
    "--limit",
    "4",
    "--batch-size",
    "2",
    "--group-size",
    "2",
    "--device",
    "cpu",
]
_RETRIEVAL = ["audit", "demo:scenes", "--data", "demo:scenes", "--task", "retrieval", "--attacks", "pgd", "--eps", "1"]
_RETRIEVAL += ["--steps", "1", "--limit", "4", "--batch-size", "2", "--group-size", "2", "--device", "cpu"]
_TRAIN = ["train", "tecoa", "demo:digits", "--data", "demo:digits", "--limit", "20", "--epochs", "1", "--steps", "1"]
_TRAIN += ["--batch-size", "9", "--eps", "1/255", "--device", "cpu"]
_KEEP = ["--keep", "image=4", "--attack-steps", "1"]
_CERTIFY = ["certify", "demo:digits", "--data", "demo:digits", *_KEEP, "--limit", "4", "--device", "cpu"]
_SMOOTHED = [*_AUDIT, *_KEEP]
_COMMANDS = {
    "audit": _AUDIT,
    "retrieval": _RETRIEVAL,
    "train": _TRAIN,
    "certify": _CERTIFY,
    "smoothed": _SMOOTHED,
}

_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 10, 2**31, 2**63, -(2**63), 10**30, 0.5, 1e308, -1e-308, "", "x", [], {}),
    *([[]], [None], {"a": 1}, [0, 0, 0, 0], [[0, 0, 10**9, 10**9]], "\x1b[31m", "../../x", "\ud800", "a" * 5000),
)


@cache
def _finished(kind: str) -> Path:
    """A finished run; made once in a process."""
    base = Path(tempfile.mkdtemp(prefix="fuzz-run-"))
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    code, _, err = call(Input([*_COMMANDS[kind], "--out", str(base / "out")]))
    assert code == 0, err
    return base / "out"


def _change(value: Any, rng: random.Random) -> Any:
    """The same with one value, somewhere in it, changed, removed or added."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.15:
            return {name: entry for name, entry in value.items() if name != key}
        return {**value, key: _change(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        place = rng.randrange(len(value))
        if rng.random() < 0.15:
            return value[:place] + value[place + 1 :] + rng.choice([[], [value[place]] * 2])
        return [*value[:place], _change(value[place], rng), *value[place + 1 :]]
    return rng.choice(_VALUES) if rng.random() < 0.8 else hostile(rng)


def _sealed_again(path: Path, rng: random.Random) -> None:
    """Change a value, and the checksum with it, as somebody would who means it."""
    if path.suffix == ".jsonl":
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        if not lines or not all(isinstance(line, dict) for line in lines):
            raise ValueError("changed before: there are no lines to seal")
        place = rng.randrange(len(lines))
        lines[place].pop("checksum", None)
        changed = _change(lines[place], rng)
        new = sealed_line(changed) if isinstance(changed, dict) and changed else b"[]\n"
        kept = [sealed_line({k: v for k, v in line.items() if k != "checksum"}) for line in lines]
        kept[place] = rng.choice([new, new, new, b"", new + new, kept[-1] + new])
        if rng.random() < 0.1:
            rng.shuffle(kept)
        path.write_bytes(b"".join(kept))
    else:
        value = json.loads(path.read_text())
        sealed = isinstance(value, dict) and value.pop("checksum", None) is not None
        changed = _change(value, rng)
        path.write_text(sealed_document(changed) if sealed and isinstance(changed, dict) else json.dumps(changed))


def _bytes_changed(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    what = rng.randrange(4)
    if what == 0 and content:
        for _ in range(rng.randint(1, 3)):
            content[rng.randrange(len(content))] = rng.randrange(256)
    elif what == 1:
        del content[rng.randrange(len(content) + 1) :]
    elif what == 2:
        place = rng.randrange(len(content) + 1)
        content[place:place] = rng.choice([rng.randbytes(20), b"\n", b"{}\n", b"\0" * 100, b"[" * 100_000, b"1e999"])
    else:
        content = bytearray(rng.randbytes(rng.randrange(100)))
    path.write_bytes(content)


def _edited_by_hand(path: Path, rng: random.Random) -> None:
    """A value changed without the checksum."""
    if path.suffix not in (".json", ".jsonl"):
        return _bytes_changed(path, rng)
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    place = rng.randrange(len(lines))
    lines[place] = json.dumps(_change(json.loads(lines[place]), rng))
    return path.write_text("\n".join(lines) + "\n") and None


def _gone(path: Path, rng: random.Random) -> None:
    path.unlink()
    what = rng.randrange(3)
    if what == 1:
        path.mkdir()
    elif what == 2:
        os.mkfifo(path)


_CHANGES: tuple[Callable[[Path, random.Random], None], ...] = (_sealed_again, _bytes_changed, _edited_by_hand, _gone)


def _outside(folder: Path) -> tuple[Path, Path, bytes]:
    """A folder that is nobody's business, and a picture in it."""
    outside = folder / "outside"
    outside.mkdir()
    Image.new("RGB", (5, 7), (12, 34, 56)).save(outside / "secret.png")
    (outside / "secret.txt").write_text("this is a secret of somebody else")
    return outside, outside / "secret.png", (outside / "secret.png").read_bytes()


def _changed(kind: str) -> Callable[[random.Random, Path], Input]:
    def make(rng: random.Random, folder: Path) -> Input:
        out = folder / "out"
        shutil.copytree(_finished(kind), out)
        paths = sorted(path for path in out.rglob("*") if path.is_file() and path.name != ".lock")
        for _ in range(rng.choice([1, 1, 1, 2])):
            first = [path for path in paths if path.suffix in (".json", ".jsonl")]
            path = rng.choice(first if rng.random() < 0.7 else paths)
            if not path.is_file():
                continue
            change = rng.choice(_CHANGES)
            if change is _sealed_again and (path.suffix not in (".json", ".jsonl") or not path.stat().st_size):
                change = _bytes_changed
            try:
                change(path, rng)
            except ValueError:  # changed before, or what JSON cannot write
                _bytes_changed(path, rng)
        return Input([*_COMMANDS[kind], "--out", str(out), "--resume"], out=out)

    return make


def links(rng: random.Random, folder: Path) -> Input:
    """Links in the place of files and folders of a run, and of temporary files."""
    kind = rng.choice(["audit", "audit", "train"])
    out = folder / "out"
    outside, picture, content = _outside(folder)
    shutil.copytree(_finished(kind), out)
    names = [path for path in sorted(out.rglob("*")) if path.name != ".lock"]
    temporary = [path.with_name(f".{path.name}.part") for path in names]
    temporary += [path.with_name(f"{path.name}.tmp") for path in names] + [out / ".lock", out / "log.0.jsonl"]
    path = rng.choice(names if rng.random() < 0.6 else temporary)
    if path.is_dir():
        shutil.rmtree(path)
        path.symlink_to(outside)
    else:
        path.unlink(missing_ok=True)
        target = picture if path.suffix == ".png" else rng.choice([picture, outside / "secret.txt", outside / "new"])
        path.symlink_to(target)
    if rng.random() < 0.3 and not (out / "log.jsonl").is_symlink() and kind == "audit":
        lines = (out / "log.jsonl").read_bytes().splitlines(keepends=True)
        (out / "log.jsonl").write_bytes(b"".join(lines[: rng.randrange(len(lines))]))
    import base64

    secrets = (base64.b64encode(content), b"this is a secret")
    resume = ["--resume"] if rng.random() < 0.9 else []
    return Input([*_COMMANDS[kind], "--out", str(out), *resume], untouched=(outside,), forbidden=secrets, out=out)


CATEGORIES = {
    "runs of audits": _changed("audit"),
    "runs of retrieval": _changed("retrieval"),
    "runs of training": _changed("train"),
    "runs of certifications": _changed("certify"),
    "runs of smoothed audits": _changed("smoothed"),
    "links in runs": links,
}
