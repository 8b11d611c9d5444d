"""From the log of a run to ``report.json``, ``report.md`` and ``report.html``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from art_multimodal.evaluations.audit.cited import standards_of_rows
from art_multimodal.evaluations.audit.findings.next_steps import next_steps
from art_multimodal.evaluations.audit.findings.references import references_of
from art_multimodal.evaluations.audit.findings.repeating import repeat_of
from art_multimodal.evaluations.audit.findings.weakest import weakest_row
from art_multimodal.evaluations.audit.gate import Gate
from art_multimodal.evaluations.audit.lines import Line
from art_multimodal.evaluations.audit.log import RunLog
from art_multimodal.evaluations.audit.pages import write_pages
from art_multimodal.evaluations.audit.samples import pictured_in
from art_multimodal.evaluations.audit.samples_table import write_samples
from art_multimodal.evaluations.audit.summary import RunningSummary, summarise
from art_multimodal.evaluations.audit.verdicts import verdicts_of
from art_multimodal.store import write_atomically

#: Raised when ``report.json`` has other keys, or they mean something else; ``schema_version`` is that of the log.
REPORT_VERSION = 2


def report_of(log: RunLog, gates: Sequence[Gate] = ()) -> dict[str, Any]:
    """What ``report.json`` holds, from the log: see ``report.schema.json`` beside this module.

    :param gates: Of the command line; those of a plan are in the log.
    :raises InputError: If a line of the log is damaged.
    """
    return _report_of(log, summarise(log.header, log.lines()), gates)


def _report_of(log: RunLog, summary: dict[str, Any], gates: Sequence[Gate]) -> dict[str, Any]:
    verdicts = verdicts_of(log.header, summary, gates)
    found = {"report_version": REPORT_VERSION, **log.header, **summary}
    found |= {"standards": standards_of_rows(found)}
    if verdicts is not None:
        found["verdicts"] = verdicts
    found |= {"weakest": weakest_row(found), "references": references_of(found), "repeat": repeat_of(log.header, gates)}
    return {**found, "next_steps": next_steps(found)}


def write_reports(log: RunLog, gates: Sequence[Gate] = ()) -> dict[str, Any]:
    """Write the three reports, and ``samples.csv``, into the run's folder and return what ``report.json`` holds.

    The log is read once.

    >>> numbers = write_reports(log)["results"]
    >>> list(numbers), (audited / "report.html").exists()
    (['clean', 'pgd', 'image'], True)

    :param gates: Of the command line; those of a plan are in the log.
    :raises InputError: If they cannot be written.
    """
    numbers = RunningSummary(log.header)
    shown: list[dict[str, Any]] = []

    def seen() -> Iterator[Line]:
        for line in log.lines():
            numbers.add(line)
            shown.extend(pictured_in(log, line))
            yield line

    write_samples(log.folder, log.header, seen())
    text = json.dumps(_report_of(log, numbers.result(), gates), indent=2, ensure_ascii=True, allow_nan=False)
    report = json.loads(text)
    write_atomically(log.folder / "report.json", text)
    write_pages(log.folder, report, shown)
    return report
