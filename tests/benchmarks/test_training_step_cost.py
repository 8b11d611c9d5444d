"""The cost of a training step in miniature: both steps are one and the same, and what is not is not compared."""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import bert_attack_cost  # noqa: E402
import training_step_cost as cost  # noqa: E402
import training_steps as steps  # noqa: E402

from art_multimodal.defences.trainer import TrainingSettings  # noqa: E402

NAMES = bert_attack_cost.names(7)
SETTINGS = TrainingSettings(
    positives="index", schedule="constant", max_iter=3, eps=8 / 255, eps_step=3 / 255, learning_rate=1e-3, seed=5
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bert_attack_cost.Models:
    """A very small CLIP, and a language model of one layer."""
    image = {"image_size": 16, "patch_size": 8, "width": 32, "head_width": 16, "layers": 2}
    config = {"embed_dim": 16, "vision_cfg": image, "text_cfg": {"width": 32, "heads": 2, "layers": 2}}
    path = tmp_path_factory.mktemp("configs") / "tiny-of-the-test.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    open_clip.add_model_config(path)
    with torch.random.fork_rng():
        return bert_attack_cost.build("tiny-of-the-test", 1)


def fresh(made: bert_attack_cost.Models, dtype: torch.dtype = torch.float32) -> bert_attack_cost.Models:
    """Models that no step has been taken with."""
    clip = copy.deepcopy(made.clip).to(dtype)
    return bert_attack_cost.Models(clip, made.tokenizer, made.bert, made.bert_tokenizer)


def test_in_double_precision_both_steps_are_the_same_to_the_last_digits(made: bert_attack_cost.Models) -> None:
    # Nine samples of seven classes: some share a text, which the library attacks and encodes once.
    mine, other = (
        step(steps.Job.drawn(fresh(made, torch.float64), NAMES, 9, SETTINGS)) for step in (steps.ours, steps.plain)
    )
    assert len(set(other.texts)) < len(other.texts) == 9
    assert all(text not in other.texts for text in map(bert_attack_cost.TEMPLATE.format, NAMES))
    found = steps.differences(mine, other)
    assert found["texts"] == found["images"] == 0
    assert found["loss"] < 1e-12 and found["update"] < 1e-9
    scale = "logit_scale"
    assert not mine.update[scale].any() and not other.update[scale].any()
    moved = [name for name, update in other.update.items() if update.any()]
    assert len(moved) == len(other.update) - 1
    assert set(mine.seconds) == set(other.seconds) == set(steps.PHASES)
    assert all(seconds > 0 for step in (mine, other) for both in step.seconds.values() for seconds in both)


def test_another_attack_loss_or_update_is_noticed(made: bert_attack_cost.Models) -> None:
    job = steps.Job.drawn(fresh(made), NAMES, 4, SETTINGS)
    mine = steps.ours(job)
    cost.check(steps.differences(mine, steps.plain(dataclasses.replace(job, models=fresh(made)))))
    for changed, noticed in (
        ({"max_iter": 2}, "loss|images"),
        ({"seed": 6}, "loss|images|texts"),
        ({"learning_rate": 2e-3}, "update"),
    ):
        settings = dataclasses.replace(SETTINGS, **changed)
        other = steps.plain(dataclasses.replace(job, models=fresh(made), settings=settings))
        with pytest.raises(SystemExit, match=f"The ({noticed}) of the two steps differ"):
            cost.check(steps.differences(mine, other))
    with pytest.raises(SystemExit, match="differ by nan"):
        cost.check({"loss": float("nan"), "images": 0.0, "texts": 0, "update": 0.0})


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="what is resident is known on Linux alone")
def test_memory_is_the_peak_and_not_what_is_left() -> None:
    # As after many other tests: 375 MiB freed, all of them still resident below the last block that is in use.
    last = [torch.ones(2**15) for _ in range(3000)][-1]
    memory = steps.PeakMemory()
    torch.ones(2**25).sum()  # 128 MiB, freed at once
    assert last.sum() == 2**15
    assert 0.9 * 2**27 < (memory.beyond() or 0) < 1.5 * 2**27
    assert (steps.PeakMemory().beyond() or 0) < 2**24


def test_the_clock_adds_up_what_belongs_to_a_phase() -> None:
    called = []
    clock = steps.Clock(lambda: called.append(1))
    clock.mark()
    sum(range(200_000))
    clock.mark("work")
    once = clock.seconds["work"][0]
    clock.mark()
    sum(range(200_000))
    clock.mark("work")
    assert clock.seconds["work"][0] > once > 0 and len(called) == 4


@pytest.fixture
def in_this_process(made: bert_attack_cost.Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the script does in processes of its own happens here, with the very small models."""

    def run(command: list[str], **how: object) -> None:
        assert command[:2] == [sys.executable, cost.__file__]
        cost.main(command[2:])

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(cost, "build", lambda architecture, bert_layers: fresh(made))


def test_it_writes_a_table_of_all_contenders(in_this_process: None, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(cost, "QUICK", {**cost.QUICK, "repeats": 2, "bf16_repeats": 1})
    out = tmp_path / "results" / "cost.json"
    result = cost.main(["--quick", "--out", str(out)])
    assert json.loads(out.read_text()) == result
    assert str(tmp_path) not in out.read_text()
    assert list(result["seconds"]) == ["plain", "ours", "ours, bf16 attack", "ours, bf16"]
    assert [of["cpu"]["step"]["n"] for of in result["seconds"].values()] == [1, 2, 1, 1]
    assert len(result["differences"]) == 1 and result["differences"][0]["texts"] == 0
    for of in result["seconds"].values():
        phases = [of["cpu"][phase]["median"] for phase in steps.PHASES]
        assert all(seconds > 0 for seconds in phases)
        assert len(phases) > 1 and of["cpu"]["step"]["min"] <= of["cpu"]["step"]["median"] <= of["cpu"]["step"]["max"]
    plain, mine = (result["seconds"][name]["cpu"] for name in ("plain", "ours"))
    # Even here: a hundred calls of the text tower in place of a few.
    assert plain["attack on texts"]["median"] > 2 * mine["attack on texts"]["median"]
    spread = result["ratios_plain_to"]["ours"]["cpu"]
    assert spread["min"] <= spread["median"] <= spread["max"] and spread["n"] == 1
    assert all(len(row) == len(result["table"]["header"]) for row in result["table"]["rows"])


def test_steps_that_do_not_agree_are_not_compared(in_this_process: None, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(cost, "TOLERANCES", {**cost.TOLERANCES, "update": -1.0})
    with pytest.raises(SystemExit, match="so their cost is not compared"):
        cost.main(["--quick", "--out", str(tmp_path / "none.json")])
    assert not (tmp_path / "none.json").exists()


def test_operations_are_those_of_matrix_products_forwards_and_backwards() -> None:
    left, right = torch.randn(3, 5, requires_grad=True), torch.randn(5, 7)
    with cost.Operations() as counter:
        torch.autograd.grad((left @ right).relu().sum(), left)
    assert counter.total == 2 * (2 * 3 * 5 * 7)


def test_throughput_counts_the_operations_of_whole_steps(in_this_process: None, tmp_path: Path) -> None:
    out = tmp_path / "throughput.json"
    result = cost.main(["--quick", "--throughput", "--out", str(out)])
    assert json.loads(out.read_text()) == result
    assert result["samples_per_second"] > 0 and 0 < result["share_of_bf16_matrix_peak"] < 1
    (row,) = result["table"]["rows"]
    assert len(row) == len(result["table"]["header"])
