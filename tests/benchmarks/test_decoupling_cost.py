"""The cost benchmark on a tiny model: it compares equal results, and counts what it says it counts."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch
from tiny import TinyEncoder

from art_multimodal import FusionClassifier
from art_multimodal.models.families.late_fusion.model import LateFusion

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "decoupling_cost.py"


def test_both_ways_find_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = runpy.run_path(str(SCRIPT))
    classifier = FusionClassifier(LateFusion(TinyEncoder(seed=1).eval(), ("a", "b", "c")).eval(), device_type="cpu")
    pairs = module["samples"](3)
    plain = module["one_call_per_probe"](classifier, pairs, 56)
    assert plain == module["here"](classifier, pairs, 56)
    assert any(record[0] for record in plain)


def test_it_writes_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    namespace = runpy.run_path(str(SCRIPT))
    encoder = TinyEncoder(seed=1).eval()
    classifier = FusionClassifier(LateFusion(encoder, ("a", "b", "c")).eval(), device_type="cpu")
    monkeypatch.setitem(namespace["main"].__globals__, "build", lambda: classifier)
    out = tmp_path / "cost.json"
    result = namespace["main"](["--samples", "2", "--min-block", "56", "--repeats", "1", "--out", str(out)])
    assert out.is_file()
    assert result["ratio"] > 0
    words = sum(len(text.split()) for text in namespace["samples"](2)["text"])
    assert result["towers_here"]["text"] == 2 + words  # each distinct text once
    assert result["towers_here"]["image"] == result["probes"] - words
    assert all(len(row) == len(result["table"]["header"]) for row in result["table"]["rows"])
