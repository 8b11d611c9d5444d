"""Cells on the disk: a file of JSON for each model, with a bit for each sample and condition."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

#: Where cells are kept.
CELLS = Path(__file__).parents[1] / "results" / "fusions"


def cell_of(folder: Path, problem: str, contender: str, seed: int) -> Path:
    """The file of a cell."""
    return folder / problem / f"{contender.replace(', ', '+')}-{seed}.json"


def save(file: Path, cell: dict[str, np.ndarray]) -> None:
    """Write a cell; a kill leaves none or a whole one."""
    written = {
        name: {"bits": np.packbits(of).tobytes().hex(), "count": len(of)} if of.dtype == bool else of.tolist()
        for name, of in cell.items()
    }
    part = file.with_suffix(".part")
    part.write_text(json.dumps(written, separators=(",", ":")) + "\n", encoding="utf-8")
    part.replace(file)
    claim_of(file).unlink(missing_ok=True)


def load(file: Path) -> dict[str, np.ndarray]:
    """Read a cell."""
    found = {}
    for name, of in json.loads(file.read_text(encoding="utf-8")).items():
        if isinstance(of, dict):
            bits = np.frombuffer(bytes.fromhex(of["bits"]), dtype=np.uint8)
            found[name] = np.unpackbits(bits, count=of["count"]).astype(bool)
        else:
            found[name] = np.array(of, dtype=float)
    return found


def claimed(file: Path) -> bool:
    """Whether this process is the one to compute a cell: it is not there, and no other process is at it."""
    if file.exists():
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.close(os.open(claim_of(file), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def claim_of(file: Path) -> Path:
    """Says that a process computes a cell; remove what a kill has left to compute it again."""
    return file.with_suffix(".claimed")
