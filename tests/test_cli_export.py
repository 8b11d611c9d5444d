"""``art-multimodal export``: what it writes, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from audits import SETTINGS, read_report, run_audit

from art_multimodal import cli
from art_multimodal.evaluations.audit import Audit, RunLog, stored_report, write_reports
from art_multimodal.evaluations.audit.gate import Gate
from art_multimodal.evaluations.formats import FORMATS


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = replace(SETTINGS, attacks="pgd", limit=4, steps=1)
    return run_audit(settings, tmp_path_factory.mktemp("audit") / "out").folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "audit"))


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    code = cli.main(["export", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_are_named_as_they_are_written_and_the_run_stays_as_it_is(folder, tmp_path, capsys) -> None:
    before = files_in(folder)
    names = ",".join(FORMATS)
    code, printed, err = run(capsys, folder, "--as", names, "--dataset", "a/b", "--out", tmp_path / "files")
    assert (code, err) == (0, "")
    assert printed.splitlines() == [str(tmp_path / "files" / one.file) for _, one in FORMATS.items()]
    assert files_in(folder) == before
    assert run(capsys, folder, "--as", "junit")[0] == 0
    assert set(files_in(folder)) - set(before) == {"junit.xml"}
    assert (folder / "junit.xml").read_bytes() == (tmp_path / "files" / "junit.xml").read_bytes()
    # What lies in the folder now does not keep it from being read again.
    assert run(capsys, folder, "--as", "junit")[0] == 0


def test_verdicts_of_the_command_line_are_exported(folder, tmp_path, capsys) -> None:
    gates = [Gate("pgd", "accuracy", 1.0), Gate("clean", "balanced_accuracy", 0.0), Gate("image", "accuracy", 1.0)]
    report = write_reports(RunLog.open(folder), gates)
    failed = sum(one["outcome"] == "FAIL" for one in report["verdicts"]["gates"])
    assert failed == 2
    assert run(capsys, folder, "--as", "junit,sarif", "--plan", "plan.yaml", "--out", tmp_path / "x")[0] == 0
    log = json.loads((tmp_path / "x" / "audit.sarif").read_text())
    assert len(log["runs"][0]["results"]) == failed
    assert f'tests="4" failures="{failed}" errors="0"' in (tmp_path / "x" / "junit.xml").read_text()


def test_a_report_of_the_first_version_is_read_as_one_of_this(folder, tmp_path, capsys) -> None:
    from art_multimodal.store import opened_document, sealed_document

    header = opened_document((folder / "run.json").read_bytes())
    # Runs did not say when they began.
    del header["began"]
    (folder / "run.json").write_text(sealed_document(header))
    expected = write_reports(RunLog.open(folder), [Gate("pgd", "accuracy", 1.0)])
    assert "began" not in expected and "began" not in (folder / "report.md").read_text()
    assert run(capsys, folder, "--as", "junit,sarif", "--out", tmp_path / "now")[0] == 0
    changed(_of_version_1)(folder)
    before = files_in(folder)
    assert run(capsys, folder, "--as", "junit,sarif", "--out", tmp_path / "then")[0] == 0
    assert files_in(tmp_path / "then") == files_in(tmp_path / "now") and files_in(folder) == before
    assert stored_report.read_report(folder) == json.loads(json.dumps(expected))


def test_a_run_that_went_on_with_another_batch_size_is_exported(finished, tmp_path, capsys) -> None:
    """What may differ stays as it was logged, the date among it: the report is still what the log says."""
    folder = Path(shutil.copytree(finished, tmp_path / "audit"))
    before = read_report(folder)
    settings = replace(SETTINGS, attacks="pgd", limit=4, steps=1, batch_size=3)
    report = write_reports(Audit(settings, folder, device="cpu").evaluate(resume=True))
    assert report == before
    assert run(capsys, folder, "--as", "junit", "--out", tmp_path / "out")[0] == 0


def with_verdicts(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Change a limit of a folder that has one of the command line."""

    def apply(folder: Path) -> None:
        write_reports(RunLog.open(folder), [Gate("pgd", "accuracy", 1.0)])
        changed(lambda report: change(report["verdicts"]["gates"][0]))(folder)

    return apply


def changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Change the report of a folder."""

    def apply(folder: Path) -> None:
        report = read_report(folder)
        change(report)
        (folder / "report.json").write_text(json.dumps(report))

    return apply


def _of_version_1(report: dict[str, Any]) -> None:
    """A report as the first version wrote it: without what came later, and with flags by another correction."""
    for key in ("began", "by_class", "weakest", "references", "repeat", "next_steps"):
        report.pop(key, None)
    report |= {"report_version": 1, "flags": [*report["flags"], "another"]}


def _linked(folder: Path) -> None:
    (folder / "report.json").rename(folder.parent / "elsewhere.json")
    (folder / "report.json").symlink_to(folder.parent / "elsewhere.json")


def _hard_linked(folder: Path) -> None:
    os.link(folder / "report.json", folder.parent / "elsewhere.json")


def _edited_log(folder: Path) -> None:
    text = (folder / "log.jsonl").read_text()
    (folder / "log.jsonl").write_text(text.replace('"predicted":', '"predicted": ', 1))


def _other_kind(folder: Path) -> None:
    from art_multimodal.store import opened_document, sealed_document

    header = opened_document((folder / "run.json").read_bytes())
    (folder / "run.json").write_text(sealed_document({**header, "kind": "certification"}))


def _comparison(folder: Path) -> None:
    inside = folder.parent / "inside"
    folder.rename(inside)
    folder.mkdir()
    inside.rename(folder / "1-demo-digits")
    (folder / "report.json").write_text('{"models": []}')


DAMAGED: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "nothing there": ("There is no folder", shutil.rmtree),
    "no run": ("holds no run. Give the --out of an audit.", lambda folder: (folder / "run.json").unlink()),
    "no report": ("holds no report.json: the audit has not ended", lambda f: (f / "report.json").unlink()),
    "several models": ("Give the folder of one of the runs in it: ", _comparison),
    "another kind": ("holds another run than an audit", _other_kind),
    "no JSON": ("report.json cannot be read", lambda folder: (folder / "report.json").write_bytes(b"\xff{")),
    "NaN": ("NaN is not a number of JSON", lambda folder: (folder / "report.json").write_text('{"a": NaN}')),
    "nested": ("report.json cannot be read", lambda f: (f / "report.json").write_text("[" * 200_000)),
    "a list": ("report.json is no report", lambda folder: (folder / "report.json").write_text("[]")),
    "a folder": ("report.json cannot be read", lambda f: ((f / "report.json").unlink(), (f / "report.json").mkdir())),
    "a link": ("is a link", _linked),
    "a hard link": ("is a hard link", _hard_linked),
    "a cut header": ("run.json cannot be read", lambda folder: (folder / "run.json").write_text("{")),
    "an edited log": ("Line 1 of", _edited_log),
    "a better number": (
        "says something else than the log of the run (under results)",
        changed(lambda report: report["results"]["pgd"].update(accuracy=1.0)),
    ),
    "a further key": ("(under a\\x1bb)", changed(lambda report: report.update({"a\x1bb": 1}))),
    "another model": ("(under model)", changed(lambda report: report["model"].update(spec="demo:shapes"))),
    "a better number of an earlier version": (
        "(under results)",
        changed(lambda report: (_of_version_1(report), report["results"]["pgd"].update(accuracy=1.0))),
    ),
    "a further key of an earlier version": (
        "(under surprise)",
        changed(lambda report: (_of_version_1(report), report.update(surprise=1))),
    ),
    "no whole version": ("(report 1.0", changed(lambda report: report.update(report_version=1.0))),
    "another version": ("another version of art-multimodal (report 7", changed(lambda r: r.update(report_version=7))),
    "a limit without a number": ("has no limit", with_verdicts(lambda one: one.pop("limit"))),
    "a limit that passes": ("(under verdicts)", with_verdicts(lambda one: one.update(outcome="PASS"))),
    "a lower limit": ("(under verdicts)", with_verdicts(lambda one: one.update(limit=0.0))),
    "a limit of a row that is not there": ("a limit of x", with_verdicts(lambda one: one.update(row="x"))),
    "a limit of another kind": ("(under verdicts)", with_verdicts(lambda one: one.update(kind="floor"))),
    "verdicts of another form": ("verdicts is not an object", changed(lambda r: r.update(verdicts=[1]))),
}


@pytest.mark.parametrize("why", list(DAMAGED))
def test_a_damaged_folder_is_refused_in_one_line(folder, tmp_path, capsys, why: str) -> None:
    message, damage = DAMAGED[why]
    damage(folder)
    code, printed, err = run(capsys, folder, "--as", "junit", "--out", tmp_path / "out")
    assert (code, printed) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and "\x1b" not in err and message in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Nothing to export: name formats, such as --as junit,sarif, or give --mlflow."),
        (["--as", "junitt"], "Unknown format 'junitt'. Did you mean junit"),
        (["--as", ","], "--as names no format"),
        (["--as", "eval-results"], "name it, such as --dataset ORGANISATION/NAME"),
        (["--as"], "For example: --as junit,sarif"),
    ],
)
def test_options_that_cannot_be_used_are_named(folder, capsys, arguments, message) -> None:
    code, printed, err = run(capsys, folder, *arguments)
    assert (code, printed) == (2, "") and err.count("\n") == 1 and message in err


def test_a_folder_that_cannot_be_written_is_named(folder, tmp_path, capsys) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = run(capsys, folder, "--as", "junit", "--out", tmp_path / "file" / "out")
    assert code == 2 and "Cannot write to" in err and err.count("\n") == 1


def test_without_mlflow_its_extra_is_named(folder, capsys, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    monkeypatch.setattr("os.environ", dict(os.environ))
    code, _, err = run(capsys, folder, "--mlflow")
    assert code == 2 and "pip install 'art-multimodal[mlflow]'" in err
    # Nobody was asked whether makers may be told.
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
