"""``certify`` on the command line: its tables, its gate, what it refuses, and whose folders it replaces."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from launched import two_processes

from art_multimodal import cli
from art_multimodal.evaluations.certification.brief import brief
from art_multimodal.evaluations.certification.lines import is_control

DIGITS = ["demo:digits", "--data", "demo:digits", "--keep", "image=4", "--limit", "8", "--device", "cpu"]
VIEWS = ["demo:views/late", "--data", "demo:views", "--keep", "pix=4,fou=20,kar=20", "--limit", "8", "--device", "cpu"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["certify", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def report_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


def test_a_run_ends_with_its_tables_at_80_columns(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "run"
    code, printed, err = run(capsys, *VIEWS, "--out", str(out))
    assert code == 0
    report = report_of(out)
    tables = printed.partition("note:")[0].splitlines()
    assert max(map(len, (line for line in tables if str(out) not in line))) <= 80
    for name in ("without_pix (control)", "without_fou (control)", "without_kar (control)", "constant (control)"):
        assert any(line.startswith(name) for line in tables)
    assert [line.split()[:3] for line in tables if line.startswith("pix=")] == [
        name.split(",") for name in report["results"]["certified"]["certified"]
    ]
    assert "plan: 8 samples, demo:views/late on cpu; votes about each at most" in err
    assert f"{'vote_median':40}{1:>12}" in err and "certified: 8 samples" in err
    assert "any_one" in report["results"]["vote_majority"] and report["budget"]["largest"] == dict.fromkeys(
        ("pix", "fou", "kar"), 1
    )
    for page in ("report.html", "report.md"):
        assert "costs one pass and needs no masks" in (out / page).read_text()


def test_gates_resumed_runs_and_replaced_ones(tmp_path: Path, capsys) -> None:
    out = str(tmp_path / "run")
    given = ["--out", out, "--budget", "image=1"]
    code, _, err = run(
        capsys, *DIGITS, *given, "--fail-under", "certified.image=2=1", "--fail-under", "model.accuracy=0"
    )
    assert code == 1 and err.count("gate failed") == 1
    assert "gate failed: certified.image=2 is" in err
    report = report_of(tmp_path / "run")
    assert list(report["results"]["certified"]["certified"]) == ["image=0", "image=1", "image=2"]
    assert list(report["results"]) == ["model", "certified", "constant"]
    code, _, err = run(capsys, *DIGITS, *given)
    assert code == 2 and "--resume" in err and "--overwrite" in err
    log = (tmp_path / "run" / "log.jsonl").read_bytes()
    code, printed, _ = run(capsys, *DIGITS, "--out", out, "--resume", "--budget", "sticker:image=8")
    assert code == 0 and (tmp_path / "run" / "log.jsonl").read_bytes() == log
    assert "sticker:image=8: a patch of 8 x 8 pixels of image, counted as image=2" in printed
    code, _, err = run(capsys, *DIGITS, "--out", out, "--resume", "--seed", "1")
    assert code == 2 and "seed: 0 then, 1 now" in err
    code, _, err = run(capsys, *DIGITS, "--out", out, "--overwrite", "--seed", "1")
    assert code == 0 and report_of(tmp_path / "run")["seed"] == 1


def test_neither_command_takes_the_other_ones_folder(tmp_path: Path, capsys) -> None:
    audited, certified = str(tmp_path / "audited"), str(tmp_path / "certified")
    audit = ["audit", "demo:digits", "--data", "demo:digits", "--attacks", "pgd", "--steps", "1", "--limit", "4"]
    assert cli.main([*audit, "--out", audited, "--device", "cpu"]) == 0
    assert run(capsys, *DIGITS, "--out", certified)[0] == 0
    for option in ("--resume", "--overwrite"):
        code, _, err = run(capsys, *DIGITS, "--out", audited, option)
        assert code == 2 and ("another run than a certification" in err or "not of a certification" in err)
        assert cli.main([*audit, "--out", certified, option, "--device", "cpu"]) == 2
        assert "holds another run than an audit" in capsys.readouterr().err
    assert report_of(tmp_path / "audited")["attacks"] == ["pgd"] and "plot" in report_of(tmp_path / "certified")
    (tmp_path / "certified" / "mine.txt").write_text("")
    code, _, err = run(capsys, *DIGITS, "--out", certified, "--overwrite")
    assert code == 2 and "mine.txt" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*DIGITS, "--keep", "image=0"], "keep is 0 for every modality"),
        ([*DIGITS, "--keep", "image=17"], "keep at most 16, or leave such samples out. (digit "),
        ([*DIGITS, "--keep", "text=1"], "Unknown modality for --keep 'text'. Known: image."),
        ([*DIGITS, "--keep", "image=x"], "--keep: 'image=x' is not NAME=NUMBER"),
        ([*DIGITS, "--keep", "image"], "--keep: 'image' is not NAME=NUMBER"),
        ([*DIGITS, "--keep", "image=nan"], "--keep: 'image=nan' is not NAME=NUMBER"),
        ([*DIGITS, "--budget", "image=17"], "17 of image are more than any sample has, 16"),
        ([*DIGITS, "--budget", "image"], "--budget 'image' is not of the form"),
        ([*DIGITS, "--masks", "none"], "--masks: unknown kind of masks 'none'"),
        ([*DIGITS, "--elements", "image=words"], "image holds numbers, so it has no words"),
        ([*DIGITS, "--edits", "any", "--masks", "mmcert"], "none is added or deleted"),
        ([*DIGITS, "--fail-under", "certified.depth=1=0.3"], "Unknown modality for --fail-under 'depth'"),
        ([*DIGITS, "--fail-under", "certfied.image=1=0.3"], "Did you mean certified?"),
        ([*DIGITS, "--resume", "--overwrite"], "give one of them"),
        (["demo:scenes", *DIGITS[1:], "--data", "demo:scenes"], "demo:scenes has captions and no labels"),
        (DIGITS[:3], "Missing option '--keep'. For example: --keep image=16,text=3."),
        ([*DIGITS, "--budget", "--resume"], "For example: --budget image=1,text=1."),
    ],
)
def test_bad_input_is_one_line_and_code_2(tmp_path: Path, capsys, arguments: list[str], said: str) -> None:
    code, printed, err = run(capsys, *arguments, "--out", str(tmp_path / "run"))
    lines = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert code == 2 and not printed and len(lines) == 1 and lines[0].startswith("error: ")
    assert said in lines[0]
    assert not (tmp_path / "run").exists()


def test_masks_are_listed_with_what_papers_call_them(capsys) -> None:
    from art_multimodal.estimators.certification import MASKS

    assert cli.main(["list", "masks"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in MASKS)
    assert "MMCert" in printed and "all votes are counted" in printed and "``" not in printed


def test_the_page_begins_with_what_the_certificate_is_worth(tmp_path: Path, capsys) -> None:
    assert run(capsys, *VIEWS, "--budget", "pix=1", "--out", str(tmp_path / "out"))[0] == 0
    page, report = (tmp_path / "out" / "report.html").read_text(), report_of(tmp_path / "out")
    assert all(f'id="{name}"' in page for name in re.findall(r'href="#(\w+)"', page)) and page.count('href="#') > 5
    certified = {name: row["certified"] for name, row in report["results"].items() if "certified" in row}
    (budget,) = [one["name"] for one in report["budget"]["asked"]]
    own = certified["certified"][budget]["accuracy"]
    best = max(of[budget]["accuracy"] for name, of in certified.items() if is_control(name))
    shown = re.findall(r"<p><strong>([\d.]+) %</strong>", page.partition('class="brief"')[2])[:3]
    assert shown[1:] == [f"{100 * own:.1f}", f"{100 * best:.1f}"]
    assert ("Worth nothing" in page) == (own <= best)
    # Where votes are as good as the whole model and beat the controls, training is not the next step.
    better = copy.deepcopy(report)
    results = better["results"]
    results["certified"]["certified"][budget]["accuracy"] = results["certified"]["accuracy"] = 1.0
    for name in results:
        if is_control(name):
            results[name]["certified"][budget]["accuracy"] = 0.25
    said = brief(better)
    assert said and "+75.0 points" in said["worth"] and "train" not in said["next"]


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if key not in ("seconds", "checksum")}
    return [without_times(part) for part in value] if isinstance(value, list) else value


def test_two_processes_write_what_one_writes(tmp_path: Path, capsys) -> None:
    given = [*DIGITS[:-4], "--limit", "40", "--device", "cpu"]
    assert run(capsys, *given, "--out", str(tmp_path / "one"))[0] == 0
    options = [*given, "--out", str(tmp_path / "two"), "--fail-under", "certified.image=1=1"]
    done = two_processes(tmp_path, "-m", "art_multimodal", "certify", *options, ends_with=1)
    assert done.stderr.count("gate failed") == 1 and done.stdout.count("best control") == 1
    assert without_times(report_of(tmp_path / "two")) == without_times(report_of(tmp_path / "one"))
    lines = [[json.loads(x) for x in (tmp_path / n / "log.jsonl").read_text().splitlines()] for n in ("one", "two")]
    assert without_times(lines[0]) == without_times(lines[1]) and len(lines[0]) == 3 * 2
