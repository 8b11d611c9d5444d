"""The page on training shows what works: its blocks are run, one after the other."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from art_multimodal.defences.trainer import METHODS

PAGE = Path(__file__).parents[2] / "docs" / "trainers.md"


def test_the_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # The page registers a method.
    monkeypatch.setattr(METHODS, "_entries", dict(METHODS._entries))
    first, second, third = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict = {}
    exec(first, names)
    losses = names["trainer"].losses
    assert len(losses) == 8 and losses[-1] < losses[0]
    assert (tmp_path / "runs" / "mmcoa" / "checkpoint.json").exists()
    before = [p.detach().clone() for p in names["classifier"].dual_encoder.visual.parameters()]
    exec(second, names)
    assert names["trainer"].options == {"anchor": 5.0}
    assert not all(map(torch.equal, before, names["classifier"].dual_encoder.visual.parameters()))
    before = [p.detach().clone() for p in names["classifier"].dual_encoder.visual.parameters()]
    exec(third, names)
    assert names["trainer"].configuration()["method"] == "tecoa"
    assert not all(map(torch.equal, before, names["classifier"].dual_encoder.visual.parameters()))


def test_the_table_has_every_method():
    named = re.findall(r"^\| `\w+` \| `([\w-]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert named == list(METHODS)
