"""Small runs of training, and what they leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from audits import timeless
from safetensors.torch import load_file

from art_multimodal.defences.trainer import TrainingSettings
from art_multimodal.defences.training_run import Listener, RunSettings, TrainingRun

TRAINING = TrainingSettings(learning_rate=1e-3, eps=8 / 255, eps_step=8 / 255, max_iter=1)
#: Four steps in each of two epochs.
SMALL = {
    "method": "tecoa",
    "model": "demo:digits",
    "data": "demo:digits",
    "training": TRAINING,
    "epochs": 2,
    "batch_size": 9,
    "limit": 40,
}


def small(**changes: Any) -> RunSettings:
    return RunSettings(**{**SMALL, **changes})


def start(out: Path, resume: bool = False, listener: Listener | None = None, **changes: Any) -> TrainingRun:
    return TrainingRun(small(**changes), out, device="cpu", resume=resume, listener=listener)


def written(out: Path) -> dict[str, Any]:
    """What a run leaves, without what the clock put into it."""
    header = timeless(json.loads((out / "training.json").read_text()))
    models = {name: load_file(out / name / "model.safetensors") for name in ("best", "last")}
    return {"header": header, "steps": (out / "steps.jsonl").read_text(), "models": models}


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one["header"] == other["header"] and one["steps"] == other["steps"]
    for name in ("best", "last"):
        assert all(torch.equal(tensor, other["models"][name][key]) for key, tensor in one["models"][name].items())


class Shown(Listener):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.rows: list[tuple[dict[str, Any], bool]] = []
        self.warnings: list[str] = []
        self.left_out: list[str] = []

    def epoch(self, row: dict[str, Any], best: bool) -> None:
        self.rows.append((row, best))

    def warning(self, message: str) -> None:
        self.warnings.append(message)

    def skipped(self, samples) -> None:
        self.left_out += [sample.name for sample in samples]
