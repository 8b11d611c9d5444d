"""Folders of runs that were changed, planted, damaged, or are in use."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from audits import header_of, line_of, read_report, run_audit, sealed, timeless
from PIL import Image

from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit import Audit, AuditSettings, RunLog, write_reports
from art_multimodal.evaluations.audit.pictures import are_whole
from art_multimodal.store.lock import LOCK_FILE, FolderLock

SETTINGS = AuditSettings(
    model="demo:digits",
    data="demo:digits",
    attacks="pgd",
    eps=0.5,
    steps=2,
    limit=4,
    batch_size=2,
    group_size=2,
    seed=3,
)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_audit(SETTINGS, tmp_path_factory.mktemp("done") / "out").folder


@pytest.fixture
def folder(done: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "out"))


def resumed(folder: Path) -> dict[str, Any]:
    return write_reports(Audit(SETTINGS, folder, device="cpu").evaluate(resume=True))


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("line", [0, 1, 3])
def test_an_edited_line_is_refused_by_its_number(folder: Path, line: int) -> None:
    lines = (folder / "log.jsonl").read_text().splitlines()
    value = json.loads(lines[line])
    value["samples"][0]["predicted"] = (value["samples"][0]["predicted"] + 1) % 10
    lines[line] = json.dumps(value, separators=(",", ":"))
    (folder / "log.jsonl").write_text("\n".join(lines) + "\n")
    before = (folder / "log.jsonl").read_bytes()
    with pytest.raises(InputError, match=rf"^Line {line + 1} of .*log\.jsonl is damaged: it was changed"):
        resumed(folder)
    assert (folder / "log.jsonl").read_bytes() == before


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    log = RunLog.create(tmp_path, header_of("pgd"))
    whole = sealed(line_of("clean", 0, {"index": 0}))
    for place in range(len(whole) - 1):
        (tmp_path / "log.jsonl").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(InputError, match="Line 1 of"):
            list(log.lines())


@pytest.mark.parametrize("name", ["run.json", "report.json"])
def test_an_edited_header_is_refused_and_an_edited_report_written_anew(folder: Path, name: str) -> None:
    value = json.loads((folder / name).read_text())
    value["data"]["class_names"][0] = "edited"
    (folder / name).write_text(json.dumps(value))
    if name == "run.json":
        with pytest.raises(InputError, match=r"run\.json cannot be read \(it was changed: its checksum does not fit\)"):
            resumed(folder)
    else:
        assert resumed(folder)["data"]["class_names"][0] == "zero"


def _with(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda line: {**line, **changes}


def _sample(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda line: {**line, "samples": [{**line["samples"][0], **changes}, *line["samples"][1:]]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_with(batch="0"), "batch of the line must be a whole number"),
        (_with(batch=-1), "batch of the line must be a whole number"),
        (_with(attack="\x1b[31m"), r"\\x1b\[31m is none of the attacks"),
        (_with(attack=["pgd"]), "attack of the line must be a string"),
        (_with(seconds=1e300), "seconds of the line must be a number"),
        (_with(samples={}), "samples of the line must be a list"),
        (_with(samples=[None]), "a sample is not an object"),
        (_with(not_applicable=[10**6]), "not_applicable of the line must be a whole number"),
        (_with(flags=[1]), "flags of the line must be an object"),
        (_sample(index=10**6), "index of a sample must be a whole number from 0 to 539"),
        (_sample(index=True), "index of a sample"),
        (_sample(predicted=10), "predicted of a sample must be a whole number from 0 to 9"),
        (_sample(label=None), "label of a sample"),
        (_sample(size=[0, 4]), "size of a sample"),
        (_sample(name=5), "name of a sample"),
        (_sample(texts=[["a"]]), "texts of a sample"),
        (_sample(share_removed="x"), "share_removed of a sample"),
        (_sample(share_removed=0.5), "a sample with removals has no pixels"),
        (lambda line: {key: value for key, value in line.items() if key != "queries"}, "the line has no queries"),
        (lambda line: {**line, "samples": line["samples"][:1] * 2}, "stands there twice"),
    ],
)
def test_lines_that_say_what_no_run_says_are_refused(folder: Path, change: Callable, said: str) -> None:
    """Their checksums fit: somebody means it."""
    lines = lines_of(folder)
    lines[1] = change(lines[1])
    (folder / "log.jsonl").write_bytes(sealed(*lines))
    with pytest.raises(InputError, match=rf"^Line 2 of .* is damaged: .*{said}"):
        resumed(folder)


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ([1, 2, 3], "no line before it that says what batch 0 was"),
        ([0, 1, 3], "no line before it that says what batch 1 was"),
    ],
)
def test_lines_that_do_not_belong_together_are_refused(folder: Path, order: list[int], said: str) -> None:
    lines = lines_of(folder)
    (folder / "log.jsonl").write_bytes(sealed(*(lines[place] for place in order)))
    with pytest.raises(InputError, match=said):
        resumed(folder)
    lines[1]["samples"][0]["label"] = (lines[1]["samples"][0]["label"] + 1) % 10
    (folder / "log.jsonl").write_bytes(sealed(*lines))
    with pytest.raises(InputError, match="is another one than before the attacks"):
        resumed(folder)


@pytest.mark.parametrize(
    "name",
    [
        *("run.json", "log.jsonl", "report.json", "report.md", "report.html", "log.0.jsonl", LOCK_FILE, "pictures"),
        *(".report.json.part", "report.json.tmp", ".run.json.part", ".log.jsonl.part"),
    ],
)
def test_links_are_not_followed(folder: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("somebody else's")
    path = folder / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(outside if name == "pictures" else outside / "secret")
    try:
        resumed(folder)
    except InputError as error:
        assert "link" in str(error) or "Too many levels" in str(error)
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"secret": "somebody else's"}
    for report in folder.glob("report.*"):
        assert report.is_symlink() or "somebody else's" not in report.read_text()


@pytest.mark.parametrize("name", ["run.json", "log.jsonl", "log.0.jsonl", LOCK_FILE])
def test_hard_links_are_not_followed(folder: Path, tmp_path: Path, name: str) -> None:
    """What is outside is whole and would fit; still it is neither read nor held, and nothing is added to it."""
    path, outside = folder / name, tmp_path / "outside"
    if name == "log.jsonl":
        path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    path.touch()
    os.link(path, outside)
    content = outside.read_bytes()
    with pytest.raises(InputError, match=r"^[^\n]*hard link[^\n]*--out[^\n]*$"):
        resumed(folder)
    assert outside.read_bytes() == content
    with outside.open("r+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("name", ["report.json", "report.md", "report.html", ".run.json.part"])
def test_hard_links_in_the_place_of_what_is_replaced_do_no_harm(folder: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.write_text("somebody else's")
    (folder / name).unlink(missing_ok=True)
    os.link(outside, folder / name)
    resumed(folder)
    assert outside.read_text() == "somebody else's"
    assert name.startswith(".") or "somebody else's" not in (folder / name).read_text()


def test_a_new_run_does_not_begin_with_the_lines_of_a_hard_link(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "outside").touch()
    os.link(tmp_path / "outside", tmp_path / "out" / "log.jsonl")
    with pytest.raises(InputError, match="hard link"):
        RunLog.create(tmp_path / "out", {"schema_version": 1})
    assert (tmp_path / "outside").read_bytes() == b""


def test_pictures_that_are_links_stay_where_they_are(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (5, 7), (1, 2, 3)).save(secret)
    content = secret.read_bytes()
    names = sorted(path.name for path in (folder / "pictures").iterdir())
    assert names
    for name in names:
        (folder / "pictures" / name).unlink()
        (folder / "pictures" / name).symlink_to(secret)
    resumed(folder)
    assert secret.read_bytes() == content
    assert base64.b64encode(content).decode() not in (folder / "report.html").read_text()


def test_a_link_may_lead_to_the_folder_itself(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to(folder)
    assert timeless(resumed(tmp_path / "here")) == timeless(read_report(folder))


@pytest.mark.parametrize("damage", ["gone", "cut", "other", "link", "hard link"])
def test_damaged_pictures_of_a_resumed_run_are_made_again(folder: Path, damage: str) -> None:
    pictures = {path.name: path.read_bytes() for path in (folder / "pictures").iterdir()}
    page, log = (folder / "report.html").read_text(), (folder / "log.jsonl").read_bytes()
    assert pictures
    for name in pictures:
        path = folder / "pictures" / name
        path.unlink()
        if damage == "cut":
            path.write_bytes(pictures[name][:60])
        elif damage == "other":
            path.write_text("not a picture")
        elif damage == "link":
            path.symlink_to("/dev/zero")
        elif damage == "hard link":
            outside = folder.parent / f"outside-{name}"
            Image.new("RGB", (5, 7), (1, 2, 3)).save(outside)
            os.link(outside, path)
    (folder / "report.html").unlink()
    resumed(folder)
    assert {path.name: path.read_bytes() for path in (folder / "pictures").iterdir()} == pictures
    assert (folder / "report.html").read_text() == page and (folder / "log.jsonl").read_bytes() == log
    assert not are_whole(folder / "pictures", "pgd", 10**6)


def test_one_command_at_a_time_writes_into_a_folder(folder: Path, tmp_path: Path, monkeypatch) -> None:
    with FolderLock(folder) as lock:
        lock.take()
        with pytest.raises(InputError, match=r"Another command is writing to .*out.*choose another --out"):
            resumed(folder)
    resumed(folder)
    # A new one, too: while it runs, nobody else begins.
    job = Audit(SETTINGS, tmp_path / "new", device="cpu")
    refused: list[str] = []

    def meanwhile(name: str, count: int) -> None:
        if not refused:
            with pytest.raises(InputError) as raised:
                resumed(tmp_path / "new")
            refused.append(str(raised.value))

    job.evaluate(progress=meanwhile)
    assert "Another command" in refused[0]


def test_a_kill_lets_go(folder: Path) -> None:
    child = os.fork()
    if not child:
        FolderLock(folder).take()
        os._exit(0)
    os.waitpid(child, 0)
    assert (folder / LOCK_FILE).exists()
    with FolderLock(folder) as lock:
        lock.take()
    with (folder / LOCK_FILE).open("r+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
