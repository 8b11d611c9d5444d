"""Ensembles, texts and pasted words in an audit: what goes on after what, what is said, and resuming in between."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from audits import logged, read_report, run_audit, timeless

from art_multimodal import InputError
from art_multimodal.cli import main
from art_multimodal.demo.captions import DIGIT_NAMES
from art_multimodal.evaluations.audit import Audit, AuditSettings, RunLog, write_reports
from art_multimodal.evaluations.suite import exhaustive

SETTINGS = AuditSettings(
    "demo:digits",
    "demo:digits",
    attacks="bert_attack,typographic,worst_multimodal",
    eps=4 / 255,
    steps=3,
    max_queries=20,
    limit=6,
    batch_size=2,
    group_size=2,
    seed=2,
    max_share=0.2,
)


@pytest.fixture(scope="module", autouse=True)
def few_texts(little_effort: None) -> Iterator[None]:
    """Resuming is tried here, and not the whole vocabulary."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exhaustive, "MOST_TEXTS", 1_000)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunLog:
    return run_audit(SETTINGS, tmp_path_factory.mktemp("audit") / "worst")


def test_both_are_never_safer_than_one(finished: RunLog) -> None:
    report = read_report(finished.folder)
    assert report["attacks"] == ["bert_attack", "typographic", "worst_image", "worst_text", "worst_multimodal"]
    lines = logged(finished)
    misled = {
        name: {
            s["index"]
            for line in lines
            if line["attack"] == name
            for s in line["samples"]
            if s["predicted"] != s["label"]
        }
        for name in report["attacks"]
    }
    assert misled["worst_text"] and misled["worst_image"] | misled["worst_text"] <= misled["worst_multimodal"]
    assert misled["bert_attack"] <= misled["worst_text"]
    worst = report["results"]["worst"]
    assert worst["accuracy"] == report["results"]["worst_multimodal"]["accuracy"]
    for name in ("worst_image", "worst_text", "worst_multimodal"):
        row = report["results"][name]
        assert sum(row.get("broken_by", {}).values()) == len(misled[name])
        assert row["attacked"] == report["results"]["clean"]["accuracy"] * report["results"]["clean"]["n"]
    assert report["results"]["worst_image"]["flags"]["checked"] > 0
    # What was tried on others' victims is nothing: they keep the record of the attack that misled them.
    of = {(line["attack"], s["index"]): s for line in lines for s in line["samples"]}
    for index in misled["worst_image"]:
        assert of["worst_multimodal", index]["broken_by"] == of["worst_image", index]["broken_by"]


def test_resumed_between_ensembles(finished: RunLog, tmp_path: Path) -> None:
    whole = (finished.folder / "log.jsonl").read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    # Behind worst_image of the second batch, and within the line of worst_multimodal of the third.
    for number, cut in enumerate((ends[9], ends[16] + 40)):
        folder = tmp_path / str(number)
        shutil.copytree(finished.folder, folder)
        (folder / "log.jsonl").write_bytes(whole[:cut])
        log = Audit(SETTINGS, folder, device="cpu").evaluate(resume=True)
        assert timeless(write_reports(log)) == timeless(read_report(finished.folder))


def test_the_pages_speak_of_texts_words_and_ensembles(finished: RunLog) -> None:
    page = (finished.folder / "report.html").read_text()
    assert "Which attack of an ensemble misled the model" in page and "These are the numbers to quote" in page
    assert "by the word" in page and "texts tried" in page and "<ins>" in page
    protocol = read_report(finished.folder)["protocol"]
    assert "the words of all class names" in protocol["text_budget"] and "demo:mlm" in protocol["text_budget"]
    assert "20 %" in protocol["typographic"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--language-model", "./nowhere"], "There is no folder"),
        (["--language-model", "demo:bert"], "demo:mlm"),
        (["--max-words", "0"], "max words must be at least 1, not 0."),
        (["--max-share", "2"], "max share is a share of the image"),
        (["--protect", "missing.txt"], "there is no file 'missing.txt'"),
        (["--fail-under", "worst_image.share_removed_mean=0.1"], "is a number of decoupling"),
        (["--task", "captioning"], "captioning"),
    ],
)
def test_bad_settings_are_refused_before_any_work(options, message, tmp_path: Path, capsys) -> None:
    base = ["audit", "demo:digits", "--data", "demo:digits", "--attacks", "bert_attack,worst_image"]
    assert main([*base, *options, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_protection_reaches_the_budget(tmp_path: Path) -> None:
    settings = AuditSettings(
        "demo:shapes/concat",
        "demo:shapes",
        attacks="bert_attack",
        limit=6,
        batch_size=6,
        group_size=6,
        protect_class_names=False,
    )
    audit = Audit(settings, tmp_path / "out", device="cpu")
    # The data name what an answer hangs on, whatever becomes of class names.
    assert "red" in audit.header()["budget"]["protected_words"]
    settings = AuditSettings("demo:digits", "demo:digits", attacks="bert_attack", protect_class_names=False)
    assert Audit(settings, tmp_path / "out", device="cpu").budget.text.protect_class_names is False


def test_a_prompt_too_long_for_its_changes_is_no_error(tmp_path: Path) -> None:
    """Candidates that the model cannot read are not admissible; the audit goes on with the others."""
    # With the longest names it fills the 126 bytes that the model reads: one letter more is too many.
    template = "a photo of the handwritten digit {}" + " and more" * 9 + " again."
    assert max(len(template.format(name)) for name in DIGIT_NAMES) == 126
    settings = AuditSettings(
        "demo:digits",
        "demo:digits",
        attacks="bert_attack,character_attack_margin",
        limit=1,
        batch_size=1,
        group_size=1,
        templates=(template,),
        # Of the words one is left.
        protected_words=("a", "photo", "of", "the", "handwritten", "and", "more", "again"),
    )
    report = write_reports(Audit(settings, tmp_path / "out", device="cpu").evaluate())
    assert report["complete"]
    with pytest.raises(InputError, match="tokens"):
        Audit(
            AuditSettings("demo:digits", "demo:digits", templates=("a " * 200 + "{}",)), tmp_path / "two", device="cpu"
        )
