"""The reports: complete, self-contained, and safe with hostile text."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from audits import header_of, line_of, logged, read_report, typed_lines
from photos import save_photo
from PIL import Image

from art_multimodal.evaluations.audit import Audit, AuditSettings, RunLog, write_reports
from art_multimodal.evaluations.audit.lines import Line
from art_multimodal.evaluations.audit.rendering import interval, md, number, percent
from art_multimodal.evaluations.audit.report import report_of
from art_multimodal.evaluations.audit.samples import pictured, word_difference
from art_multimodal.evaluations.audit.sentences import sentences
from art_multimodal.evaluations.budget_settings import budget_text, in_255ths

HOSTILE = '<script>alert(1)</script> & "quotes" | `code` [x](javascript:y) {{ 7*7 }}'


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data) -> None:
        self.text += data


def test_html_is_self_contained_and_shows_pictures(finished: RunLog) -> None:
    page = Page((finished.folder / "report.html").read_text())
    references = [
        value for _, attributes in page.tags for name, value in attributes.items() if name in ("href", "src", "srcset")
    ]
    # Links lead to parts of the page, and nowhere else.
    inside = [str(value) for value in references if str(value).startswith("#")]
    assert len(inside) > 8 and {value[1:] for value in inside} <= {str(a.get("id")) for _, a in page.tags}
    references = [value for value in references if value not in inside]
    assert len(references) > 10
    assert all(str(value).startswith("data:image/png;base64,") for value in references)
    assert not {"script", "iframe", "object", "link", "form"} & {tag for tag, _ in page.tags}
    picture = Image.open(io.BytesIO(base64.b64decode(str(references[0]).split(",", 1)[1])))
    assert picture.size == (32, 32)
    bars = [float(a["width"]) for tag, a in page.tags if tag == "rect" and "fill" in a]  # type: ignore[arg-type]
    report = read_report(finished.folder)
    # What stands for several attacks is set apart.
    rows = sorted(report["results"], key=lambda name: name in report["attacks"])
    assert bars == pytest.approx([100 * report["results"][row]["accuracy"] for row in rows])
    outlines = [attributes for tag, attributes in page.tags if tag == "rect" and attributes.get("class") == "removed"]
    assert outlines and all(0 <= int(o["x"]) < 32 and int(o["width"]) >= 1 for o in outlines)  # type: ignore[arg-type]


def test_outlined_blocks_are_what_was_removed(finished: RunLog) -> None:
    fill = round(0.6 * 255)
    checked = 0
    for line in logged(finished):
        for sample in line["samples"]:
            if line["attack"] != "decoupling_exhaustive" or not sample.get("picture"):
                continue
            clean, attacked = (
                np.asarray(Image.open(finished.pictures / f"decoupling_exhaustive-{sample['index']}-{what}.png"))
                for what in ("clean", "attacked")
            )
            mask = np.zeros((32, 32), dtype=bool)
            for row, column, height, width in sample["blocks"]:
                mask[row : row + height, column : column + width] = True
            assert (attacked[mask] == fill).all()
            np.testing.assert_array_equal(attacked[~mask], clean[~mask])
            assert sample["pixels"] == mask.sum()
            checked += 1
    assert checked >= 3


def test_removed_words_are_struck_out_and_a_constant_model_is_called_one(tmp_path: Path) -> None:
    log = RunLog(tmp_path, header_of("decoupling_guided", templates=["a <b> of {}", "the {}"]))
    log.pictures.mkdir()
    for what in ("clean", "attacked", "difference"):
        Image.new("RGB", (4, 4)).save(log.pictures / f"decoupling_guided-0-{what}.png")
    sample = {"index": 0, "name": "n", "label": 0, "predicted": 1, "picture": True, "size": [4, 4]}
    sample |= {"blocks": [], "removed_words": [[0, 1]], "share_removed": 0.1, "pixels": 0, "words": 1}
    log.append(*typed_lines(log.header, line_of("clean", 0, {"index": 0})))
    log.append(*typed_lines(log.header, line_of("decoupling_guided", 0, sample)))
    (shown,) = pictured(log)
    assert shown["texts"] == [[("a", "same"), ("<b>", "removed"), ("of", "same"), ("{}", "same")]]
    clean = {"n": 10, "accuracy": 0.4, "accuracy_ci95": (0.1, 0.7)}
    report = {**log.header, "task": "zero-shot", "budget": {}, "skipped": [], "complete": True}
    report["without_modality"] = {}
    for predictions, said in (([9, 1, 0], True), ([5, 4, 1], False)):
        report["results"] = {"clean": {**clean, "prediction_counts": predictions, "label_counts": [4, 3, 3]}}
        assert any("hardly tells the classes apart" in sentence for sentence in sentences(report, md)) == said
    report["data"]["class_names"][0] = HOSTILE
    report["results"]["clean"]["prediction_counts"] = [10, 0, 0]
    assert "<script" not in "".join(sentences(report, md)) and "![" not in "".join(sentences(report, md))


@pytest.mark.parametrize(
    ("before", "after", "parts"),
    [
        ("a red car", "a blue car", [("a", "same"), ("red", "removed"), ("blue", "added"), ("car", "same")]),
        ("car", "car", [("car", "same")]),
        ("", "new", [("new", "added")]),
        ("gone", "", [("gone", "removed")]),
        ("", "", []),
        ("a a a b", "a a b", [("a", "removed"), ("a a b", "same")]),
    ],
)
def test_differences_of_words(before, after, parts) -> None:
    assert word_difference(before, after) == parts


def test_differences_of_words_lose_nothing() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        before, after = (" ".join(rng.choice(["a", "b", "ü", "<i>"], rng.integers(0, 9))) for _ in range(2))
        parts = word_difference(before, after)
        assert " ".join(words for words, kind in parts if kind != "added") == before
        assert " ".join(words for words, kind in parts if kind != "removed") == after


def test_attacked_texts_are_shown_as_differences_and_escaped(tmp_path: Path) -> None:
    log = RunLog.create(tmp_path / "run", header_of("bert_attack", templates=["a {}"]))
    Image.new("RGB", (4, 4)).save(log.pictures / "bert_attack-0-clean.png")
    sample = {"index": 0, "name": "n", "label": 0, "predicted": 1, "picture": True, "size": [4, 4], "text": None}
    sample["texts"] = [["a x", "a x"], [f"a {HOSTILE}", f"the {HOSTILE}"]]
    log.append(*typed_lines(log.header, line_of("clean", 0, {"index": 0})))
    log.append(*typed_lines(log.header, line_of("bert_attack", 0, sample)))
    (shown,) = pictured(log)
    assert len(shown["texts"]) == 1 and shown["texts"][0][:2] == [("a", "removed"), ("the", "added")]
    assert shown["attacked"] is None and shown["clean"].startswith("data:image/png")


def test_every_report_shows_the_same_numbers(finished: RunLog) -> None:
    results = read_report(finished.folder)["results"]
    page = Page((finished.folder / "report.html").read_text()).text
    markdown = (finished.folder / "report.md").read_text()
    for name, row in results.items():
        assert percent(row["accuracy"]) in page and percent(row["accuracy"]) in markdown
        assert interval(row["accuracy_ci95"]) in page and interval(row["accuracy_ci95"]) in markdown
        assert f"| {md(name)} |" in markdown
    assert percent(results["decoupling"]["share_removed_mean"], 2) in page


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A report about data that want to run code."""
    for index, name in enumerate((HOSTILE.replace("/", "%"), "plain")):
        for row in range(3):
            save_photo(tmp_path / "photos" / name / f"<img src=x onerror=alert({row})>.png", (16, 16), 10 * index + row)
    (tmp_path / "photos" / "plain" / "<b>broken.png").write_bytes(b"")
    settings = AuditSettings(
        "demo:digits",
        f"folder:{tmp_path / 'photos'}",
        "pgd,decoupling",
        eps=0.3,
        classes=(HOSTILE, "plain"),
        templates=("<i>{}</i> | a",),
    )
    write_reports(Audit(settings, tmp_path / "out", device="cpu").evaluate())
    return tmp_path / "out"


