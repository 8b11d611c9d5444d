"""Data sets by name on the command line: an audit from end to end, listings, and what is said of bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from named_sets import WRITE, pixels, rows_of, write_pickle

from art_multimodal import cli
from art_multimodal.cli.names import data_spec
from art_multimodal.datasets.named import NAMED_DATA
from art_multimodal.datasets.named.place import VARIABLE
from art_multimodal.defences.training_run import RunSettings
from art_multimodal.errors import InputError

PGD = ["--attacks", "pgd", "--steps", "1", "--eps", "8/255", "--device", "cpu"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_an_audit_of_cifar10_from_end_to_end(tmp_path: Path, capsys) -> None:
    WRITE["cifar10"](tmp_path / "root")
    arguments = ["audit", "demo:digits", "--data", "CIFAR-10", "--data-root", str(tmp_path / "root"), "--limit", "4"]
    code, out, err = run(capsys, *arguments, *PGD, "--out", str(tmp_path / "out"))
    assert code == 0 and "note: --data CIFAR-10 is taken for data:cifar10\n" in err
    assert "has 3 classes instead of 10 and 6 images instead of 10,000 here" in out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["results"]["clean"]["n"] == 4 and report["complete"]
    assert report["settings"]["data"] == f"data:cifar10:root={tmp_path / 'root'}"
    # The same data under the same name go on; and nothing is written among them.
    code, _, err = run(capsys, *arguments, *PGD, "--out", str(tmp_path / "out"), "--resume")
    assert code == 0, err
    code, _, err = run(capsys, *arguments, *PGD, "--out", str(tmp_path / "root" / "cifar-10-batches-py" / "out"))
    assert code == 2 and "Choose another --out" in err


def test_retrieval_on_flickr(tmp_path: Path, capsys, monkeypatch) -> None:
    WRITE["flickr30k"](tmp_path)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    arguments = ["audit", "demo:scenes", "--data", "data:flickr30k:split=all", "--task", "retrieval"]
    code, out, err = run(capsys, *arguments, *PGD, "--out", str(tmp_path / "out"))
    assert code == 0, err
    assert "the split all has 2 images instead of 31,783 here" in out
    code, _, err = run(capsys, *arguments[:-2], *PGD, "--out", str(tmp_path / "other"))
    assert code == 2 and "data:flickr30k has captions and no classes: give --task retrieval" in err


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("data:cifar11", "Unknown data set 'cifar11'. Did you mean cifar10 or cifar100"),
        ("data:cifar10:split=validation", "data:cifar10: Unknown split 'validation'"),
        ("data:cifar10:splits=test", "Unknown option of data 'splits'. Did you mean split"),
        ("data:food101", "data:food101: there is no folder food-101 in"),
        ("cifar11", "is neither a folder, a CSV file nor the name of a data set here"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, capsys, data: str, said: str) -> None:
    arguments = ["audit", "demo:digits", "--data", data, "--data-root", str(tmp_path), "--out", str(tmp_path / "out")]
    code, out, err = run(capsys, *arguments, *PGD)
    assert code == 2 and said in err and err.count("\n") == 1 and not out
    assert not (tmp_path / "out").exists()


def test_half_a_download_says_how_the_rest_is_got(tmp_path: Path, capsys) -> None:
    WRITE["cifar10"](tmp_path)
    (tmp_path / "cifar-10-batches-py" / "batches.meta").unlink()
    arguments = ["audit", "demo:digits", "--data", "data:cifar10", "--data-root", str(tmp_path), *PGD]
    code, _, err = run(capsys, *arguments, "--out", str(tmp_path / "out"))
    assert code == 2 and "there is no batches.meta in" in err and "the download is not complete" in err
    assert f"from torchvision.datasets import CIFAR10; CIFAR10('{tmp_path}', download=True)" in err


def test_training_takes_the_split_for_training(tmp_path: Path, capsys) -> None:
    WRITE["cifar10"](tmp_path)
    settings = RunSettings("tecoa", "demo:digits", "data:cifar10")
    assert settings.data == "data:cifar10:split=train"
    assert RunSettings("tecoa", "demo:digits", "data:cifar10:split=test").data == "data:cifar10:split=test"
    arguments = ["train", "tecoa", "demo:digits", "--data", "data:cifar10", "--data-root", str(tmp_path)]
    arguments += ["--validation", "data:cifar10", "--epochs", "1", "--steps", "1", "--device", "cpu", "--limit", "6"]
    code, _, err = run(capsys, *arguments, "--out", str(tmp_path / "run"))
    assert code == 0, err
    training = json.loads((tmp_path / "run" / "training.json").read_text())
    assert f"data:cifar10:split=train,root={tmp_path}" in json.dumps(training)
    # Of the training images the first batch alone has more than what was asked for.
    assert "'listed': 15" in str(training) and "split train has 3 classes instead of 10" in str(training)


def test_certify_takes_data_by_name(tmp_path: Path, capsys) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    write_pickle(folder / "batches.meta", {"label_names": ["one", "two"]})
    write_pickle(folder / "test_batch", {"data": rows_of(pixels(3, 32)), "labels": [0, 1, 0]})
    arguments = ["certify", "demo:digits", "--data", "data:cifar10", "--data-root", str(tmp_path), "--limit", "2"]
    code, _, err = run(capsys, *arguments, "--keep", "image=4", "--device", "cpu", "--out", str(tmp_path / "out"))
    assert code == 0, err
    assert "data:cifar10" in (tmp_path / "out" / "report.json").read_text()


def test_the_listing_says_what_is_found(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    code, out, _ = run(capsys, "list", "data")
    assert code == 0 and f"data sets by name ({VARIABLE} names no folder)" in out and "found" not in out
    listed = re.findall(r"^  data:(\S+)", out, re.MULTILINE)
    assert [name for name in listed if name in NAMED_DATA] == list(NAMED_DATA)
    WRITE["cifar10"](tmp_path)
    WRITE["eurosat"](tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    _, out, _ = run(capsys, "list", "data")
    said = {part.split()[0]: " ".join(part.split()) for part in re.split(r"^  (?=data:)", out, flags=re.MULTILINE)[1:]}
    assert said["data:cifar10"].endswith("CIFAR-10, 10 classes; split test, train; found: test")
    assert "; found: all" in said["data:eurosat"] and said["data:coco"].partition("; ")[2].endswith("not found")


def test_names_without_a_source() -> None:
    assert data_spec("Oxford-Pets") == "data:oxford-pets" and data_spec("torchvision:cifar10") == "data:cifar10"
    assert data_spec("webdataset:a.tar") == "wds:a.tar" and data_spec("HuggingFace:a/b") == "hf:a/b"
    with pytest.raises(InputError, match="nor the name of a data set here"):
        data_spec("oxford-pest-controls")
