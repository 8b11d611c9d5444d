"""The command that trains, as tests give it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from art_multimodal import cli

DATA = ["--data", "demo:digits", "--device", "cpu", "--limit", "40", "--batch-size", "9"]
QUICK = [*DATA, "--steps", "1", "--epochs", "2", "--eps", "8/255", "--learning-rate", "1e-3"]
#: Where it is about neither epochs nor what is learned; behind those that it overrides.
FEWER = ["--limit", "12", "--epochs", "1"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["train", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def header_of(out: Path) -> dict:
    return json.loads((out / "training.json").read_text())
