"""The benchmark of attacks on images and texts together in miniature."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "multimodal_attacks.py"


def test_it_writes_tables_in_which_together_is_more_than_apart(tmp_path: Path) -> None:
    out = tmp_path / "multimodal.json"
    main = runpy.run_path(str(SCRIPT))["main"]
    small = ["--images", "30", "--templates", "2", "--questions", "40", "--steps", "5", "--starts", "1"]
    returned = main([*small, "--out", str(out)])
    assert json.loads(out.read_text()) == returned
    rows, paired = (table["rows"] for table in returned["tables"])
    assert {row[0] for row in rows} == {"demo:digits", "demo:shapes/concat", "demo:shapes/cross_attention"}
    success = {tuple(row[:2]): float(row[4]) for row in rows if row[1] != "none"}
    for model in ("demo:digits", "demo:shapes/concat"):
        alone = max(success[model, "image alone"], success[model, "text alone"])
        assert 0 < alone < success[model, "independent"] < success[model, "joint"] < 1
    differences = {tuple(row[:2]): row[2] for row in paired}
    for (model, name), value in differences.items():
        more, less = name.split(" - ")
        assert float(value) == pytest.approx(success[model, more] - success[model, less], abs=0.0011)


def test_shares_of_samples_are_shares_of_sums() -> None:
    share = runpy.run_path(str(SCRIPT))["share"]
    # Every sample has the same ratio, whatever its weight: there is nothing to draw.
    assert share(np.array([1, 2, 3]), np.array([2, 4, 6])) == ["0.500", "0.500 to 0.500"]
    value, interval = share(np.array([0, 0, 1, 1] * 25), np.ones(100), "+")
    assert value == "+0.500"
    low, high = map(float, interval.split(" to "))
    # The binomial's, two standard deviations of 0.05.
    assert low == pytest.approx(0.4, abs=0.02)
    assert high == pytest.approx(0.6, abs=0.02)
