"""The cost benchmark of BertAttack in miniature: equal prompts, and counts that say what each step saves."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import torch

from art_multimodal.models.fast_gradients import SelfAttention

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "bert_attack_cost.py"
MINIATURE = ["--prompts", "3", "--repeats", "1"]
PROBES = 3 * (1 + 4 + 10)  # the prompt, a mask for each of its free words, ten candidates


@pytest.fixture(scope="module")
def benchmark():
    """The script with small models, built once."""
    namespace = runpy.run_path(str(SCRIPT))
    models = namespace["build"]("ViT-S-32-alt", 1)
    namespace["main"].__globals__["build"] = lambda architecture, bert_layers: models
    return namespace


@pytest.fixture(scope="module")
def result(benchmark, tmp_path_factory):
    out = tmp_path_factory.mktemp("benchmark") / "results" / "bert_attack_cost.json"
    threads = torch.get_num_threads()
    returned = benchmark["main"]([*MINIATURE, "--out", str(out)])
    assert torch.get_num_threads() == threads
    assert json.loads(out.read_text()) == returned
    assert str(out.parent) not in out.read_text()
    return returned


def test_it_says_what_was_measured(result):
    assert {"protocol", "command", "settings", "machine", "table", "ratio", "ratios", "seconds"} <= set(result)
    assert result["changed"] == result["settings"]["prompts"] == 3
    assert all(len(row) == len(result["table"]["header"]) for row in result["table"]["rows"])
    assert [row[0] for row in result["table"]["rows"]] == list(result["seconds"]) == list(result["counts"])
    assert all(seconds > 0 for row in result["seconds"].values() for seconds in row)


def test_every_step_saves_what_it_is_there_to_save(result):
    counts = result["counts"]
    assert PROBES * 0.8 < counts["one call each"]["text calls"] <= PROBES
    assert counts["one call each"]["text positions"] == 77 * counts["one call each"]["text calls"]
    assert counts["batches"]["text positions"] == counts["one call each"]["text positions"]
    assert counts["batches"]["text calls"] <= 3
    assert counts["batches"]["language model calls"] == 1
    assert counts["trimmed"]["text positions"] < counts["batches"]["text positions"] / 5
    assert counts["shared beginnings"]["text positions"] < counts["trimmed"]["text positions"] * 0.6


def test_the_text_tower_is_what_a_user_gets(benchmark):
    blocks = benchmark["main"].__globals__["build"]("", 0).clip.transformer.resblocks
    assert all(type(block.attn) is SelfAttention for block in blocks)


def test_ways_that_do_not_agree_are_not_compared(benchmark, monkeypatch, tmp_path):
    for name in ("batches", "trimmed"):
        monkeypatch.setitem(benchmark["WAYS"], name, (lambda models, count: ["something else"] * count, False))
    with pytest.raises(SystemExit, match="batches finds other prompts"):
        benchmark["main"](["--prompts", "1", "--repeats", "1", "--out", str(tmp_path / "none.json")])
    assert not (tmp_path / "none.json").exists()


def test_its_classes_are_a_hundred(benchmark):
    names = benchmark["names"](1000)
    assert len(set(names)) == 100 and all(name == name.strip() for name in names)
