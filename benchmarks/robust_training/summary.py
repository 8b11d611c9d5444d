"""The experiment's results: each column with intervals, what differs, and which claims hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.robust_training.captions import TEST_TEMPLATES
from benchmarks.robust_training.recipes import RECIPES
from benchmarks.robust_training.statistics import Share, balanced_share, share_of
from benchmarks.robust_training.tables import COLUMNS, FURTHER, OURS, TRANSFER, tables

PROTOCOL = (
    "A small CLIP, pretrained on captioned CIFAR-10, clothing and emoji, fine-tuned on {training_images} images of "
    "CIFAR-10 with 8 prompts per class (batch {training[batch_size]}, {training[epochs]} epochs, LEAF 1; images "
    "attacked within 2/255), measured on {test_images} test images and {templates} other prompts. Accuracy in % over "
    "all cells: texts in every cell of image and prompt; images in one cell each, against the prompts that are then "
    "evaluated, by APGD-CE, APGD-DLR and Square ({max_queries} queries), 10 steps, each on what the others have left. "
    "Text: one word replaced, class names and their synonyms protected unless said otherwise; KL as published, or the "
    "exact worst words for each image (margin), or the worst of those that no training proposed (unseen). Joint: "
    "pixels within 2/255 and one word of every prompt, by descent on the margin under the exact worst words, too. "
    "95 % intervals: those of a mean over images, widened by Student's t over prompts and training seeds ({seeds}); "
    "paired between methods."
)
IMAGE_ONLY = ("tecoa-image", "tecoa", "fare", "pmg-aft")
TEXT = ("text_kl", "text_margin", "text_margin_unseen")


def summarise(runs: Path, recipes: Sequence[str], seeds: Sequence[int], protocol: dict[str, Any]) -> dict[str, Any]:
    """Sum up the runs that are there, each recipe over the seeds that it has."""
    found = {name: _cells(runs, name, seeds) for name in recipes}
    found = {name: cells for name, cells in found.items() if cells}
    shares: dict[str, dict[str, Share]] = {}
    methods: dict[str, Any] = {}
    for name, cells in found.items():
        count = len(cells)
        shares[name] = {
            column: share_of(np.stack([run[column] for run in cells]), len(TEST_TEMPLATES))
            for column in (*COLUMNS, *FURTHER)
        }
        for column in TRANSFER:
            labels = cells[0][f"{column.split('_')[0]}_labels"]
            shares[name][column] = balanced_share(np.stack([run[column] for run in cells]), labels)
        methods[name] = {
            "title": RECIPES[name].title,
            "seeds": count,
            "columns": {column: share.estimate() for column, share in shares[name].items()},
            "of_each_seed": {
                column: [round(float(np.mean(run[column])), 4) for run in cells] for column in (*COLUMNS, *FURTHER)
            },
            "black_box_adds": {eps: _black_box_adds(cells, eps) for eps in ("1", "2", "4")},
            "prediction_counts": {column: _counts(cells[0], column) for column in TRANSFER},
            "cpu_seconds": {
                kind: round(float(np.median([run["cpu_seconds"][kind] for run in _records(runs, name, seeds)])), 1)
                for kind in ("training", "evaluation")
            },
        }
    if not found:
        raise SystemExit(f"There are no finished runs in {runs}.")
    images, templates = next(iter(found.values()))[0]["clean"].shape
    numbers = {**protocol, "test_images": images, "templates": templates}
    differences = claims(shares)
    return {
        "protocol": PROTOCOL.format(**numbers),
        "tables": tables(methods, differences),
        "command": "python -m benchmarks.robust_training",
        "settings": numbers,
        "columns": {**COLUMNS, **FURTHER, **TRANSFER},
        "methods": methods,
        "claims": differences,
    }


def claims(shares: dict[str, dict[str, Share]]) -> dict[str, Any]:
    """What was to be shown: MMCoA against image-only methods on texts, ours against MMCoA and against the best."""
    found: dict[str, Any] = {}
    if "mmcoa" in shares:
        found["mmcoa_less_image_only_on_texts"] = {
            other: {column: _difference(shares, "mmcoa", other, column) for column in TEXT}
            for other in IMAGE_ONLY
            if other in shares
        }
        found["mmcoa_less_others"] = {
            other: {column: _difference(shares, "mmcoa", other, column) for column in shares["mmcoa"]}
            for other in ("tecoa", "mmcoa-index", "mmcoa-leak")
            if other in shares
        }
    if OURS in shares:
        # An ablation of ours, or a leak, is no other method.
        rivals = [name for name in shares if not name.startswith(OURS) and name != "mmcoa-leak"]
        found["ours_less_best"] = {
            column: {"best": best, **_difference(shares, OURS, best, column)}
            for column in shares[OURS]
            for best in sorted(rivals, key=lambda name: -shares[name][column].value)[:1]
        }
        found["ours_less_others"] = {
            other: {column: _difference(shares, OURS, other, column) for column in shares[OURS]}
            for other in shares
            if other != OURS
        }
    return found


def _difference(shares: dict[str, dict[str, Share]], one: str, other: str, column: str) -> dict[str, Any]:
    return (shares[one][column] - shares[other][column]).estimate()


def _black_box_adds(cells: list[dict[str, np.ndarray]], eps: str) -> float:
    """The share of images that only Square misleads: next to nothing, unless gradients are masked."""
    return round(float(np.mean([(run[f"white_box_{eps}"] & ~run[f"image_{eps}"]).mean() for run in cells])), 4)


def _counts(cells: dict[str, np.ndarray], column: str) -> list[int]:
    """How often each class is said, with the first seed."""
    classes = int(cells[f"{column.split('_')[0]}_labels"].max()) + 1
    return np.bincount(cells[column], minlength=classes).tolist()


def _cells(runs: Path, name: str, seeds: Sequence[int]) -> list[dict[str, np.ndarray]]:
    found = []
    for seed in seeds:
        if (runs / f"{name}-{seed}" / "run.json").exists():
            with np.load(runs / f"{name}-{seed}" / "cells.npz") as file:
                found.append({key: file[key] for key in file.files})
    return found


def _records(runs: Path, name: str, seeds: Sequence[int]) -> list[dict[str, Any]]:
    files = [runs / f"{name}-{seed}" / "run.json" for seed in seeds]
    return [json.loads(file.read_text()) for file in files if file.exists()]
