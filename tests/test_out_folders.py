"""Where runs may write."""

from __future__ import annotations

from pathlib import Path

import pytest

from art_multimodal.errors import InputError
from art_multimodal.out_folders import check_apart, check_no_strangers, is_run_folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos" / "dog").mkdir(parents=True)
    return tmp_path / "photos"


def test_beside_the_data_is_fine(photos: Path, monkeypatch) -> None:
    for out in (photos.parent / "audit", photos.parent / "photos2", Path("elsewhere"), photos.parent / "deep" / "er"):
        check_apart(out, [photos])
    monkeypatch.chdir(photos.parent)
    check_apart(Path("audit"), [Path("photos")])
    check_apart(Path("audit"), [])
    # A folder whose name cannot be is none to keep clear of.
    check_apart(Path("audit"), [Path("a\0b"), Path("x" * 300)])


def test_in_above_and_equal_are_refused(photos: Path, monkeypatch) -> None:
    (photos.parent / "link").symlink_to(photos)
    monkeypatch.chdir(photos)
    for out, how in (
        (photos, "is the folder"),
        (photos / "audit", "is in the folder"),
        (photos / "dog" / "audit", "is in"),
        (photos.parent, "is above"),
        (photos.parent / "link", "is the folder"),
        (photos.parent / "link" / "audit", "is in"),
        (photos / ".." / "photos", "is the folder"),
        (Path("audit"), "is in"),
        (Path(), "is the folder"),
    ):
        with pytest.raises(InputError, match=how):
            check_apart(out, [photos])
    with pytest.raises(InputError, match="cannot be used"):
        check_apart(Path("a\0b"), [photos])


def test_folders_of_runs_are_known() -> None:
    assert is_run_folder(["run.json", "log.jsonl"]) and is_run_folder(["training.json"])
    assert is_run_folder(["report.json", "report.md", "report.html", "1-demo"])
    assert not is_run_folder(["run.json", "a.png"]) and not is_run_folder(["report.json"]) and not is_run_folder([])


def test_other_files_are_no_company(tmp_path: Path) -> None:
    out = tmp_path / "out"
    check_no_strangers(out)
    (out / "pictures").mkdir(parents=True)
    check_no_strangers(out)
    for name in ("1-demo/run.json", "1-demo/log.jsonl", "report.json", "run.json.tmp", ".DS_Store", "log.1.jsonl"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("")
        check_no_strangers(out)
    for name in ("notes.txt", "photos/a.png"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("")
        with pytest.raises(InputError, match=f"holds files that are of no run, such as {name.split('/')[0]}"):
            check_no_strangers(out)
        (out / name).unlink()
        if "/" in name:
            (out / name).parent.rmdir()
    # A run that is there already is none of this one's business.
    (out / "notes.txt").write_text("")
    (out / "run.json").write_text("")
    check_no_strangers(out)
