"""The page on certificates shows what works: its blocks are run, its numbers are computed, its example is counted."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

from art_multimodal.estimators.certification import MASKS, AblatedEnsemble, Certificates

DOCS = Path(__file__).parents[3] / "docs"
PAGE = DOCS / "certificates.md"


@pytest.fixture(scope="module")
def text() -> str:
    return PAGE.read_text(encoding="utf-8")


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    return importlib.import_module("certificate_tables")


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def plain(header, rows) -> str:
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in (header, *rows)) + "\n"


def test_the_examples_run(text: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    certify, attack = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict = {}
    exec(certify, names)
    certificates = names["certificates"]
    assert isinstance(certificates, Certificates) and isinstance(names["ensemble"], AblatedEnsemble)
    accuracies = [certificates.certified_accuracy(names["y"], b) for b in ({}, {"pix": 1}, {"pix": 1, "fou": 1})]
    assert accuracies == sorted(accuracies, reverse=True) and accuracies[0] > 0.5 and accuracies[1] > 0.2
    assert "64" not in names["ensemble"].protocol and "no confidence level" in capsys.readouterr().out
    exec(attack, names)


def test_every_kind_of_masks_is_on_the_page(text: str) -> None:
    named = re.findall(r"^\| `(\w+)` \| [^|]*\| (?:yes|no) \|", text, re.MULTILINE)
    assert sorted(named) == sorted(kind.__name__ for kind in MASKS.values())
    for row in re.findall(r"^\| `\w+` \| [^|]*\| (?:yes|no) \|.*$", text, re.MULTILINE):
        name, _, estimated, edits, _ = cells(row)
        kind = next(kind for kind in MASKS.values() if kind.__name__ == name.strip("`"))
        assert (estimated == "no") == kind.exact and (edits == "all kinds") == kind.any_edits


def test_the_picture_of_votes_counts_right(text: str) -> None:
    rows = [row.split() for row in re.findall(r"^ +view \d((?: +[71]){4})", text, re.MULTILINE)]
    votes = np.array([[int(vote) for vote in row] for row in rows])
    assert votes.shape == (4, 4) and (votes == 7).sum() == 14
    right = votes == 7
    # What is left of 7 at the worst, less what the other class then has.
    row = min(2 * int(np.delete(right, touched, axis=0).sum()) - 16 for touched in range(4))
    both = min(
        2 * int(np.delete(np.delete(right, i, axis=0), j, axis=1).sum()) - 16 for i in range(4) for j in range(4)
    )
    assert (row, both) == (10 - 6, 7 - 9)


def test_limits_are_those_of_the_published_sizes(tables) -> None:
    lines = [cells(line) for line in tables.limits(plain).splitlines()]
    assert lines[1] == ["N = 100", "(8, 8) \\| (9, 9)", "(6, 18) \\| (6, 18)", "(8, 4) \\| (10, 5)", "(16, 32)"]
    assert lines[2][1].startswith("(10, 10)") and lines[2][3:] == ["(10, 5) \\| (12, 6)", "(27, 54)"]
    assert lines[3][4] == "(28, 56)" and lines[4][1:4] == ["(11, 11)", "(7, 21)", "(12, 6)"]


def test_hidden_words_certify_what_random_words_do(tables) -> None:
    lines = [cells(line) for line in tables.hybrid(plain).splitlines() if line]
    for words, random, hidden in lines[1:5]:
        assert float(random) == pytest.approx(float(hidden), rel=0.01), words
    assert [line[1] for line in lines[6:]] == ["3", "5", "11"]


def test_what_was_measured_becomes_tables(tables) -> None:
    results = DOCS.parent / "benchmarks" / "results"
    shown = tables.measured(results, plain)
    assert "Budgets: edits of `" in shown and "+" in shown
