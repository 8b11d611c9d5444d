"""Matrices of transfer: cells against attacks made by hand, and runs that are kept and gone on with."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import TinyEncoder

from art_multimodal import ZeroShotClassifier
from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.evasion import TransferAttack
from art_multimodal.errors import InputError
from art_multimodal.evaluations.transfer import NOISE, OTHERS, TransferSettings, run_transfer, transfer_matrix
from art_multimodal.store import opened_document, sealed_document

NAMES = ("cat", "dog", "bird")
EPS = 0.1
BUDGET = Budget("inf", EPS, 0.03, 4)


def classifiers(count: int) -> dict[str, ZeroShotClassifier]:
    encoders = (TinyEncoder(seed=seed, side=8 - seed) for seed in range(count))
    return {f"m{n}": ZeroShotClassifier(one.eval(), NAMES, device_type="cpu") for n, one in enumerate(encoders)}


def attack(surrogates: Any) -> TransferAttack:
    return TransferAttack(surrogates, eps=EPS, eps_step=0.03, max_iter=4, seed=0, verbose=False)


def samples(count: int, side: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((count, 3, side, side), dtype=np.float32), rng.integers(3, size=count)


@pytest.mark.parametrize("count", [2, 3])
def test_cells_are_what_attacks_by_hand_do(count: int) -> None:
    models, groups = classifiers(count), [samples(7, 8), samples(3, 10, seed=1)]
    *_, matrix = transfer_matrix(models, groups, attack, BUDGET)
    sources = [NOISE, *models, *([OTHERS] if count > 2 else [])]
    assert matrix.sources == sources and matrix.complete and len(matrix.cells) == len(sources) * count
    labels = np.concatenate([y for _, y in groups])
    for target, one in models.items():
        right = np.concatenate([one.predict_labels(x) == y for x, y in groups])
        assert matrix.accuracy(target) == right.mean()
        for source in sources[1:]:
            members = [m for name, m in models.items() if (name != target if source == OTHERS else name == source)]
            made = [attack(members).generate(x, y) for x, y in groups]
            said = np.concatenate([one.predict_labels(x) for x in made])
            cell = matrix.cells[source, target]
            expected = [
                "-" if not was else "1" if now != y else "0" for was, now, y in zip(right, said, labels, strict=True)
            ]
            assert cell.outcomes == "".join(expected)
            assert (cell.n, cell.fooled) == (right.sum(), expected.count("1")) and cell.white_box == (source == target)


def test_what_is_known_is_not_made_again() -> None:
    models, groups = classifiers(3), [samples(5, 8)]
    *_, whole = transfer_matrix(models, groups, attack, BUDGET)
    asked: list[int] = []

    def counting(surrogates: Any) -> TransferAttack:
        asked.append(len(surrogates))
        return attack(surrogates)

    done = [cell for cell in whole.cells.values() if cell.source != OTHERS]
    *_, again = transfer_matrix(models, groups, counting, BUDGET, done=done)
    assert asked == [2, 2, 2] and again.cells == whole.cells


def test_models_that_do_not_go_together() -> None:
    models = classifiers(2)
    with pytest.raises(InputError, match="needs two models at least"):
        next(transfer_matrix({"m0": models["m0"]}, [samples(2, 8)], attack, BUDGET))
    models["m1"] = ZeroShotClassifier(TinyEncoder(), ("a", "b"), device_type="cpu")
    with pytest.raises(InputError, match="m1 knows other classes"):
        next(transfer_matrix(models, [samples(2, 8)], attack, BUDGET))


SETTINGS = TransferSettings(("demo:digits", "demo:digits/robust"), "demo:digits", limit=6, steps=2, eps=16 / 255)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("matrix") / "whole"
    report = run_transfer(SETTINGS, folder, "cpu")
    assert report["complete"] and list(report["models"]) == ["digits", "digits_robust"]
    return folder


def test_the_files_of_a_run(whole: Path) -> None:
    report = opened_document((whole / "transfer.json").read_bytes())
    rows = list(csv.DictReader((whole / "transfer.csv").open()))
    assert len(rows) == len(report["cells"]) == 6
    for row, cell in zip(rows, report["cells"], strict=True):
        assert (row["source"], row["target"], int(row["fooled"])) == (cell["source"], cell["target"], cell["fooled"])
        assert float(row["rate"]) == cell["fooled"] / cell["n"] and len(cell["outcomes"]) == 6
    page, text = (whole / "report.html").read_text(), (whole / "report.md").read_text()
    assert page.count("background:rgba") == 6 and page.count("outline:") == 2
    assert "| noise | 0.0 %" in text and "digits\\_robust" in text and "not finished" not in text
    with pytest.raises(InputError, match="holds a matrix of transfer already"):
        run_transfer(SETTINGS, whole, "cpu")


def test_a_run_goes_on(whole: Path, tmp_path: Path) -> None:
    report = opened_document((whole / "transfer.json").read_bytes())
    (tmp_path / "transfer.json").write_text(
        sealed_document({**report, "complete": False, "cells": report["cells"][:4]})
    )
    done: list[str] = []
    again = run_transfer(replace(SETTINGS, batch_size=3), tmp_path, "cpu", resume=True, progress=done.append)
    assert done == ["digits_robust"] and again["cells"] == report["cells"]
    for changes in ({"steps": 3}, {"limit": 5}, {"seed": 1}):
        with pytest.raises(InputError, match="matrix to resume had other settings"):
            run_transfer(replace(SETTINGS, **changes), tmp_path, "cpu", resume=True)


@pytest.mark.parametrize("damage", ["cut", "changed", "samples", "letters", "names"])
def test_a_damaged_file_is_not_gone_on_with(whole: Path, tmp_path: Path, damage: str) -> None:
    text = (whole / "transfer.json").read_text()
    report = opened_document(text.encode())
    cell = report["cells"][0]
    if damage == "cut":
        text = text[: len(text) // 2]
    elif damage == "changed":
        text = text.replace('"steps": 2', '"steps": 3')
    else:
        cell |= {"samples": {"outcomes": "01"}, "letters": {"outcomes": "01x01-"}, "names": {"target": "other"}}[damage]
        text = sealed_document(report)
    (tmp_path / "transfer.json").write_text(text)
    with pytest.raises(InputError, match="cannot be gone on with: .*Choose another --out"):
        run_transfer(SETTINGS, tmp_path, "cpu", resume=True)
    assert (tmp_path / "transfer.json").read_text() == text


def test_replacing(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "transfer.json").write_text("{}")
    run_transfer(SETTINGS, tmp_path, "cpu", overwrite=True)
    assert json.loads((tmp_path / "transfer.json").read_text())["complete"]
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="thesis.txt, which is not of a matrix"):
        run_transfer(SETTINGS, tmp_path, "cpu", overwrite=True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"models": ("demo:digits",)}, "needs two models at least"),
        ({"models": ("demo:digits", "demo:digits")}, "named twice"),
        ({"models": ("demo:digits", "demo:shapes/late")}, "by itself: art-multimodal audit MODEL"),
        ({"eps": 4.0}, "eps must be greater than 0"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"decay": 2.0}, "decay must be in"),
        ({"ensemble": "votes"}, "ensemble must be one of"),
    ],
)
def test_settings_that_are_none(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        run_transfer(replace(SETTINGS, **changes), tmp_path / "out", "cpu")
    assert not (tmp_path / "out").exists()
