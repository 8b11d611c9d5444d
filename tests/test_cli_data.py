"""A newcomer's own data on the command line: what is said about it, and what becomes of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from photos import save_photo
from PIL import Image
from safetensors.torch import load_file, save_file

from art_multimodal import cli
from art_multimodal.datasets import open_captioned
from art_multimodal.demo.digits_data import DigitsData
from art_multimodal.demo.loading import MLM_FOLDER

PGD = ["--attacks", "pgd", "--steps", "1", "--eps", "16/255", "--device", "cpu"]


def audit(capsys: pytest.CaptureFixture[str], data: str, out: Path, *more: str) -> tuple[int, str, str]:
    """Audit the demo model on some data: exit code, standard output, standard error."""
    code = cli.main(["audit", "demo:digits", "--data", data, "--out", str(out), *PGD, *more])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def report_of(out: Path) -> dict:
    return json.loads((out / "report.json").read_text())


def test_notes_of_the_data_are_in_the_terminal_and_in_every_report(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(DigitsData, "notes", ("read with care", "classes a & b"))
    code, printed, _ = audit(capsys, "demo:digits", tmp_path / "out", "--limit", "4")
    assert code == 0
    assert "note: read with care\nnote: classes a & b\n" in printed
    assert report_of(tmp_path / "out")["notes"] == ["read with care", "classes a & b"]
    assert "Note: read with care" in (tmp_path / "out" / "report.md").read_text()
    assert "Note: classes a &amp; b" in (tmp_path / "out" / "report.html").read_text()


def test_notes_of_the_data_are_said_before_training(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(DigitsData, "notes", ("read with care",))
    arguments = ["--data", "demo:digits", "--limit", "12", "--epochs", "1", "--steps", "1", "--device", "cpu"]
    assert cli.main(["train", "tecoa", "demo:digits", *arguments, "--out", str(tmp_path / "run")]) == 0
    assert "note: read with care\n" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "training.json").read_text())["notes"] == ["read with care"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two class folders with three photos each."""
    for seed in range(6):
        save_photo(tmp_path / "photos" / ("dog", "hat")[seed % 2] / f"{seed}.png", size=(32, 32), seed=seed)
    return tmp_path / "photos"


def listed(photos: Path, names: dict[str, str]) -> str:
    (photos.parent / "list.csv").write_text("image,label\n" + "".join(f"{n},{label}\n" for n, label in names.items()))
    return f"csv:{photos.parent / 'list.csv'}"


