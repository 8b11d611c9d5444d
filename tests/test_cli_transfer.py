"""``transfer``, ``--surrogate`` and functions as models on the command line, and which code a file may name."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from art_multimodal import cli

SERVICE = """
from pathlib import Path

import numpy as np

Path("imported").touch()

def ask(images):
    return np.clip(images.mean(axis=(1, 2, 3)) * 10, 0, 9).astype(int)

def fails(images):
    raise RuntimeError("gone\\x1b[31m")

def wrong(images):
    return np.zeros((len(images), 3))
"""
PLAN: dict[str, Any] = {
    "plan": 1,
    "models": ["python:digit_service:ask"],
    "data": "demo:digits",
    "samples": {"limit": 4},
    "attacks": {"noise": "all", "transfer": "all"},
    "surrogates": ["demo:digits"],
    "budgets": {"eps": "16/255", "steps": 2},
    "floors": {"transfer": 0.0, "image": 0.1},
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "digit_service.py").write_text(SERVICE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("digit_service", None)
    yield tmp_path
    sys.modules.pop("digit_service", None)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def audited(*more: str) -> list[str]:
    given = ["--data", "demo:digits", "--limit", "4", "--device", "cpu", "--eps", "16/255", "--max-queries", "12"]
    return ["audit", *given, *more]


def test_a_function_is_audited_and_verified(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = "python:digit_service:ask:batch=3,timeout=600"
    code, out, err = run(capsys, *audited(spec, "--surrogate", "demo:digits/robust", "--fixtures", "all"))
    assert code == 0, err
    assert "NOT RUN: pgd, art_pgd" in out and "transfer@digits_robust" in out
    report = json.loads((here / "audit" / "report.json").read_text())
    assert report["attacks"] == ["noise", "transfer@digits_robust", "hop_skip_jump", "sign_opt"]
    assert report["model"]["kind"] == "function that answers"
    code, _, err = run(capsys, "verify", "audit")
    assert code == 2 and "runs code of that name here: name one as MODEL that you trust" in err
    code, out, err = run(capsys, "verify", "audit", "python:digit_service:ask")
    assert code == 0, err
    assert "weights: the same" in out and "as in the log" in out and "other verdicts" not in out


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("python:digit_service:fails", "ends with RuntimeError: gone"),
        ("python:digit_service:wrong", "or with scores of shape (4, 10); it gave an array of shape (4, 3)"),
        ("python:digit_service:ask:rate=-1", "rate is a number of images per second"),
        ("python:no_such_service:ask", "There is no module no_such_service"),
        ("python:digit_service:other", "Unknown function of"),
    ],
)
def test_a_line_for_what_cannot_be_used(here: Path, capsys: pytest.CaptureFixture[str], spec: str, said: str) -> None:
    code, _, err = run(capsys, *audited(spec))
    assert code == 2 and said in err and "Traceback" not in err and "\x1b" not in err
    assert not (here / "audit").exists()


def test_what_needs_the_inside_of_a_model_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = "python:digit_service:ask"
    for arguments, said in (
        (
            ["train", "tecoa", spec, "--data", "demo:digits", "--out", "trained"],
            "only answers: it has no weights that could be trained",
        ),
        (["certify", spec, "--data", "demo:digits", "--keep", "image=16"], "only answers"),
        (audited(spec, "--keep", "image=16"), "only answers: leave out --keep"),
        (audited(spec, "--defence", "jpeg"), "only answers: put --defence into the function"),
        (audited(spec, "--surrogate", spec), "is a function that answers. Give a dual encoder"),
        (audited("demo:digits", "--surrogate", "demo:shapes/late"), "The surrogate demo:shapes/late is a fusion model"),
        (
            ["transfer", spec, "demo:digits", "--data", "demo:digits"],
            "attack a function that answers by audit --surrogate",
        ),
        (["transfer", "demo:digits", "--data", "demo:digits"], "needs two models at least"),
        (["transfer", "demo:digits", "demo:digits/robust"], "Missing option '--data'"),
    ):
        code, _, err = run(capsys, *arguments)
        assert code == 2 and said in err and "Traceback" not in err, (arguments, err)


def test_a_plan_runs_no_code_by_itself(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = here / "plan.yaml"
    path.write_text(yaml.safe_dump(PLAN))
    code, _, err = run(capsys, "audit", "--plan", "plan.yaml", "--device", "cpu")
    assert code == 2 and "a file that is loaded runs none" in err and not (here / "imported").exists()
    assert run(capsys, "plan", "check", "plan.yaml")[0] == 0 and not (here / "imported").exists()
    code, _, err = run(capsys, "audit", "python:digit_service:ask", "--plan", "plan.yaml", "--device", "cpu")
    assert code == 0, err
    assert (here / "imported").exists()
    verdicts = json.loads((here / "audit" / "report.json").read_text())["verdicts"]["gates"]
    assert {one["row"]: one["outcome"] for one in verdicts} == {"transfer": "PASS", "image": "NOT RUN"}
    code, _, err = run(
        capsys, "audit", "python:digit_service:ask", "--plan", "plan.yaml", "--surrogate", "demo:digits/robust"
    )
    assert code == 2 and "contradicts the plan, which declares surrogates, demo:digits" in err
    path.write_text(yaml.safe_dump({**PLAN, "models": ["demo:digits"], "surrogates": ["python:digit_service:ask"]}))
    code, _, err = run(capsys, "audit", "--plan", "plan.yaml")
    assert code == 2 and "the surrogate python:digit_service:ask would run code" in err and "\n" not in err.strip()


def test_a_matrix(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["transfer", "demo:digits", "demo:digits/robust", "--data", "demo:digits", "--limit", "4", "--steps", "2"]
    code, out, err = run(capsys, *given, "--eps", "16/255", "--device", "cpu")
    assert code == 0, err
    assert "made on digits_robust: scored" in out and "accuracy before" in out
    assert {path.name for path in (here / "transfer").iterdir()} == {
        *(".lock", "report.html", "report.md", "transfer.csv", "transfer.json")
    }
    code, out, _ = run(capsys, *given, "--eps", "16/255", "--device", "cpu", "--resume")
    assert code == 0 and "scored" not in out
    code, _, err = run(capsys, *given, "--norm", "2")
    assert code == 2 and "With --norm 2 give --eps" in err
