"""Folders of training runs that were changed, planted or damaged."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from art_multimodal.defences.trainer.checkpoint import load_checkpoint
from art_multimodal.errors import InputError
from art_multimodal.store import FolderLock, sealed_document

from .runs import start


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("done") / "out"
    start(out).run()
    return out


@pytest.fixture
def folder(done: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "out"))


def test_a_complete_run_keeps_its_lines_and_changes_nothing(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert len((folder / "steps.jsonl").read_text().splitlines()) > 1
    start(folder, resume=True).run()
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("best", "the model of the best epoch"),
        ("last", r"the model of the last epoch \(\d+\), is gone, and the training is complete"),
        ("state", "would go on, is gone"),
    ],
)
def test_what_nothing_makes_again_is_missed(folder: Path, name: str, said: str) -> None:
    shutil.rmtree(folder / name)
    with pytest.raises(InputError, match=said):
        start(folder, resume=True)


def test_an_edited_step_is_refused_by_its_line(folder: Path) -> None:
    (folder / "state").rename(folder / "away")
    lines = (folder / "steps.jsonl").read_text().splitlines()
    lines[1] = lines[1].replace('"loss":', '"loss":1')
    (folder / "steps.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "away").rename(folder / "state")
    with pytest.raises(InputError, match=r"^Line 2 of .*steps\.jsonl is damaged: it was changed"):
        list(start(folder, resume=True).folder.steps.lines())


@pytest.mark.parametrize(
    "history",
    [None, {}, [1], [{"epoch": "0"}], [{"epoch": 0, "step": 0, "attacked": 1.0}], [{"epoch": 0, "step": "x"}]],
)
@pytest.mark.parametrize("sealed", [True, False])
def test_a_history_that_no_run_has_is_refused(folder: Path, history: object, sealed: bool) -> None:
    value = json.loads((folder / "training.json").read_text()) | {"history": history}
    if sealed:
        value.pop("checksum")
    (folder / "training.json").write_text(sealed_document(value) if sealed else json.dumps(value))
    with pytest.raises(InputError, match=r"training\.json cannot be read"):
        start(folder, resume=True)


@pytest.mark.parametrize(
    "name", ["training.json", "steps.jsonl", "best", "last", "state", ".best.part", ".last.old", "tensorboard"]
)
def test_links_are_not_followed(folder: Path, tmp_path: Path, name: str) -> None:
    path = folder / name
    if path.exists():
        path.rename(tmp_path / "away")
    path.symlink_to(tmp_path / "away")
    with pytest.raises(InputError, match="is a link, and links in the folder of a run are not followed"):
        start(folder, resume=True)


@pytest.mark.parametrize("name", ["training.json", "steps.jsonl"])
def test_hard_links_are_not_followed(folder: Path, tmp_path: Path, name: str) -> None:
    os.link(folder / name, tmp_path / "outside")
    content = (tmp_path / "outside").read_bytes()
    with pytest.raises(InputError, match=r"^[^\n]*is a hard link[^\n]*Put a copy in its place[^\n]*$"):
        start(folder, resume=True)
    assert (tmp_path / "outside").read_bytes() == content


def test_a_checkpoint_that_is_a_hard_link_is_not_read(folder: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted((folder / "state").iterdir())):
        os.link(path, tmp_path / f"outside-{number}")
        with pytest.raises(InputError, match=r"The checkpoint in .* cannot be read: .*hard link"):
            load_checkpoint(folder / "state")
        (tmp_path / f"outside-{number}").unlink()
    assert load_checkpoint(folder / "state").step


def test_saved_models_may_be_hard_links(folder: Path, tmp_path: Path) -> None:
    """They are replaced as a whole, and never written in place."""
    for name in ("best", "last"):
        for path in (folder / name).iterdir():
            os.link(path, tmp_path / f"{name}-{path.name}")
    start(folder, resume=True).run()


def test_one_command_at_a_time(folder: Path) -> None:
    run = start(folder, resume=True)
    with FolderLock(folder) as lock:
        lock.take()
        with pytest.raises(InputError, match="Another command is writing to"):
            run.run()
    start(folder, resume=True).run()
