"""The command line: exit codes, one clear line for bad input, and nothing heavy for --help."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from photos import save_photo

from art_multimodal import cli
from art_multimodal.cli import audit_results
from art_multimodal.cli.options import parse_distance
from art_multimodal.errors import InputError
from art_multimodal.evaluations.suite import ATTACKS, RETRIEVAL

SHAPES = ["audit", "demo:shapes", "--data", "demo:shapes", "--device", "cpu", "--limit", "10", "--eps", "8/255"]
BASE = ["audit", "demo:digits", "--data", "demo:digits", "--device", "cpu", "--limit", "20", "--eps", "8/255"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_audit_writes_reports_and_names_them(tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    code, printed, _ = run(capsys, *BASE, "--attacks", "pgd,decoupling", "--out", str(out))
    assert code == 0
    for name in ("report.html", "report.md", "report.json"):
        assert (out / name).stat().st_size > 500
        assert str(out / name) in printed
    assert "accuracy" in printed and "pgd" in printed
    assert max(len(line) for line in printed.splitlines() if str(tmp_path) not in line) <= 80


def test_audit_of_a_fusion_model(tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    attacks = ["--attacks", "art_pgd,decoupling_image,decoupling_exhaustive", "--max-queries", "40"]
    code, printed, err = run(capsys, *SHAPES, *attacks, "--out", str(out), "--fail-under", "clean.accuracy=0.5")
    assert code == 0 and "gate failed" not in err
    report = json.loads((out / "report.json").read_text())
    assert report["complete"] and report["model"]["kind"] == "fusion model"
    for name, row in report["results"].items():
        (line,) = [line for line in printed.splitlines() if line.split()[:2] == [name, str(row["n"])]]
        assert f"{100 * row['accuracy']:.1f} %" in line


@pytest.mark.parametrize("defences", [[], ["jpeg:quality=75", "spatial_smoothing:window_size=3"]])
@pytest.mark.parametrize("share", [0.1234, 1.99e-5])
def test_the_table_fits_into_80_columns(capsys, monkeypatch, share: float, defences: list[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    row = {"n": 12345, "accuracy": 1.0, "accuracy_ci95": [1.0, 1.0], "attack_success_rate": 1.0}
    row |= {"naive": {"accuracy": 0.875}} if defences else {}
    names = ["clean", *ATTACKS, "image", "decoupling"]
    results = {name: {**row, **({"share_removed_mean": share} if "decoupling" in name else {})} for name in names}
    budget = {"norm": "inf", "eps": 1.5 / 255, "eps_step": 2 / 255 / 3, "steps": 1000}
    report = {"task": "zero-shot", "results": results, "budget": budget, "skipped": [], "defences": defences}
    report["data"] = {"class_names": ["cat", "dog"]}
    audit_results.print_results(report)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(names) + 2 + 2 * bool(defences) and max(map(len, lines)) <= 80
    for name, line in zip(names, lines[1:], strict=False):
        assert line.startswith(f"{name} ") and "12345" in line and "100.0 to 100.0" in line and "…" not in line
        assert ("87.5 %" in line) == bool(defences)


@pytest.mark.parametrize("defences", [[], ["spelling"]])
def test_the_table_of_retrieval_fits_into_80_columns(capsys, monkeypatch, defences: list[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = ["clean", *(name for name, entry in ATTACKS.items() if RETRIEVAL in entry.tasks), "multimodal"]
    recall = {way: {k: {"n": 5, "accuracy": 1.0} for k in ("1", "5", "10")} for way in audit_results._DIRECTIONS}
    row = {"n": 5, "accuracy": 1.0, "accuracy_ci95": [1.0, 1.0], "recall": recall}
    row |= {"naive": {"accuracy": 0.875}} if defences else {}
    results = dict.fromkeys(names, row)
    budget = {"norm": "inf", "eps": 0.1, "eps_step": 0.1, "steps": 3}
    report = {"task": RETRIEVAL, "results": results, "budget": budget, "skipped": [], "defences": defences}
    audit_results.print_results(report)
    printed = capsys.readouterr().out
    assert "text@1" in printed and "image@10" in printed and "…" not in printed
    assert max(map(len, printed.splitlines())) <= 80
    assert ("naive: text@1 under attacks" in printed) == bool(defences)


def test_gate(tmp_path: Path, capsys) -> None:
    arguments = [*BASE, "--attacks", "pgd", "--out", str(tmp_path / "out")]
    code, _, err = run(capsys, *arguments, "--fail-under", "pgd.accuracy=0.99", "--fail-under", "clean.accuracy=0.5")
    assert code == 1
    assert "gate failed: pgd.accuracy is 0." in err and "clean" not in err.split("gate failed")[1]
    assert (tmp_path / "out" / "report.html").exists()
    # The finished run, asked again with a gate that it passes, is not run again.
    code, _, _ = run(capsys, *arguments, "--resume", "--fail-under", "pgd.accuracy=0.01")
    assert code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["audit", "--data", "demo:digits"], "Missing argument"),
        (["audit", "demo:digits"], "Missing option"),
        (["adit"], "No such command"),
        ([*BASE, "--steps", "many"], "--steps"),
        ([*BASE, "--norm", "1"], "--norm"),
        (["audit", "demo:digits", "--data", "demo:digits", "--norm", "2"], "With --norm 2 give --eps"),
        ([*BASE, "--fail-under", "image.accuracy=30"], "Did you mean 0.3"),
        ([*BASE, "--max-queries", "5"], "max queries must be at least 10"),
        ([*BASE, "--eps", "small"], "'small' is not a distance"),
        ([*BASE, "--eps", "1/0"], "'1/0' is not a distance"),
        ([*BASE, "--eps", "8"], "Did you mean 8/255"),
        ([*BASE, "--attacks", "pgdd"], "Did you mean pgd"),
        ([*BASE, "--attacks", ","], "No attack was named"),
        ([*BASE, "--fail-under", "imag.accuracy=1"], "Did you mean image"),
        ([*BASE, "--classes", "a,b"], "gives 2 names for the 10 digits"),
        ([*BASE, "--classes", "a,a,a,a,a,a,a,a,a,a"], "All 10 classes have the name 'a'"),
        ([*BASE, "--max-skipped", "2"], "--max-skipped is a share of the samples, from 0 to 1, not 2"),
        ([*BASE, "--templates", "a photo"], "must hold {} exactly once"),
        ([*BASE, "--templates", "nowhere.txt"], "there is no file"),
        (["audit", "demo:digits", "--data", "folder:/nowhere"], "There is no folder"),
        (["audit", "demo:letters", "--data", "demo:digits"], "Unknown demo model"),
        (["audit", "opencip:x/y", "--data", "demo:digits"], "Did you mean open_clip"),
        (["audit", "open_clip:ViT-B-23/x", "--data", "demo:digits"], "Did you mean ViT-B"),
        (["audit", "hf:/nowhere", "--data", "demo:digits"], "There is no folder"),
        (
            [*SHAPES, "--attacks", "pgd"],
            "pgd does not work on fusion models. Use art_pgd, apgd, ",
        ),
        ([*SHAPES, "--attacks", "apgd_dlr"], "apgd_dlr needs at least 3 classes; there are 2"),
        ([*SHAPES, "--templates", "a {}"], "it reads the texts of the data, not --templates"),
        ([*SHAPES, "--classes", "left,right"], "'left' is none of the answers of demo:shapes: 'no', 'yes'"),
        ([*SHAPES, "--fail-under", "pgd.accuracy=0.1"], "Unknown row for --fail-under"),
        (["audit", "demo:shapes", "--data", "demo:digits"], "needs a text with every image"),
        (["audit", "demo:digits", "--data", "demo:shapes"], "asks questions about its images"),
        (["audit", "demo:digits", "demo:digits", "--data", "demo:digits"], "demo:digits is named twice"),
        (["list", "atacks"], "atacks"),
        ([*BASE, "--defence", "jpg"], "Unknown defence 'jpg'. Did you mean jpeg"),
        ([*BASE, "--defence", "jpeg:quality=500"], "quality of jpeg must be a number from 1 to 95, not 500"),
        ([*BASE, "--defence", "jpeg:quality=high"], "quality of jpeg must be a whole number from 1 to 95, not 'high'"),
        ([*BASE, "--defence", "jpeg:qualiti=5"], "jpeg has no option 'qualiti'. Its options: quality."),
        ([*BASE, "--defence", "jpeg:"], "is not of the form NAME:OPTION=VALUE, such as jpeg:quality=50"),
        ([*BASE, "--defence", "unicode:form=NFC"], "The defence unicode has no options; 'form' was given"),
        ([*BASE, "--defence", "spelling:vocabulary=nowhere.txt"], "The vocabulary nowhere.txt cannot be read"),
        ([*BASE, "--defence", "gaussian_augmentation", "--draws", "0"], "draws must be at least 1"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, capsys, monkeypatch, arguments, message) -> None:
    monkeypatch.chdir(tmp_path)
    code, printed, err = run(capsys, *arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err + printed
    assert len(err.strip().splitlines()) == 1
    assert err.startswith("error: ")


def test_what_was_not_expected_is_3_with_a_traceback(tmp_path: Path, capsys, monkeypatch) -> None:
    def fail(*args, **kwargs):
        raise RuntimeError("boom")

    module = sys.modules["art_multimodal.cli.audit"]  # the package's name `audit` is the function
    monkeypatch.setattr(module, "_run", fail)
    code, _, err = run(capsys, *BASE, "--out", str(tmp_path / "out"))
    assert code == 3 and "boom" in err and "--resume goes on" in err
    monkeypatch.setattr(
        sys.modules["art_multimodal.cli.audit"], "_run", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    code, _, err = run(capsys, *BASE, "--out", str(tmp_path / "out"))
    assert code == 130 and "go on with --resume" in err and "Traceback" not in err


def test_photos_templates_and_classes_from_files(tmp_path: Path, capsys) -> None:
    for index in range(4):
        save_photo(tmp_path / "photos" / f"n0{index % 2}" / f"{index}.png", (40, 40), index)
    (tmp_path / "templates.txt").write_text("a photo of the number {}\n\nthe {}\n")
    (tmp_path / "names.txt").write_text("n00=zero\nn01=one\n")
    (tmp_path / "photos" / "n00" / "broken.jpg").write_bytes(b"")
    arguments = ["audit", "demo:digits", "--data", f"folder:{tmp_path / 'photos'}", "--attacks", "pgd"]
    arguments += ["--templates", str(tmp_path / "templates.txt"), "--classes", str(tmp_path / "names.txt")]
    code, printed, _ = run(capsys, *arguments, "--out", str(tmp_path / "out"), "--device", "cpu")
    assert code == 0
    assert "n00/broken.jpg: the file is empty" in " ".join(printed.split())
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["data"]["templates"] == ["a photo of the number {}", "the {}"]
    assert report["data"]["class_names"] == ["zero", "one"]
    code, _, err = run(capsys, *arguments, "--out", str(tmp_path / "strict"), "--strict")
    assert code == 2 and "n00/broken.jpg" in err


def test_a_bad_option_leaves_a_finished_run_as_it_is(tmp_path: Path, capsys) -> None:
    arguments = [*BASE, "--attacks", "pgd", "--out", str(tmp_path / "out")]
    assert run(capsys, *arguments)[0] == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()}
    for extra, message in (([], "holds a run already"), (["--resume", "--seed", "1"], "seed: 0 then, 1 now")):
        code, _, err = run(capsys, *arguments, *extra)
        assert code == 2 and message in err
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("models", ["demo:digits", "demo:shapes/FUSION", "open_clip:ARCH/TAG_OR_PATH", "hf:ID_OR_PATH"]),
        ("data", ["demo:digits", "demo:shapes", "folder:PATH", "csv:PATH"]),
        ("attacks", list(ATTACKS)),
        ("defences", ["jpeg:quality=50", "spelling:vocabulary=FILE", "unicode"]),
    ],
)
def test_lists(capsys, what: str, names: list[str]) -> None:
    code, printed, _ = run(capsys, "list", what)
    assert code == 0
    assert all(name in printed for name in names)


def test_distances() -> None:
    assert parse_distance("1/255", "--eps") == 1 / 255
    assert parse_distance("0.5", "--eps") == 0.5
    with pytest.raises(InputError):
        parse_distance("1/255/2", "--eps")


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys; from art_multimodal import cli; cli.main(['--help']); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_every_option_reaches_the_settings(tmp_path: Path, capsys) -> None:
    arguments = [
        "audit",
        "demo:digits",
        "--data",
        "demo:digits",
        "--attacks",
        "pgd",
        "--eps",
        "0.5",
        "--eps-step",
        "1/8",
    ]
    arguments += ["--norm", "2", "--steps", "3", "--max-queries", "11", "--limit", "7", "--batch-size", "5"]
    arguments += ["--group-size", "4"]
    arguments += ["--device", "cpu", "--seed", "9", "--native-size", "--templates", "the {}"]
    arguments += ["--classes", "a,b,c,d,e,f,g,h,i,j", "--out", str(tmp_path / "out")]
    arguments += ["--task", "classification", "--language-model", "hf:nowhere", "--max-words", "2", "--max-edits", "3"]
    arguments += ["--top-k", "4", "--protect", "photo, of", "--unprotected", "--max-share", "0.25"]
    arguments += ["--defence", "jpeg", "--defence", "unicode", "--draws", "3"]
    assert run(capsys, *arguments)[0] == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["device"] == "cpu"
    assert report["settings"] == {
        "model": "demo:digits",
        "data": "demo:digits",
        "attacks": "pgd",
        "norm": "2",
        "eps": 0.5,
        "eps_step": 0.125,
        "steps": 3,
        "max_queries": 11,
        "limit": 7,
        "batch_size": 5,
        "group_size": 4,
        "seed": 9,
        "templates": ["the {}"],
        "classes": list("abcdefghij"),
        "native_size": True,
        "task": "classification",
        # Never loaded: no attack on texts was asked for.
        "language_model": "hf:nowhere",
        "max_words": 2,
        "max_edits": 3,
        "top_k": 4,
        "protect_class_names": False,
        "protected_words": ["photo", "of"],
        "max_share": 0.25,
        # With all options, whatever becomes their default.
        "defences": ["jpeg:quality=50", "unicode"],
        "draws": 3,
    }
