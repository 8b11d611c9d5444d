"""Where cells are kept: files as those of the comparison of fusions."""

from __future__ import annotations

from pathlib import Path

from benchmarks.fusions.store import cell_of as file_of
from benchmarks.fusions.store import claim_of, claimed, load, save

__all__ = ["CELLS", "cell_of", "claim_of", "claimed", "load", "save"]

CELLS = Path(__file__).parents[1] / "results" / "test_time"


def cell_of(folder: Path, model: str, defence: str, seed: int) -> Path:
    """The file of a cell."""
    return file_of(folder, model.replace(":", "-").replace("/", "-"), defence, seed)
