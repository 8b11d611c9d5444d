"""Where cells are kept: files as those of the comparison of fusions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.fusions.store import cell_of as file_of
from benchmarks.fusions.store import claim_of, claimed, load, save
from benchmarks.test_time.models import PROBLEMS, Problem, misfit

__all__ = ["CELLS", "cell_of", "claimed", "load", "missing", "save"]

CELLS = Path(__file__).parents[1] / "results" / "test_time"


def cell_of(folder: Path, model: str, defence: str, seed: int) -> Path:
    """The file of a cell."""
    return file_of(folder, model.replace(":", "-").replace("/", "-"), defence, seed)


def missing(
    folder: Path,
    models: Sequence[str],
    defences: Sequence[str],
    seed: int,
    measured: Callable[[Problem, str], dict[str, np.ndarray]],
) -> Iterator[tuple[str, str, dict[str, np.ndarray], float]]:
    """Measure and keep the cells of a seed that are not there, and that no other process is at.

    A defence that does not fit a model has no cell.

    :param measured: Makes a cell of a problem and the name of a defence.
    :return: Of each cell its model, its defence, itself, and seconds of CPU.
    """
    for model in models:
        problem = None
        for name in defences:
            file = cell_of(folder, model, name, seed)
            if misfit(model, name) or not claimed(file):
                continue
            try:
                problem = problem or PROBLEMS[model](seed)
                started = time.process_time()
                cell = measured(problem, name)
                save(file, cell)
            finally:
                claim_of(file).unlink(missing_ok=True)
            yield model, name, cell, time.process_time() - started
