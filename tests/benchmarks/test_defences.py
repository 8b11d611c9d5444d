"""The measurement of defences in miniature, and what the page says about its results."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
ATTACKS = ("pgd", "apgd_dlr", "image")
MINIATURE = ["--limit", "6", "--steps", "2", "--queries", "10", "--draws", "2"]


def share(cell: str) -> float:
    return float(cell.split(" ")[0])


def test_every_defence_has_a_row_with_both_numbers(tmp_path: Path) -> None:
    script = runpy.run_path(str(ROOT / "benchmarks" / "defences.py"))
    out = tmp_path / "results" / "defences.json"
    result = script["main"]([*MINIATURE, "--out", str(out)])
    assert json.loads(out.read_text()) == result and str(tmp_path) not in out.read_text()
    assert result["settings"]["limit"] == 6
    assert [len(shown["rows"]) for shown in result["tables"]] == [6, 2, 3, 2]
    for shown, tried in zip(result["tables"][::2], (script["OF_IMAGES"], script["OF_TEXTS"]), strict=True):
        assert [row[0].count("`") // 2 for row in shown["rows"]] == list(map(len, tried))
        for row in shown["rows"]:
            assert len(row) == len(shown["header"])
            assert all(0 <= share(cell) <= 100 for cell in row[1:] if cell)
            # Nobody can be unaware of what is not there.
            assert (row[2] == row[4] == "") == (row[0] == "none")


def test_the_page_says_what_was_measured() -> None:
    result = json.loads((ROOT / "benchmarks" / "results" / "defences.json").read_text())
    images, gradients, texts, two = result["tables"]
    of = {row[0].strip("`"): row for row in (*images["rows"], *texts["rows"])}
    place = images["header"].index("pgd, naive")
    for row in gradients["rows"]:
        naive, adaptive = map(share, of[row[0].strip("`")][place : place + 2])
        assert adaptive + 30 < naive > 50
        assert share(row[1]) == naive and share(row[3]) == adaptive < share(row[2]) - 10
    assert share(of["feature_squeezing:bit_depth=3"][place]) < 5
    # What holds out longest is not what is safe.
    both = images["rows"][4]
    adaptive, other, worst = (share(both[images["header"].index(f"{name}, adaptive")]) for name in ATTACKS)
    assert both[0].count("`") == 4 and worst < min(adaptive, other) - 5
    assert worst == max(share(row[images["header"].index("image, adaptive")]) for row in images["rows"])
    typing, words = (texts["header"].index(f"{name}, adaptive") for name in ("character_attack", "bert_attack"))
    bare = texts["rows"][0]
    assert share(of["spelling"][typing]) > 95 > 20 > share(bare[typing])
    assert abs(share(of["spelling"][words]) - share(bare[words])) <= 1
    naive, adaptive = map(share, two["rows"][1][2:4])
    assert two["header"][2:4] == ["character_attack, naive", "character_attack, adaptive"]
    assert naive < adaptive - 10 < 85