@pytest.mark.parametrize("out", ["photos", "photos/audit", "photos/dog/deep/audit", "."])
def test_nothing_is_written_among_the_data(photos: Path, tmp_path: Path, capsys, out: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    code, _, err = audit(capsys, f"folder:{photos}", tmp_path / out)
    assert code == 2 and err.count("\n") == 1
    assert "Choose another --out" in err or "Choose a new or empty folder" in err
    assert sorted(tmp_path.rglob("*")) == before
    arguments = ["--data", f"folder:{photos}", "--device", "cpu", "--out", str(tmp_path / out)]
    assert cli.main(["train", "tecoa", "demo:digits", *arguments]) == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_out_beside_the_list_and_its_images(photos: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(photos / "dog")
    Path("list.csv").write_text("image,label\n0.png,dog\n../hat/1.png,hat\n")
    code, _, _ = audit(capsys, "csv:list.csv", Path("audit"))
    assert code == 0 and report_of(Path("audit"))["results"]["clean"]["n"] == 2
    # The run's pictures are no images of the class.
    code, printed, _ = audit(capsys, f"folder:{photos}", photos.parent / "second")
    assert code == 0 and "1 folder(s) of earlier runs among the images are left out, for example dog/audit" in printed
    assert report_of(photos.parent / "second")["results"]["clean"]["n"] == 6
    code, _, err = audit(capsys, "csv:list.csv", Path("../hat/audit"))
    assert code == 2 and "is in the folder of the data" in err


def test_nothing_that_can_be_read_leaves_no_trace(photos: Path, tmp_path: Path, capsys) -> None:
    spec = listed(photos, {"photos/dog/0.jpg": "dog", "photos/hat/1.jpg": "hat"})
    code, _, err = audit(capsys, spec, tmp_path / "out", "--max-skipped", "1")
    assert code == 2 and err.splitlines()[-1].startswith("error: ") and not (tmp_path / "out").exists()
    assert "None of the 2 samples can be read" in err and "there is no such file. In its folder there is " in err
    # Nor where only opening the files tells.
    for path in photos.rglob("*.png"):
        path.write_bytes(b"%!PS-Adobe-3.0\n{ } loop\n")
    code, _, err = audit(capsys, f"folder:{photos}", tmp_path / "out")
    assert code == 2 and "PostScript" in err and not (tmp_path / "out").exists()
    arguments = ["--data", f"folder:{photos}", "--device", "cpu", "--out", str(tmp_path / "out")]
    assert cli.main(["train", "tecoa", "demo:digits", *arguments]) == 2
    assert "PostScript" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_too_many_missing_files_are_found_before_the_work(photos: Path, tmp_path: Path, capsys) -> None:
    names = {f"photos/{'hat' if n % 2 else 'dog'}/{n}.png": ("dog", "hat")[n % 2] for n in range(4)}
    spec = listed(photos, {**names, **{f"gone/{n}.png": "hat" for n in range(5)}})
    code, _, err = audit(capsys, spec, tmp_path / "out")
    assert code == 2 and "5 of 9 samples (55.6 %) cannot be read, more than --max-skipped 0.5 allows" in err
    assert not (tmp_path / "out").exists()
    code, printed, _ = audit(capsys, spec, tmp_path / "out", "--max-skipped", "0.6")
    assert code == 0 and "5 samples could not be read" in printed
    assert len(report_of(tmp_path / "out")["skipped"]) == 5


def test_too_many_damaged_files_end_in_2_with_what_was_measured(photos: Path, tmp_path: Path, capsys) -> None:
    for name in ("dog/0.png", "dog/2.png", "hat/1.png", "hat/3.png"):
        (photos / name).write_bytes(b"%!PS-Adobe-3.0\n{ } loop\n")
    code, printed, err = audit(capsys, f"folder:{photos}", tmp_path / "out")
    assert code == 2 and "4 of 6 samples (66.7 %) cannot be read" in err and "report.html" in printed
    assert report_of(tmp_path / "out")["results"]["clean"]["n"] == 2
    code, _, _ = audit(capsys, f"folder:{photos}", tmp_path / "out", "--resume", "--max-skipped", "0.7")
    assert code == 0
    arguments = ["--data", f"folder:{photos}", "--device", "cpu", "--out", str(tmp_path / "run"), "--validation", "0.5"]
    assert cli.main(["train", "tecoa", "demo:digits", *arguments]) == 2
    assert "more than --max-skipped 0.5 allows" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_one_strange_file_costs_one_sample(photos: Path, tmp_path: Path, capsys) -> None:
    strip = np.zeros((1, 200_000), dtype=np.uint8)
    Image.fromarray(strip).save(photos / "dog" / "wide.png")
    Image.fromarray(strip.T).save(photos / "hat" / "high.png")
    (photos / "dog" / "esc\x1b[2J\n.png").write_bytes(b"")
    code, printed, _ = audit(capsys, f"folder:{photos}", tmp_path / "out")
    assert code == 0 and "3 samples could not be read" in printed and "\x1b" not in printed
    reasons = {one["name"]: one["reason"] for one in report_of(tmp_path / "out")["skipped"]}
    assert reasons["dog/esc\x1b[2J\n.png"] == "the file is empty"
    assert "more than 100 times" in reasons["dog/wide.png"] and "more than 100 times" in reasons["hat/high.png"]


def test_notes_on_names_are_in_terminal_and_report(photos: Path, tmp_path: Path, capsys) -> None:
    (photos / "dog").rename(photos / "Hat")
    code, printed, _ = audit(capsys, f"folder:{photos}", tmp_path / "out")
    note = "the classes 'Hat' and 'hat' differ in case or spacing only"
    assert code == 0 and f"note: {note}" in printed
    assert note in (tmp_path / "out" / "report.md").read_text()
    assert report_of(tmp_path / "out")["notes"][0].startswith(note)


def test_left_out_weights_of_the_language_model_are_noted_where_it_is_asked(tmp_path: Path, capsys) -> None:
    folder = Path(shutil.copytree(MLM_FOLDER, tmp_path / "mlm"))
    weights = folder / "model.safetensors"
    save_file({**load_file(weights), "cls.other.weight": torch.ones(2, 2)}, weights, metadata={"format": "pt"})
    note = f"the language model {folder}: weights of the checkpoint that have no place in BertForMaskedLM"
    for attacks, said in (("bert_attack", True), ("character_attack", False)):
        out = tmp_path / attacks
        options = ("--attacks", attacks, "--language-model", str(folder), "--limit", "4")
        code, printed, _ = audit(capsys, "demo:digits", out, *options)
        assert code == 0 and (f"note: {note}" in printed) is said
        assert any(one.startswith(note) for one in report_of(out)["notes"]) is said
        assert ("cls.other.weight" in (out / "report.html").read_text()) is said


def test_classes_that_share_a_name(tmp_path: Path, capsys) -> None:
    names = "one,two,two,three,four,five,six,seven,eight,nine"
    code, printed, _ = audit(capsys, "demo:digits", tmp_path / "out", "--classes", names, "--limit", "20")
    assert code == 0 and "note: the class name(s) 'two' stand more than once" in printed
    counts = report_of(tmp_path / "out")["results"]["clean"]["prediction_counts"]
    assert counts[2] == 0 and sum(counts) == 20


def test_no_better_than_guessing_is_said(photos: Path, tmp_path: Path, capsys) -> None:
    code, printed, _ = audit(capsys, f"folder:{photos}", tmp_path / "out")
    assert code == 0
    assert "guessing among 2 classes (50.0 %)" in printed
    assert "guessing among 2 classes" in (tmp_path / "out" / "report.md").read_text()
    code, printed, _ = audit(capsys, "demo:digits", tmp_path / "digits", "--limit", "20")
    assert code == 0 and "guessing among" not in printed


def test_captions_beyond_the_context_are_left_out(tmp_path: Path, capsys) -> None:
    rows = []
    for seed in range(4):
        save_photo(tmp_path / f"{seed}.png", size=(32, 32), seed=seed)
        rows.append(f"{seed}.png,a red circle and shape {seed}")
    rows += ["0.png," + "a red circle " * 40]
    rows[3] = "3.png," + "a blue square " * 40
    (tmp_path / "list.csv").write_text("image,text\n" + "\n".join(rows) + "\n")
    command = ["audit", "demo:scenes", "--data", f"csv:{tmp_path / 'list.csv'}", "--task", "retrieval", "--steps", "1"]
    code = cli.main([*command, "--attacks", "similarity_pgd", "--device", "cpu", "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert code == 0
    assert "note: 2 caption(s) cannot be read in full and are left out, with 1 image(s) that have no other" in printed
    report = report_of(tmp_path / "out")
    assert report["results"]["clean"]["n"] == 3 and report["results"]["clean"]["recall"]["text_to_image"]["1"]["n"] == 3
    assert [one["name"] for one in report["skipped"]] == ["3.png"]


def test_one_picture_in_two_files_is_one_image_of_retrieval(tmp_path: Path, capsys) -> None:
    scenes = open_captioned("demo:scenes")
    rows = ["image,text"]
    for index in range(8):
        pixels = Image.fromarray((scenes.image(index).transpose(1, 2, 0) * 255).round().astype(np.uint8))
        for name, text in zip((f"{index}.png", f"{index}.bmp"), scenes.captions_of(index), strict=True):
            pixels.save(tmp_path / name)
            rows.append(f'{name},"{text}"')
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    command = ["audit", "demo:scenes", "--data", f"csv:{tmp_path / 'list.csv'}", "--task", "retrieval", "--steps", "1"]
    code = cli.main([*command, "--attacks", "similarity_pgd", "--device", "cpu", "--out", str(tmp_path / "out")])
    capsys.readouterr()
    recall = report_of(tmp_path / "out")["results"]["clean"]["recall"]
    # Each copy would rank as high as the picture, and count against it.
    assert code == 0 and min(recall[way]["1"]["accuracy"] for way in recall) > 0.8
