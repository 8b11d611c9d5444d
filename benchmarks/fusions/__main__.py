"""Train and measure what is not measured yet."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.fusions.cells import measured
from benchmarks.fusions.contenders import CONTENDERS, trained
from benchmarks.fusions.problems import PROBLEMS

#: Where cells are kept.
CELLS = Path("build") / "fusions"
SEEDS = 3


def cell_of(folder: Path, problem: str, contender: str, seed: int) -> Path:
    """The file of a cell."""
    return folder / problem / f"{contender.replace(', ', '+')}-{seed}.npz"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--contenders", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--cells", type=Path, default=CELLS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for problem_name in options.problems:
        problem = PROBLEMS[problem_name]()
        for seed in range(options.seeds):
            for name in options.contenders:
                file = cell_of(options.cells, problem_name, name, seed)
                if not _claimed(file):
                    continue
                started = time.process_time()
                classifier = trained(CONTENDERS[name], problem, seed)
                learned = time.process_time() - started
                found = measured(classifier, problem, seed)
                found |= {"seconds/training": np.array(learned), "seconds/all": np.array(time.process_time() - started)}
                part = file.with_suffix(".part.npz")
                np.savez_compressed(part, **found)
                part.replace(file)
                print(
                    f"{problem_name}, {name}, seed {seed}: clean {found['clean'].mean():.3f}, "
                    f"{found['seconds/training']:.0f} + {found['seconds/all'] - learned:.0f} s",
                    flush=True,
                )


def _claimed(file: Path) -> bool:
    """Whether this process is the one to compute a cell: it is not there, and no other process is at it."""
    if file.exists():
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.close(os.open(file.with_suffix(".claimed"), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


if __name__ == "__main__":
    main()
