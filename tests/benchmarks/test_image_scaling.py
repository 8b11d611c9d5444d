"""The benchmark of image scaling in miniature, and the results that a page shows."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "image_scaling.json"


def test_it_writes_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    namespace = runpy.run_path(str(ROOT / "benchmarks" / "image_scaling.py"))
    monkeypatch.setitem(namespace["main"].__globals__, "SIDE", 8)
    kept = {name: namespace["RESIZERS"][name] for name in ("opencv_cubic", "bicubic")}
    monkeypatch.setattr(namespace["RESIZERS"], "_entries", kept)
    result = namespace["main"](["--count", "1", "--out", str(tmp_path / "out.json")])
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == result
    for table in result["tables"]:
        assert all(len(row) == len(table["header"]) for row in table["rows"])
    cubic, antialiased = result["attacked"]
    assert cubic["change"] < 0.3 * antialiased["change"]


def test_what_the_page_shows_is_what_the_closed_form_says() -> None:
    found = {one["resize"]: one for one in json.loads(RESULTS.read_text(encoding="utf-8"))["attacked"]}
    cubic = found["opencv_cubic"]
    # A quarter of the pixels, at 0.17 of what is hidden.
    assert cubic["share"] == 0.25 and cubic["changed"] <= 0.25
    assert cubic["closed_form"] == pytest.approx(0.173 * cubic["difference"], rel=0.05)
    assert cubic["seen_as_hidden"] >= 0.9 > 0.5 > cubic["by_pillow"]
    for name in ("bicubic", "opencv_area", "torch_bicubic_antialias"):
        assert found[name]["closed_form"] > 0.9 * found[name]["difference"]
