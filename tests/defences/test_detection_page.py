"""The page on repair and detection shows what works: its blocks are run, one after the other."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[2] / "docs" / "detection.md"


def test_the_examples_run(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict = {}
    exec(first, names)
    said = capsys.readouterr().out
    for line, shown in zip(said.splitlines(), re.findall(r'"([^"]*)"$', first, re.MULTILINE), strict=True):
        assert line == str([shown])
    mistyped = names["classifier"].with_prompts([f"a phtoo of the hndwritten dgit {name}." for name in names["names"]])
    np.testing.assert_allclose(mistyped.class_features().cpu(), names["classifier"].class_features().cpu(), atol=1e-6)
    exec(second, names)
    assert names["is_adversarial"].mean() > names["result"].false_positives + 0.3
    assert "<polyline" in (tmp_path / "detection" / "detection.html").read_text(encoding="utf-8")
