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
    options += ["--few", "16", "--steps", "1", "3", "--together", "8", "32", "--eps", "0.05", "--out", str(out)]
    result = plain_audit.main(options)
    assert json.loads(out.read_text()) == result
    for cell in result["cells"]:
        # 40 images: the last group of 32 is not a whole one.
        assert cell["samples"] == 40 and cell["different"] == [0, 0]
        assert cell["right"]["audit"] == cell["right"]["script"]
        before, after = cell["right"]["audit"]
        assert 0 <= after < before
        assert len(cell["seconds"]["audit"]) == len(cell["seconds"]["script"]) == 1
    assert [len(table["rows"]) for table in result["tables"]] == [4, 6]
    assert all(len(row) == len(table["header"]) for table in result["tables"] for row in table["rows"])
    assert [len(one["few"]["seconds"]["audit"]) for one in result["parts"]] == [1, 1]


def test_parts_of_made_up_seconds() -> None:
    """Seconds that are made of parts give these parts back."""
    made = {"audit": (0.5, 0.25, 0.125), "script": (0.0, 0.125, 0.0625)}

    def cell(samples: int, right: int, steps: int) -> dict:
        seconds = {
            name: [run + image * samples + step * steps * right] * 3 for name, (run, image, step) in made.items()
        }
        return {"samples": samples, "steps": steps, "right": {"audit": [right, 0]}, "seconds": seconds}

    found = plain_audit.parts_of(cell(16, 12, 2), cell(64, 32, 2), cell(64, 32, 8))
    assert found == {name: dict(zip(plain_audit.PARTS, of, strict=True)) for name, of in made.items()}
