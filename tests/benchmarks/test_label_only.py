"""Attacks on labels behind defences in miniature, and what their results promise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import label_only as script

ROOT = Path(__file__).parents[2]


def check(result: dict[str, Any]) -> None:
    settings = result["settings"]
    assert all(len(row) == len(result["table"]["header"]) for row in result["table"]["rows"])
    for cell in result["cells"].values():
        assert len(cell["clean"]) == settings["samples"]
        for attack in script.SEARCHES:
            one = cell[attack]
            # By a counter that knows nothing of the budget.
            assert 0 < one["most"] <= settings["queries"]
            assert len(one["nearest"]) == sum(cell["clean"])
            assert not any(left and not before for left, before in zip(one["left"], cell["clean"], strict=True))
        assert not any(left and not before for left, before in zip(cell["square"], cell["clean"], strict=True))


def test_cells_are_kept_and_questions_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["--samples", "3", "--queries", "12", "--eps", "128", "--out", str(tmp_path / "out.json")]
    script.main([*given, "--defences", "none"])
    result = script.main([*given, "--defences", "none", "purification"])
    assert json.loads((tmp_path / "out.json").read_text()) == result and str(tmp_path) not in json.dumps(result)
    assert [row[0] for row in result["table"]["rows"]] == ["`none`", "`purification`"]
    check(result)
    # Within half of the grey scale random pictures mislead.
    assert sum(result["cells"]["none"]["hop_skip_jump"]["left"]) < sum(result["cells"]["none"]["clean"])

    def never(*arguments: object) -> None:
        raise AssertionError("it is there already")

    monkeypatch.setattr(script, "measured", never)
    assert script.main([*given, "--defences", "none", "purification"]) == result
    with pytest.raises(AssertionError, match="there already"):
        script.main([*given, "--queries", "13", "--defences", "none"])


def test_what_was_measured() -> None:
    result = json.loads((ROOT / "benchmarks" / "results" / "label_only.json").read_text(encoding="utf-8"))
    assert {*result["cells"]} == {*script.DEFENCES}
    check(result)
