"""The audit and ten lines of plain PyTorch give equal answers, in miniature."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import plain_audit


def test_answers_are_equal_sample_by_sample(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "plain_audit.json"
    options = [
        "--data",
        str(folder),
        "--folder",
        str(tmp_path),
        "--epochs",
        "8",
        "--batch-size",
        "32",
        "--repeats",
        "1",
    ]
    result = plain_audit.main([*options, "--steps", "3", "--together", "8", "32", "--eps", "0.05", "--out", str(out)])
    assert json.loads(out.read_text()) == result
    for cell in result["cells"]:
        # 40 images: the last group of 32 is not a whole one.
        assert cell["samples"] == 40 and cell["different"] == [0, 0]
        assert cell["right"]["audit"] == cell["right"]["script"]
        before, after = cell["right"]["audit"]
        assert 0 <= after < before
        assert len(cell["seconds"]["audit"]) == len(cell["seconds"]["script"]) == 1
    assert all(len(row) == len(result["table"]["header"]) for row in result["table"]["rows"])
