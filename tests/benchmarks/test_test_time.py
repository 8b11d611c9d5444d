"""The measurement of test-time defences in miniature, and what its results promise."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from art_multimodal import InputError
from art_multimodal.defences.test_time import LayerStatistics, TestTimeAdversarialPromptTuning
from benchmarks.test_time import __main__ as study
from benchmarks.test_time import cells, defences, longer, models, ranking, store, tables, training

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "results" / "test_time.json"


@pytest.fixture
def miniature(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (defences, models):
        monkeypatch.setattr(module, "IMAGES", 6)
    monkeypatch.setattr(defences, "FEWER", {"ttc": 4, "tapt": 2})

    def tapt(bare: Any, images: np.ndarray) -> TestTimeAdversarialPromptTuning:
        return TestTimeAdversarialPromptTuning(LayerStatistics.of(bare, images[:8]), views=2, selected=0.5)

    monkeypatch.setitem(defences.DEFENCES, "tapt", tapt)
    for module, name, value in (
        *((module, "STEPS", 2) for module in (models, cells)),
        *((models, name, 2) for name in ("TRANSFER_STEPS", "UNIVERSAL_STEPS", "TOWER_EPOCHS")),
        (cells, "QUERIES", 6),
    ):
        monkeypatch.setattr(module, name, value)
    models._other_tower.cache_clear()


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import test_time_tables

    return test_time_tables


def markdown(header: Any, rows: Any) -> str:
    return "\n".join(" | ".join(map(str, row)) for row in (header, *rows))


@pytest.mark.usefixtures("miniature")
def test_cells_are_kept_and_tables_are_made_of_them(tmp_path: Path, page: Any) -> None:
    where = ["--cells", str(tmp_path / "cells")]
    chosen = ["--models", "demo:digits", "--defences", "none", "purification", "ttc", "tapt", "--seeds", "0", "1"]
    study.main([*where, *chosen])
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "cells").rglob("*")}
    assert sum(file.suffix == ".json" for file in files) == 8 and not any(file.suffix == ".claimed" for file in files)
    # What is there is not computed again.
    study.main([*where, *chosen])
    assert {file: file.stat().st_mtime_ns for file in files} == files
    result = tables.main([*where, "--out", str(tmp_path / "test_time.json")])
    assert json.loads((tmp_path / "test_time.json").read_text()) == result
    assert str(tmp_path) not in (tmp_path / "test_time.json").read_text()
    whole, alone = result["tables"]
    assert [row[:2] for row in whole["rows"]] == [
        *(["`none`", "6 x 2"], ["`purification`", "6 x 2"], ["`ttc`", "4 x 2"], ["`tapt`", "2 x 2"])
    ]
    for table in (whole, alone):
        assert all(len(row) == len(table["header"]) for row in table["rows"])
    assert {row["defence"] for row in result["ranking"]["demo:digits"]} == {"none", "purification", "ttc", "tapt"}
    assert result["cells"]["measured"] == 8 and "8 of" in result["protocol"]
    # Who has all marks is never named without saying against what.
    standing = result["standing"]["demo:digits"]
    standing["ttc"] = dict.fromkeys(standing["ttc"], True)
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "test_time.json").write_text(json.dumps(result))
    said = next(line for line in page.summary(tmp_path / "all").splitlines() if "`ttc`" in line and "needed" in line)
    assert "[Longer ones]" in said and "not shown to be robust" in said
    # All parts of the page can be written of what there is.
    assert "8 of" in page.summary(tmp_path)
    assert f"`tapt` | 1; does not fit cifar, cifar/{training.ROBUST} | " in page.ranking(tmp_path, markdown)
    for write in (page.broken, page.effects, page.ranking, page.training, page.survive):
        assert write(tmp_path, markdown).strip()


@pytest.mark.usefixtures("miniature")
def test_a_cell_that_fails_can_be_claimed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("out of paper")

    monkeypatch.setattr(study, "measured", fails)
    with pytest.raises(RuntimeError, match="out of paper"):
        study.main(["--cells", str(tmp_path), "--models", "demo:digits", "--defences", "none"])
    assert store.claimed(store.cell_of(tmp_path, "demo:digits", "none", 0))


@pytest.mark.usefixtures("miniature")
def test_models_are_trained_once_for_each_seed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (
        ("DATA", folder),
        ("FOLDER", tmp_path / "models"),
        *(("EPOCHS", 4), ("BATCH_SIZE", 32), ("ROBUST_EPOCHS", 1), ("ROBUST_IMAGES", 80), ("LANGUAGE_STEPS", 30)),
    ):
        monkeypatch.setattr(training, name, value)
    training.language_model.cache_clear()
    try:
        where = ["--cells", str(tmp_path / "cells"), "--seeds", "0", "--defences", "none", "et3", "tapt"]
        study.main([*where, "--models", "cifar", f"cifar/{training.ROBUST}"])
        kept = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "models").glob("*.safetensors")}
        # The surrogates are those of the next seed.
        assert sorted(kept) == sorted(
            [
                f"{name}-{seed}-4{more}.safetensors"
                for seed in (0, 1)
                for name, more in (("plain", ""), ("joint-anchored", "-1"))
            ]
        )
        plain, seconds = training.plain(0)
        robust, more = training.robust(0)
        assert seconds > 0 and more > 0
        assert any(
            (a != b).any() for a, b in zip(plain.state_dict().values(), robust.state_dict().values(), strict=True)
        )
        assert {file.name: file.stat().st_mtime_ns for file in (tmp_path / "models").glob("*.safetensors")} == kept
        result = tables.main([*where[:2], "--out", str(tmp_path / "test_time.json")])
        # What was said without training is what the trained model says.
        problem = models.PROBLEMS["cifar"](0)
        with pytest.raises(InputError) as refused:
            defences.defence_of("tapt", problem.bare, problem.others)
        why = str(refused.value)
    finally:
        training.language_model.cache_clear()
    of = {row["defence"]: row for row in result["training"]}
    assert set(of) == {"none", "et3"} and of["none"]["even"] is None
    assert result["standing"]["cifar"]["et3"]["training"] is not None
    assert result["standing"][f"cifar/{training.ROBUST}"]["et3"]["training"] is None
    # What does not fit has no cell, is not missing, and is named with the reason.
    both = ("cifar", f"cifar/{training.ROBUST}")
    assert "image tower whose layers are known" in why and result["misfits"] == {model: {"tapt": why} for model in both}
    said = capsys.readouterr().out
    assert all(f"{model}, tapt: does not fit. {why}" in said for model in both)
    assert not [*(tmp_path / "cells").rglob("tapt*")]
    assert result["cells"] == {"measured": 4, "planned": 3 * (4 * len(defences.DEFENCES) - 2)}
    assert all("tapt" not in result["values"][model] for model in both)
    assert [row[1] for row in result["tables"][0]["rows"]] == ["6 x 1", "6 x 1", "does not fit"]
    assert f"`tapt` does not fit {' and '.join(both)}, and has no cell there. {why}" in page.summary(tmp_path)
    assert "of 2 pairs" in page.summary(tmp_path)
    assert page.effects(tmp_path, markdown).count("does not fit") == 2


def test_an_image_is_right_in_the_worst_case_if_it_is_under_each_attack() -> None:
    rng = np.random.default_rng(0)
    cell = {name: rng.random(50) < 0.9 for name in ("clean", *cells.UNAWARE, *cells.ADAPTIVE)}
    said = cells.together(cell)
    for image in range(50):
        assert said["worst"][image] == all(of[image] for of in cell.values())
        assert said["adaptive"][image] == all(cell[name][image] for name in ("naive", *cells.ADAPTIVE))


def test_differences_are_of_the_same_images_and_seeds() -> None:
    rng = np.random.default_rng(0)

    def by_seed(share: float, images: int, seeds: int) -> ranking.Cells:
        return {seed: {"worst": rng.random(images) < share} for seed in range(seeds)}

    one, other = by_seed(0.8, 30, 3), by_seed(0.5, 20, 2)
    share, _ = ranking.paired(one, other, "worst")
    by_hand = [one[s]["worst"][i] * 1.0 - other[s]["worst"][i] for s, i in product(range(2), range(20))]
    assert np.isclose(share.value, np.mean(by_hand))
    assert ranking.paired(by_seed(0.5, 20, 1), {1: one[1]}, "worst") is None
    # Of few images the p is that of all signs.
    few, others = ({s: {"worst": rng.random(10) < share} for s in range(2)} for share in (0.9, 0.4))
    _, p = ranking.paired(few, others, "worst")
    sums = sum(few[s]["worst"].astype(int) - others[s]["worst"] for s in range(2))
    flipped = np.array([np.dot(signs, sums) for signs in product((-1, 1), repeat=10)])
    assert abs(p - (np.abs(flipped) >= abs(sums.sum())).mean()) < 0.01


def test_ranks_and_marks() -> None:
    rng = np.random.default_rng(0)
    right = {"none": 0.3, "better": 0.9, "alike": 0.3}
    of = {
        name: {s: {"worst": rng.random(300) < share, "naive": rng.random(300) < 0.9} for s in range(3)}
        for name, share in right.items()
    }
    rows = ranking.ranking(of)
    assert rows[0]["defence"] == "better" and rows[0]["like"] == []
    gains = {row["defence"]: row for row in rows if "gain" in row}
    assert gains["better"]["p"] < 0.001 and gains["better"]["gain"]["ci95"][0] > 0.5
    assert "none" in gains["alike"]["like"]
    total = ranking.overall({"a": rows, "b": rows})
    assert [one["defence"] for one in total] == ["better", "alike"] and total[0]["models"] == 2
    # What one model lacks is compared with nothing: it stands below, without a place.
    less = ranking.overall({"a": rows, "b": [row for row in rows if row["defence"] != "better"]})
    assert [(one["defence"], one["place"]) for one in less] == [("alike", 1), ("better", None)]

    def columns(**values: float) -> dict[str, dict[str, float]]:
        return {name: {"value": value} for name, value in values.items()}

    unaware = {"transfer": 0.9, "universal": 0.9, "noise": 0.9}
    fine = columns(clean=0.9, naive=0.8, cross_entropy=0.5, margin=0.52, bpda=0.7, square=0.8, informed=0.4, **unaware)
    assert ranking.doubts(fine, None) == []
    odd = columns(clean=0.7, naive=0.3, cross_entropy=0.5, margin=0.6, bpda=0.7, square=0.4, informed=0.35, **unaware)
    assert ranking.doubts(odd, {"value": 0.2}) == ["black_box", "unaware", "apart", "lottery"]
    assert ranking.doubts({**fine, **columns(bpda=0.95)}, {"value": 0.005}) == ["above_clean"]
    assert ranking.agreement(odd) == {"strongest": "naive", "second": "square", "agree": False}


def test_what_was_measured_holds_what_is_promised() -> None:
    """On every model: adaptive at most naive, the worst at most clean; and where attacks that know fail, it is said."""
    files = [*store.CELLS.rglob("*.json")]
    assert files
    result = json.loads(RESULT.read_text())
    for model in result["values"]:
        for name, by_seed in tables.read(store.CELLS, model).items():
            for cell in by_seed.values():
                attacks = [one for one in (*cells.UNAWARE, *cells.ADAPTIVE) if one in cell]
                assert len({len(cell[one]) for one in ("clean", *attacks)}) == 1
                assert len(cell["clean"]) == min(defences.images_of(name), 500)
                assert not models.misfit(model, name)
                for attack in attacks:
                    assert cell["worst"].sum() <= min(cell["clean"].sum(), cell[attack].sum())
                assert cell["adaptive"].sum() <= cell["naive"].sum()
                assert not np.isnan([of.mean() for of in cell.values()]).any()
    for by_name in result["values"].values():
        for name, of in by_name.items():
            value = {column: one["value"] for column, one in of["columns"].items()}
            assert value["worst"] <= min(value["clean"], value["adaptive"]) and value["adaptive"] <= value["naive"]
            if name != "none":
                weak = value["informed"] > value["naive"] + ranking.SLACK
                assert weak == ("unaware" in of["doubts"])


def test_the_page_is_of_the_cells() -> None:
    """What the page shows is what the cells say now."""
    written, now = json.loads(RESULT.read_text()), tables.result_of(store.CELLS)
    assert written["misfits"] == now["misfits"] and written["tables"][-2]["rows"][-1][1] == "does not fit"
    assert written["cells"] == now["cells"] and written["values"].keys() == now["values"].keys()
    for model, by_name in now["values"].items():
        for name, of in by_name.items():
            kept = written["values"][model][name]["columns"]
            assert kept.keys() == of["columns"].keys()
            for column, estimate in of["columns"].items():
                said, is_now = ([one["value"], *one["ci95"]] for one in (kept[column], estimate))
                assert said == pytest.approx(is_now, abs=2e-4), (model, name, column)


def test_sentences_of_the_page(page: Any) -> None:
    columns = {"naive": 0.9, "square": 0.4, "cross_entropy": 0.5, "asked": 0.6, "worst": 0.3}
    of = {
        "columns": {name: {"value": value} for name, value in columns.items()},
        "agreement": {"strongest": "square", "second": "cross_entropy", "agree": False},
        "doubts": ["above_clean"],
    }
    assert page._broken_row("ttc", of) == [
        "`ttc`",
        "90.0",
        "Square: 40.0",
        "unrolled, cross-entropy: 50.0, does not agree",
        "60.0",
        "30.0",
        "60.0 points",
        "attacked above clean",
    ]
    assert page.NAMES["naive"] == "naive"  # beside a column of that name; transfer is another one
    assert page.signed({"value": -0.05, "ci95": [-0.1, 0.0]}) == "-5.0 (-10.0 to +0.0)"


@pytest.mark.usefixtures("miniature")
def test_longer_descents_count_beside_those_of_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("IMAGES", 4), ("STEPS", 2), ("NAMES", ("purification", "none"))):
        monkeypatch.setattr(longer, name, value)
    chosen = ["--models", "demo:digits", "--defences", "purification"]
    study.main(["--cells", str(tmp_path / "cells"), *chosen, "--seeds", "0"])
    kept, out = tmp_path / "longer", tmp_path / "longer.json"
    given = ["--study", str(tmp_path / "cells"), "--cells", str(kept), "--out", str(out), *chosen]
    longer.main(given)
    (row,) = json.loads(out.read_text())["tables"][0]["rows"]
    found = store.load(store.cell_of(kept, "demo:digits", "purification", 0))
    assert row[:2] == ["`purification`", "demo:digits"] and set(found) == set(longer.LOSSES)
    # Nobody is right behind all who is wrong behind one.
    file = store.cell_of(kept, "demo:digits", "purification", 0)
    store.save(file, {loss: np.zeros(4, bool) for loss in longer.LOSSES})
    longer.main(given)
    (row,) = json.loads(out.read_text())["tables"][0]["rows"]
    assert [cell.split(" ")[0] for cell in row[4:]] == ["0.0", "0.0", "0.0"]


def test_what_is_published_of_longer_descents_is_what_their_cells_say() -> None:
    (table,) = json.loads(longer.RESULTS.read_text(encoding="utf-8"))["tables"]
    assert table["rows"] == longer.rows_of(store.CELLS, longer.LONGER_CELLS) and table["rows"]
