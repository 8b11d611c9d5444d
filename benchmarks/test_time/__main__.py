"""Measure what is not measured yet."""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import torch

from benchmarks.test_time.cells import measured, together
from benchmarks.test_time.defences import DEFENCES
from benchmarks.test_time.models import PROBLEMS, SEEDS, misfit
from benchmarks.test_time.store import CELLS, missing


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--defences", nargs="+", choices=list(DEFENCES), default=list(DEFENCES))
    parser.add_argument("--seeds", nargs="+", type=int, choices=range(SEEDS), default=list(range(SEEDS)))
    parser.add_argument("--cells", type=Path, default=CELLS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for model, name in product(options.models, options.defences):
        if reason := misfit(model, name):
            print(f"{model}, {name}: does not fit. {reason}", flush=True)
    for seed in options.seeds:
        for model, name, cell, seconds in missing(options.cells, options.models, options.defences, seed, measured):
            said = {key: round(float(of.mean()), 3) for key, of in together(cell).items() if of.dtype == bool}
            print(f"{model}, {name}, seed {seed}: {said}, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
