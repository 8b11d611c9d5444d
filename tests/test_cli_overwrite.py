"""``--overwrite``: a run is replaced, and nothing else is ever removed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from art_multimodal import cli

BASE = ["audit", "demo:digits", "--data", "demo:digits", "--attacks", "pgd", "--steps", "2", "--device", "cpu"]


def audit(out: Path, *more: str) -> int:
    return cli.main([*BASE, "--out", str(out), "--limit", "6", "--eps", "16/255", *more])


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def seed_of(folder: Path) -> int:
    return json.loads((folder / "report.json").read_text())["settings"]["seed"]


def test_a_run_is_replaced_by_what_it_would_be_elsewhere(tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert audit(out) == 0
    assert list((out / "pictures").iterdir())
    for left_by_a_kill in ("log.0.jsonl", ".report.json.part"):
        (out / left_by_a_kill).write_text("")
    assert audit(out, "--seed", "1") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert audit(out, "--seed", "1", "--overwrite") == 0 and seed_of(out) == 1
    assert audit(tmp_path / "fresh", "--seed", "1", "--overwrite") == 0
    assert set(files(out)) == set(files(tmp_path / "fresh"))


@pytest.mark.parametrize(
    "foreign", ["notes.txt", "pictures/cat.png", "cats/1.png", "1-cats/1.png", "link", "pictures/l"]
)
def test_other_files_are_never_removed(tmp_path: Path, capsys, foreign: str) -> None:
    out = tmp_path / "out"
    assert audit(out) == 0
    (out / foreign).parent.mkdir(exist_ok=True)
    if foreign in ("link", "pictures/l"):
        (tmp_path / "precious").write_text("mine")
        (out / foreign).symlink_to(tmp_path / "precious")
    else:
        (out / foreign).write_text("mine")
    before = files(tmp_path)
    capsys.readouterr()
    assert audit(out, "--seed", "1", "--overwrite") == 2
    err = capsys.readouterr().err
    assert "which is not of an audit" in err and err.count("\n") == 1
    assert files(tmp_path) == before


def test_pictures_that_are_a_link_are_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert audit(out) == 0
    (out / "pictures").rename(tmp_path / "elsewhere")
    (out / "pictures").symlink_to(tmp_path / "elsewhere")
    before = files(tmp_path)
    assert audit(out, "--overwrite") == 2
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    "more", [["--resume"], ["--attacks", "pgdd"], ["--eps", "8"], ["--fail-under", "square.accuracy=0.1"]]
)
def test_what_cannot_be_used_removes_nothing(tmp_path: Path, more) -> None:
    out = tmp_path / "out"
    assert audit(out) == 0
    before = files(out)
    assert audit(out, "--overwrite", *more) == 2
    assert files(out) == before


def test_one_model_after_several_and_the_other_way_round(tmp_path: Path) -> None:
    out = tmp_path / "out"
    several = [BASE[0], "demo:digits/robust", *BASE[1:], "--out", str(out), "--limit", "4"]
    assert cli.main(several) == 0
    assert len([path for path in out.iterdir() if path.is_dir()]) == 2
    assert audit(out) == 2
    assert audit(out, "--overwrite") == 0
    assert [path.name for path in out.iterdir() if path.is_dir()] == ["pictures"]
    assert cli.main([*several, "--overwrite"]) == 0
    assert not (out / "run.json").exists() and len([path for path in out.iterdir() if path.is_dir()]) == 2


TRAIN = ["--data", "demo:digits", "--limit", "12", "--epochs", "1", "--steps", "1", "--device", "cpu", "--eps", "1/255"]


def train(out: Path, *more: str, model: str = "demo:digits") -> int:
    return cli.main(["train", "tecoa", model, *TRAIN, "--out", str(out), *more])


def test_a_training_run_is_replaced(tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert train(out, "--tensorboard") == 0
    before = files(out)
    assert train(out, "--seed", "1") == 2
    assert "replace it by --overwrite" in capsys.readouterr().err
    for model in (f"checkpoint:{out}", f"checkpoint:{out}/last"):
        assert train(out, "--overwrite", model=model) == 2
        assert "which --overwrite would remove" in capsys.readouterr().err
    assert train(out, "--overwrite", "--resume") == 2
    assert train(out, "--overwrite", "--steps", "0") == 2
    assert files(out) == before
    assert train(out, "--overwrite", "--seed", "1") == 0
    assert json.loads((out / "training.json").read_text())["settings"]["training"]["seed"] == 1
    assert not (out / "tensorboard").exists()
    # What a checkpoint does not list was put there by somebody.
    for foreign in ("best/mine.txt", "state/mine.txt", "mine.txt", "last/more/mine.txt"):
        (out / foreign).parent.mkdir(exist_ok=True)
        (out / foreign).write_text("mine")
        before = files(out)
        assert train(out, "--overwrite") == 2 and files(out) == before
        assert foreign.partition("/")[0] in capsys.readouterr().err
        (out / foreign).unlink()
