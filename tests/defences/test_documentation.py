"""The page on training shows what works: its blocks are run, one after the other."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from art_multimodal.defences.trainer import METHODS
from art_multimodal.evaluations.suite import ATTACKS
from art_multimodal.models.fusions import FUSIONS

from .training import OF_FUSION, OF_MASKS

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
    # Those of fusions of any modalities have a page of their own, whose table is made of the registry.
    assert named == [
        name for name, method in METHODS.items() if not method.of_fusion or name in (*OF_FUSION, *OF_MASKS)
    ]


def test_the_examples_on_fusions_run():
    page = (PAGE.parent / "fusions.md").read_text(encoding="utf-8")
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    assert names["classifier"].predict(names["x"]).shape == (200, 10)


def test_the_page_on_fusions_names_what_there_is():
    page = (PAGE.parent / "fusions.md").read_text(encoding="utf-8")
    for command in re.findall(r"^art-multimodal train (\S+) modular:(\S+)", page, re.MULTILINE):
        assert command[0] in METHODS and command[1] in FUSIONS
    for name in re.findall(r"^\| `(\w+)@NAME`", page, re.MULTILINE):
        assert f"{name}@MODALITY" in ATTACKS
