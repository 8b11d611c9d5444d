"""From the log of a certification to ``report.json``, ``report.md`` and ``report.html``."""

from __future__ import annotations

import json
from typing import Any

from art_multimodal.evaluations.audit.rendering import md, render
from art_multimodal.evaluations.certification.brief import brief, contents
from art_multimodal.evaluations.certification.drawing import staircase
from art_multimodal.evaluations.certification.lines import ATTACKED, MODEL, is_control
from art_multimodal.evaluations.certification.log import CertificationLog
from art_multimodal.evaluations.certification.sentences import sentences
from art_multimodal.evaluations.certification.summary import summarise
from art_multimodal.store import write_atomically


def write_reports(log: CertificationLog) -> dict[str, Any]:
    """Write the three reports into the run's folder and return what ``report.json`` holds.

    :raises InputError: If they cannot be written.
    """
    text = json.dumps(
        {**log.header, **summarise(log.header, log.lines())}, indent=2, ensure_ascii=True, allow_nan=False
    )
    report = json.loads(text)
    write_atomically(log.folder / "report.json", text)
    results = report["results"]
    context = {
        "report": report,
        "rows": results,
        # Those that something is certified about, controls last: the columns of the table.
        "columns": sorted(
            (name for name, row in results.items() if "certified" in row and not _is_attack(name)), key=is_control
        ),
        "attacks": {name: row for name, row in results.items() if _is_attack(name)},
        "asked": {one["name"]: one for one in report["budget"]["asked"]},
        "controls": [name for name in results if is_control(name)],
        "model": MODEL,
        "brief": brief(report),
        "contents": contents(report),
        "plot": staircase(report["plot"], [one["edits"] for one in report["budget"]["asked"]]),
    }
    for name, quote in (("report.md", md), ("report.html", str)):
        page = name.replace("report", "certification")
        write_atomically(log.folder / name, render(page, {**context, "summary": sentences(report, quote)}))
    return report


def _is_attack(name: str) -> bool:
    return name.startswith(ATTACKED)