def test_strings_from_data_are_escaped(hostile: Path) -> None:
    page = Page((hostile / "report.html").read_text())
    assert HOSTILE in page.text
    assert "<b>broken.png" in page.text
    assert "onerror=alert" in page.text
    assert not {"script", "img", "i", "b"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    markdown = (hostile / "report.md").read_text()
    assert "<script" not in markdown and "<img" not in markdown and "<i>" not in markdown
    assert "](javascript" not in markdown
    assert read_report(hostile)["data"]["class_names"][0] == HOSTILE


def test_numbers_in_words() -> None:
    assert percent(0.12345, 2) == "12.35 %" and percent(None) == "n/a"
    assert percent(0.00002, 2) == "0.002 %" and percent(0.0) == "0.0 %" and percent(1e-4, 2) == "0.01 %"
    assert in_255ths(1 / 255) == "1/255" and in_255ths(0.5 / 255) == "0.5/255" and in_255ths(2.0) == "2"
    budget = {"norm": "2", "eps": 1.0, "eps_step": 0.25, "steps": 10}
    assert budget_text(budget) == "l_2, eps 1, step 0.25, 10 steps"
    assert budget_text({**budget, "norm": "inf", "eps": 8 / 255, "eps_step": 2 / 255}).startswith("l_inf, eps 8/255,")
    assert interval((0.1, 0.25)) == "10.0 to 25.0" and interval(None) == ""
    assert number(None) == "–" and number(1234.6) == "1,235" and number(3.0) == "3" and number(3.25) == "3.2"
    assert md("a|b\n<x> *y*") == "a\\|b &lt;x&gt; \\*y\\*"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("@someone", "@<!-- -->someone"),
        ("https://example.org", "https:<!-- -->//example.org"),
        ("WWW.example.org", "WWW<!-- -->.example.org"),
        ("a#12", "a\\#<!-- -->12"),
        ("- item", "\\- item"),
        ("1. item", "1\\. item"),
        ("\x1b[31m\u202e", "\\\\x1b\\[31m\\\\u202e"),
        ("demo:digits", "demo:digits"),
        ("ViT-B-32", "ViT-B-32"),
    ],
)
def test_markdown_mentions_nobody_and_links_nowhere(text: str, escaped: str) -> None:
    assert md(text) == escaped


def test_the_log_is_read_once_for_all_reports(
    finished: RunLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished.folder, tmp_path / "run")
    log, lines = RunLog.open(tmp_path / "run"), RunLog.lines
    asked: list[RunLog] = []

    def counted(log: RunLog) -> Iterator[Line]:
        asked.append(log)
        return lines(log)

    monkeypatch.setattr(RunLog, "lines", counted)
    report = write_reports(log)
    assert asked == [log]
    assert report == read_report(log.folder) == json.loads(json.dumps(report_of(log)))
    for name in ("report.html", "report.md", "samples.csv"):
        assert (log.folder / name).read_text() == (finished.folder / name).read_text()
