"""Train, certify and attack what is not measured yet."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.certificates import single
from benchmarks.certificates.bases import BASES, trained
from benchmarks.certificates.cells import measured
from benchmarks.certificates.problems import PROBLEMS
from benchmarks.certificates.store import CELLS, cell_of, claimed, save

SEEDS = 3


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    known = [*PROBLEMS, *single.CELLS]
    parser.add_argument("--problems", nargs="+", choices=known, default=known)
    parser.add_argument("--bases", nargs="+", choices=list(BASES), default=list(BASES))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--cells", type=Path, default=CELLS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for seed in range(options.seeds):
        for problem in options.problems:
            for base in options.bases if problem in PROBLEMS else [problem]:
                file = cell_of(options.cells, problem, base, seed)
                if claimed(file):
                    started = time.process_time()
                    found = single.CELLS[problem](seed) if problem in single.CELLS else _cell(problem, base, seed)
                    found["seconds/all"] = np.array(time.process_time() - started)
                    save(file, found)
                    print(f"{problem}, {base}, seed {seed}: {found['seconds/all']:.0f} s", flush=True)


def _cell(problem_name: str, base: str, seed: int) -> dict[str, np.ndarray]:
    problem = PROBLEMS[problem_name]()
    started = time.process_time()
    classifier = trained(base, problem, seed)
    learned = time.process_time() - started
    return measured(classifier, base, problem) | {"seconds/training": np.array(learned)}


if __name__ == "__main__":
    main()
