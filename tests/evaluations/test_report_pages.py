"""The pages for people: contents, a summary for a phone, folded samples, worst cases apart, nothing of data as code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from audits import read_report
from judged import every_outcome, judged

from art_multimodal.evaluations.audit import RunLog
from art_multimodal.evaluations.audit.findings.next_steps import next_steps
from art_multimodal.evaluations.audit.findings.references import references_of
from art_multimodal.evaluations.audit.findings.weakest import weakest_row
from art_multimodal.evaluations.audit.pages import write_pages
from art_multimodal.evaluations.audit.rendering import code

HOSTILE = "<script>x</script> | `a` [b](javascript:c)\n# d"


def pages(folder: Path) -> tuple[str, str]:
    return (folder / "report.html").read_text(), (folder / "report.md").read_text()


@pytest.mark.parametrize("kind", ["finished", "finished_pairs", "finished_retrieval"])
def test_a_page_says_date_versions_command_and_leads_to_each_of_its_parts(request, kind: str) -> None:
    log: RunLog = request.getfixturevalue(kind)
    report = read_report(log.folder)
    html, markdown = pages(log.folder)
    titles = re.findall(r'<li><a href="#(\w+)">', html)
    assert len(titles) == len(set(titles)) > 8
    # Each is there once, and in this order.
    places = [html.index(f'id="{title}"') for title in titles]
    assert places == sorted(places) and all(html.count(f'id="{title}"') == 1 for title in titles)
    assert set(re.findall(r'<h2 id="(\w+)"', html)) <= set(titles)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", report["began"])
    assert report["began"][:10] in html and report["began"][:10] in markdown
    assert (
        f"```\n{report['repeat']['command']}\n```" in markdown and f"<code>{report['repeat']['command']}</code>" in html
    )
    for name, version in report["versions"].items():
        assert f"{name} {version}" in html
    for step in report["next_steps"]:
        assert step["see"] in html and step["see"] in markdown


def test_the_summary_comes_first_and_what_is_long_is_folded(finished: RunLog) -> None:
    html, _ = pages(finished.folder)
    brief = html.index('<section class="brief"')
    assert brief < html.index("<nav") < html.index('id="happened"') and "NO LIMIT" in html
    assert html.index("worst cases</h3>") < html.index("Each attack by itself</h3>")
    samples = html[html.index('id="samples"') : html.index('id="protocol"')]
    assert samples.count("<details") == samples.count("</details>") > 0
    # No picture outside of them.
    assert "<figure" not in re.sub(r"<details.*?</details>", "", samples, flags=re.DOTALL) and "<figure" in samples
    # No table or plot is wider than the screen, but where it scrolls by itself.
    tables = re.findall(r'(<div class="scroll">)?<table( class="(\w+))?', html)
    assert all(scroll or kind in ("cards", "confusions") for scroll, _, kind in tables)
    assert 'name="viewport" content="width=device-width' in html


def changed_pages(report: dict[str, Any], folder: Path) -> tuple[str, str]:
    report["weakest"] = weakest_row(report)
    report |= {"references": references_of(report), "next_steps": next_steps(report)}
    write_pages(folder, report, [])
    return pages(folder)


def test_names_of_classes_and_commands_are_no_markup(finished: RunLog, tmp_path: Path) -> None:
    report = read_report(finished.folder)
    report["data"]["class_names"] = [f"{HOSTILE} {place}" for place in range(10)]
    report["settings"]["data"] = report["data"]["spec"] = f"folder:{HOSTILE}"
    report["repeat"] = {"command": f"audit '{HOSTILE}'", "said": HOSTILE}
    html, markdown = changed_pages(report, tmp_path)
    assert "<script" not in html + markdown and "](javascript" not in markdown and "\n# d" not in html + markdown
    assert html.count("&lt;script&gt;x&lt;/script&gt;") > 20
    assert code("audit a --b c,d=1/255") == "```\naudit a --b c,d=1/255\n```" and "```" not in code("a\n```\n<b>")


def test_verdicts_and_published_figures_are_on_both_pages(finished: RunLog, tmp_path: Path) -> None:
    report = read_report(finished.folder)
    report["data"]["spec"] = "data:cifar10"
    report["settings"]["eps"] = report["budget"]["eps"] = 1 / 255
    html, markdown = changed_pages(every_outcome(report), tmp_path)
    for page in (html, markdown):
        assert page.index("FAIL") < page.index("What to do next") and "TGA-ZSR" in page and "mean of 16" in page
        assert "64.4 %" in page and "this model (image)" in page
        assert "They say what size of number to expect" in page
    report["complete"] = False
    html, markdown = changed_pages(judged(report), tmp_path)
    assert "the run is not finished" in html and "the run is not finished" in markdown
