"""A format of reports: the rows as CSV."""

from __future__ import annotations

import csv
import io

from art_multimodal.evaluations.formats.format import NOTHING, Format, Options, Report, register
from art_multimodal.shown import shown

_COLUMNS = ("n", "accuracy", "attack_success_rate")


def to_rows(report: Report, options: Options = NOTHING) -> str:
    """A line for each row of the report; what was not evaluated stays empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("row", *_COLUMNS))
    for name, row in report["results"].items():
        numbers = (row.get(column) for column in _COLUMNS)
        writer.writerow((shown(name), *("" if number is None else number for number in numbers)))
    return out.getvalue()


register(Format("rows", "rows.csv", "the rows as CSV, for spreadsheets", to_rows))
