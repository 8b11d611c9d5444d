"""Train and attack the experiment's models, and sum up what came of it.

    python -m benchmarks.robust_training [--seeds 0 1 2] [--recipes mmcoa tecoa] [--summary]

Every run is kept in ``build/robust_training/runs``: what is there already is not done again, and several of these
commands side by side share the work. The models come from ``python -m benchmarks.robust_training.pretrain``.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch

from art_multimodal.language.masked_language_model import load_masked_language_model
from benchmarks.robust_training.captions import CLOTHING_TEMPLATES, EMOJI_TEMPLATES, TEST_TEMPLATES
from benchmarks.robust_training.data import DATA, ROOT, cifar, clothing, emoji, part_of
from benchmarks.robust_training.evaluation import Words, evaluate_cells, evaluate_transfer
from benchmarks.robust_training.model import SmallCLIP
from benchmarks.robust_training.pretrain import FOLDER
from benchmarks.robust_training.recipes import BATCH_SIZE, EPOCHS, RECIPES, SETTINGS, train
from benchmarks.robust_training.summary import summarise

RUNS = ROOT / "build" / "robust_training" / "runs"
RESULTS = ROOT / "benchmarks" / "results" / "robust_training.json"
#: Training images beyond these were for choosing between recipes.
TRAINED_ON = 9000


def run_one(name: str, seed: int, folder: Path, pretrained: Path, options: argparse.Namespace) -> None:
    """Train and evaluate a recipe with a seed."""
    words = Words.halved(load_masked_language_model(str(pretrained / "language_model")))
    model = SmallCLIP.load(pretrained / "model.safetensors", words.language_model.tokenizer)
    recipe = RECIPES[name]
    images = part_of(cifar("train", options.data), range(min(TRAINED_ON, options.training_images)))
    started = time.process_time()
    losses = train(recipe, model, words, images, seed, recipe.epochs or options.epochs)
    trained = time.process_time()
    model.save(folder / "model.safetensors")
    test = cifar("test", options.data)
    test = part_of(test, np.arange(min(len(test), options.limit)))
    cells = evaluate_cells(model, words, test, TEST_TEMPLATES, 0, options.max_queries)
    of_transfer = {}
    for title, split, templates in (
        ("clothing", clothing("test", options.data), CLOTHING_TEMPLATES),
        ("emoji", emoji("test", options.data), EMOJI_TEMPLATES),
    ):
        split = part_of(split, np.arange(min(len(split), options.limit)))
        said = evaluate_transfer(model, split, templates, 2 / 255, 0)
        of_transfer |= {f"{title}_{kind}": labels for kind, labels in said.items()}
        of_transfer[f"{title}_labels"] = split.labels
    done = time.process_time()
    np.savez_compressed(folder / "cells.npz", **cells, **of_transfer)
    seconds = {"training": round(trained - started, 1), "evaluation": round(done - trained, 1)}
    record = {"recipe": name, "seed": seed, "cpu_seconds": seconds, "losses": losses}
    (folder / "run.json").write_text(json.dumps(record) + "\n")
    accuracy = {key: round(float(value.mean()), 3) for key, value in cells.items()}
    print(f"{name}, seed {seed}: {seconds}, {accuracy}", flush=True)


def claimed(folder: Path) -> bool:
    """Whether this process is the one to do a run: it is not done, and no other process is at it."""
    if (folder / "run.json").exists():
        return False
    folder.mkdir(parents=True, exist_ok=True)
    try:
        os.close(os.open(folder / "claimed", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--pretrained", type=Path, default=FOLDER)
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--training-images", type=int, default=TRAINED_ON)
    parser.add_argument("--limit", type=int, default=2000, help="test images of each set")
    parser.add_argument("--max-queries", type=int, default=40, help="of Square")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--summary", action="store_true", help="only sum up the runs that are there")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    for seed in () if options.summary else options.seeds:
        for name in options.recipes:
            # What is not trained is the same for every seed.
            if (RECIPES[name].method or seed == options.seeds[0]) and claimed(options.runs / f"{name}-{seed}"):
                folder = options.runs / f"{name}-{seed}"
                try:
                    run_one(name, seed, folder, options.pretrained, options)
                finally:
                    (folder / "claimed").unlink()
    protocol = {
        "training": {**SETTINGS, "epochs": options.epochs, "batch_size": BATCH_SIZE},
        "training_images": options.training_images,
        "max_queries": options.max_queries,
        "seeds": options.seeds,
    }
    summary = summarise(options.runs, options.recipes, options.seeds, protocol)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(summary, indent=1) + "\n")
    print(f"{options.out}")


if __name__ == "__main__":
    main()
