"""Train and measure what is not measured yet."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.fusions.cells import measured
from benchmarks.fusions.contenders import CONTENDERS, trained
from benchmarks.fusions.problems import PROBLEMS
from benchmarks.fusions.store import CELLS, cell_of, claimed, save

SEEDS = 3


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
                if not claimed(file):
                    continue
                started = time.process_time()
                classifier = trained(CONTENDERS[name], problem, seed)
                learned = time.process_time() - started
                found = measured(classifier, problem, seed)
                found |= {"seconds/training": np.array(learned), "seconds/all": np.array(time.process_time() - started)}
                save(file, found)
                print(
                    f"{problem_name}, {name}, seed {seed}: clean {found['clean'].mean():.3f}, "
                    f"{found['seconds/training']:.0f} + {found['seconds/all'] - learned:.0f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
