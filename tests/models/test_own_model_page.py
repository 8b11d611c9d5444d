"""The page on one's own model shows what works: its blocks are run, one after the other, and its file as a model."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch

from art_multimodal.cli.program import main

PAGE = Path(__file__).parents[2] / "docs" / "own_model.md"


def test_the_examples_run(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    library, towers, audit = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict = {}
    exec(library, names)
    image = torch.rand(1, 3, 40, 50)
    with torch.no_grad():
        found = names["encoder"].encode_image(image)
        torch.testing.assert_close(found, names["classifier"].dual_encoder.encode_image(image))
    (tmp_path / "my_model.py").write_text(towers, encoding="utf-8")
    exec(towers, names)
    exec(audit, names)
    assert float(capsys.readouterr().out.split()[-1]) > 0.9
    assert names["report"]["results"]["pgd"]["n"] == 24
    assert names["report"]["model"]["spec"] == "loaded:CustomDualEncoder"
    assert "LabelledArrays" in (tmp_path / "own_audit" / "report.html").read_text(encoding="utf-8")
    assert np.isfinite(names["report"]["results"]["pgd"]["accuracy"])


def test_the_file_is_a_model_of_the_command_line(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    towers = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    path = tmp_path / "my_model.py"
    path.write_text(towers, encoding="utf-8")
    audit = [
        "audit",
        "python:my_model.py:load",
        "--data",
        "demo:digits",
        "--attacks",
        "pgd",
        "--steps",
        "2",
        "--limit",
        "8",
    ]
    audit += ["--out", "out", "--device", "cpu"]
    assert main(audit) == 0
    assert main([*audit, "--resume"]) == 0
    path.write_text(towers + "\n# changed\n", encoding="utf-8")
    capsys.readouterr()
    assert main([*audit, "--resume"]) == 2
    assert "source_sha256" in capsys.readouterr().err
