"""The audit and ten lines of plain PyTorch give equal answers, in miniature."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import plain_audit


def labelled_by_the_model(folder: Path, kept: Path, out: Path) -> None:
    """The same data, of whose test images a model of two epochs gets three in four right: so many are attacked."""
    model = plain_audit.small_clip(kept, folder, 2, 32, 15_000, 0)
    shutil.copytree(folder, out)
    with np.load(folder / "cifar10.npz") as file:
        arrays = dict(file)
    images = torch.from_numpy(arrays["x_test"].transpose(0, 3, 1, 2).copy()).float() / 255
    with torch.no_grad():
        classes = model.encode_text(
            model.tokenize([plain_audit.TEMPLATE.format(name) for name in plain_audit.CIFAR_CLASSES])
        )
        said = (model.encode_image(images) @ classes.T).argmax(dim=1).numpy()
    arrays["y_test"] = (said + (np.arange(len(said)) % 4 == 0)) % 10
    np.savez(out / "cifar10.npz", **arrays)


def test_answers_are_equal_sample_by_sample(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "plain_audit.json"
    labelled_by_the_model(folder, tmp_path, tmp_path / "data")
    options = ["--data", str(tmp_path / "data"), "--folder", str(tmp_path), "--epochs", "2", "--batch-size", "32"]
    options += ["--few", "16", "--steps", "1", "3", "--together", "8", "32", "--eps", "0.05", "--out", str(out)]
    result = plain_audit.main([*options, "--repeats", "1"])
    assert json.loads(out.read_text()) == result
    for cell in result["cells"]:
        # 40 images: the last group of 32 is not a whole one.
        assert cell["samples"] == 40 and cell["different"] == [0, 0]
        assert cell["right"]["audit"] == cell["right"]["script"]
        before, after = cell["right"]["audit"]
        assert 0 <= after < before == 30
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
