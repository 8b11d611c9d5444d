"""A newcomer's own data on the command line: what is said about it, and what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from art_multimodal import cli
from art_multimodal.datasets.demo_digits import DigitsData

PGD = ["--attacks", "pgd", "--steps", "1", "--eps", "16/255", "--device", "cpu"]


def audit(capsys: pytest.CaptureFixture[str], data: str, out: Path, *more: str) -> tuple[int, str, str]:
    """Audit the demo model on some data: exit code, standard output, standard error."""
    code = cli.main(["audit", "demo:digits", "--data", data, "--out", str(out), *PGD, *more])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def report_of(out: Path) -> dict:
    return json.loads((out / "report.json").read_text())


def test_notes_of_the_data_are_in_the_terminal_and_in_every_report(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(DigitsData, "notes", ("read with care", "classes a & b"))
    code, printed, _ = audit(capsys, "demo:digits", tmp_path / "out", "--limit", "4")
    assert code == 0
    assert "note: read with care\nnote: classes a & b\n" in printed
    assert report_of(tmp_path / "out")["notes"] == ["read with care", "classes a & b"]
    assert "Note: read with care" in (tmp_path / "out" / "report.md").read_text()
    assert "Note: classes a &amp; b" in (tmp_path / "out" / "report.html").read_text()


def test_notes_of_the_data_are_said_before_training(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(DigitsData, "notes", ("read with care",))
    arguments = ["--data", "demo:digits", "--limit", "12", "--epochs", "1", "--steps", "1", "--device", "cpu"]
    assert cli.main(["train", "tecoa", "demo:digits", *arguments, "--out", str(tmp_path / "run")]) == 0
    assert "note: read with care\n" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "training.json").read_text())["notes"] == ["read with care"]
