"""The smoothed model of an audit on the command line: its rows, its gate, several models, processes, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from art_multimodal import cli

START = ["demo:views/late", "--data", "demo:views", "--attacks", "modality_missing", "--limit", "4", "--device", "cpu"]
DIGITS = ["demo:digits", "--data", "demo:digits", "--attacks", "pgd", "--steps", "1", "--limit", "4", "--device", "cpu"]
KEEP = ["--keep", "pix=2", "--certify-budget", "pix=1", "--attack-steps", "1"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["audit", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_rows_at_80_columns_and_a_gate(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "run"
    code, printed, err = run(capsys, *START, *KEEP, "--out", str(out), "--fail-under", "certified.accuracy=1")
    results = json.loads((out / "report.json").read_text())["results"]
    certified, attacked, smoothed = (results[name]["accuracy"] for name in ("certified", "vote_flipping", "smoothed"))
    assert certified <= attacked <= smoothed
    assert code == (certified < 1) and err.count("gate failed: certified.accuracy is") == (certified < 1)
    rows = [line for line in printed.splitlines() if line.startswith(("smoothed", "vote_flipping", "certified"))]
    assert [line.split()[0] for line in rows[:3]] == ["smoothed", "vote_flipping", "certified"]
    assert "smoothed, vote_flipping, certified: within pix=1, edits of elements" in printed
    tables = printed.partition("budget:")[0].splitlines()
    assert max(len(line) for line in tables if not line.startswith("note:")) <= 80
    assert "plan: 4 attacks on 4 samples" in err and "smoothed: 4 samples" in err
    log = (out / "log.jsonl").read_bytes()
    code, _, _ = run(capsys, *START, *KEEP, "--out", str(out), "--resume")
    assert code == 0 and (out / "log.jsonl").read_bytes() == log
    code, _, err = run(capsys, *START, *KEEP[:2], "--certify-budget", "pix=2", "--out", str(out), "--resume")
    assert code == 2 and "smoothing_budget: pix=1 then, pix=2 now" in err


def test_several_models_stand_side_by_side_with_their_rows(tmp_path: Path, capsys) -> None:
    out = tmp_path / "both"
    code, printed, _ = run(
        capsys,
        "demo:views/concat",
        *START,
        "--keep",
        "pix=4",
        "--attack-steps",
        "1",
        "--masks",
        "design",
        "--out",
        str(out),
    )
    assert code == 0 and printed.count("certified ") >= 2
    page = (out / "report.md").read_text()
    assert "| smoothed | vote\\_flipping | certified |" in page
    models = json.loads((out / "report.json").read_text())["models"]
    assert all("certified" in one["report"]["results"] for one in models) and len(models) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*DIGITS, "--masks", "design"], "--masks is of the smoothed model: give --keep, too"),
        ([*DIGITS, "--certify-budget", "image=1"], "--certify-budget is of the smoothed model: give --keep, too"),
        ([*DIGITS, "--attack-steps", "2"], "--attack-steps is of the smoothed model"),
        ([*DIGITS, "--keep", "image"], "--keep: 'image' is not NAME=NUMBER"),
        ([*DIGITS, "--keep", "image=4", "--masks", "desing"], "Did you mean design?"),
        ([*DIGITS, "--keep", "image=4", "--certify-budget", "text=1"], "Unknown modality for --certify-budget 'text'"),
        ([*DIGITS, "--keep", "image=4", "--choosing", "9", "--masks", "mmcert", "--rule", "published"], "Leave it out"),
        ([*DIGITS, "--fail-under", "certified.accuracy=0.3"], "unknown row for --fail-under 'certified'"),
        ([*DIGITS, "--keep", "image=4", "--attack-steps", "x"], "For example: --attack-steps 10."),
        ([*DIGITS, "--keep", "--resume"], "For example: --keep image=16,text=3."),
        (["demo:scenes", "--data", "demo:scenes", "--task", "retrieval", "--keep", "image=4"], "are of classifiers"),
    ],
)
def test_bad_input_is_one_line_and_code_2(tmp_path: Path, capsys, arguments: list[str], said: str) -> None:
    code, printed, err = run(capsys, *arguments, "--out", str(tmp_path / "run"))
    lines = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert code == 2 and not printed and len(lines) == 1 and lines[0].startswith("error: ")
    assert said.casefold() in lines[0].casefold()
    assert not (tmp_path / "run").exists()
