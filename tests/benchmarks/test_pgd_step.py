import json
import runpy
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "pgd_step.py"
MINIATURE = ["--model", "demo:digits", "--repeats", "2", "--naive-repeats", "1", "--steps", "2", "--batch-size", "3"]


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    out = tmp_path_factory.mktemp("benchmark") / "results" / "pgd_step.json"
    threads = torch.get_num_threads()
    returned = runpy.run_path(str(SCRIPT))["main"]([*MINIATURE, "--prompts", "4", "--out", str(out)])
    assert torch.get_num_threads() == threads
    assert json.loads(out.read_text()) == returned
    assert str(out.parent) not in out.read_text()
    return returned


def test_the_result_says_what_was_measured(result):
    assert {"protocol", "settings", "machine", "ratios", "targets", "seconds_per_step", "checks"} <= set(result)
    assert result["settings"]["image_shape"] == [3, 32, 32]
    assert result["settings"]["prompts"] == 4
    assert set(result["ratios"]) == {"ours_to_bound", "art_ours_to_art_stock", "naive_to_ours"}
    assert set(result["seconds_per_step"]) == {"ours", "bound", "art_ours", "art_stock", "naive"}
    for name, clocks in result["ratios"].items():
        for row in clocks.values():
            assert row["min"] <= row["median"] <= row["max"]
            assert row["n"] == (1 if name == "naive_to_ours" else 2)
    assert {"cores", "threads", "torch"} <= set(result["machine"])


def test_the_contenders_compute_the_same_and_only_the_stock_one_pays_for_parameters(result):
    assert result["checks"]["loss_gradient_max_relative_difference"] <= 1e-5
    counts = result["checks"]["parameters_with_gradient_after_art_attack"]
    assert counts["ours"] == 0
    assert counts["stock"] > 0
