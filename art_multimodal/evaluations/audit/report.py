"""From the log of a run to ``report.json``, ``report.md`` and ``report.html``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from art_multimodal.evaluations.audit.cited import standards_of_rows
from art_multimodal.evaluations.audit.curve import drawn, radii_of
from art_multimodal.evaluations.audit.drawing.curves import curves_svg, dashes_of
from art_multimodal.evaluations.audit.gate import Gate
from art_multimodal.evaluations.audit.lines import CLEAN
from art_multimodal.evaluations.audit.log import RunLog
from art_multimodal.evaluations.audit.rendering import md, render
from art_multimodal.evaluations.audit.samples import pictured
from art_multimodal.evaluations.audit.samples_table import write_samples
from art_multimodal.evaluations.audit.sentences import sentences
from art_multimodal.evaluations.audit.summary import RECALL_AT, summarise
from art_multimodal.evaluations.audit.threats import threats_of
from art_multimodal.evaluations.audit.verdicts import verdicts_of
from art_multimodal.evaluations.standards import STANDARDS
from art_multimodal.evaluations.suite import entry_of
from art_multimodal.evaluations.suite.selection import SMOOTHED_ROWS
from art_multimodal.store import write_atomically

#: Raised when ``report.json`` has other keys, or they mean something else; ``schema_version`` is that of the log.
REPORT_VERSION = 1
#: Of the bar without an attack.
_CLEAN_COLOUR = "#3b7dd8"


def report_of(log: RunLog, gates: Sequence[Gate] = ()) -> dict[str, Any]:
    """What ``report.json`` holds, from the log: see ``report.schema.json`` beside this module.

    :param gates: Of the command line; those of a plan are in the log.
    :raises InputError: If a line of the log is damaged.
    """
    summary = summarise(log.header, log.lines())
    verdicts = verdicts_of(log.header, summary, gates)
    found = {"report_version": REPORT_VERSION, **log.header, **summary}
    found |= {"standards": standards_of_rows(found)}
    return found if verdicts is None else {**found, "verdicts": verdicts}


def write_reports(log: RunLog, gates: Sequence[Gate] = ()) -> dict[str, Any]:
    """Write the three reports, and ``samples.csv``, into the run's folder and return what ``report.json`` holds.

    :param gates: Of the command line; those of a plan are in the log.
    :raises InputError: If they cannot be written.
    """
    text = json.dumps(report_of(log, gates), indent=2, ensure_ascii=True, allow_nan=False)
    report = json.loads(text)
    write_atomically(log.folder / "report.json", text)
    write_samples(log.folder, log.header, log.lines())
    context: dict[str, Any] = {
        "report": report,
        "rows": _rows(report),
        "samples": list(pictured(log)),
        "recall_at": RECALL_AT,
        "has_texts": any("text_queries" in row for row in report["results"].values()),
        "broken_by": [
            (name, attack, count)
            for name, row in report["results"].items()
            for attack, count in row.get("broken_by", {}).items()
        ],
        "curves": None,
        "verdicts": report.get("verdicts"),
        "documents": STANDARDS,
        "summaries": {name: entry_of(name).summary for name in report["attacks"]},
    }
    if "curves" in report:
        names = drawn(report)
        colours = {row["name"]: row["colour"] for row in context["rows"] if row["name"] in names}
        context["curves"] = {
            "plot": curves_svg({name: report["curves"][name] for name in colours}, colours),
            "legend": [(name, colours[name], dashes) for name, dashes in dashes_of(colours).items()],
            "radii": ["0", *(radius.name for radius in radii_of(report))],
        }
    for name, quote in (("report.md", md), ("report.html", str)):
        write_atomically(log.folder / name, render(name, {**context, "summary": sentences(report, quote)}))
    return report


def _rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the table, with what the plot needs."""
    threats = threats_of(report)
    single = {CLEAN, *report["attacks"], *SMOOTHED_ROWS}
    return [
        {
            "name": name,
            "colour": _CLEAN_COLOUR if name == CLEAN else threats[result["modality"]].colour,
            "worst_case": name not in single,
            **result,
        }
        for name, result in report["results"].items()
    ]
