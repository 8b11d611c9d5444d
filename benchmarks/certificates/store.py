"""Where cells are kept: files as those of the comparison of fusions."""

from __future__ import annotations

from pathlib import Path

from benchmarks.fusions.store import cell_of, claimed, load, save

__all__ = ["CELLS", "cell_of", "claimed", "load", "save"]

CELLS = Path(__file__).parents[1] / "results" / "certificates"
