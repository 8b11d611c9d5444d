"""``samples.csv``: what the model said of every sample, before any attack and after each."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from art_multimodal.evaluations.audit.lines import CLEAN, Classified, CleanLine, Line, Ranked, SampleRecord
from art_multimodal.evaluations.audit.passes import passes_in, smoothed_passes
from art_multimodal.shown import shown
from art_multimodal.store import cannot_write, open_regular, replace_file

FILE = "samples.csv"
#: What begins a formula in a spreadsheet; shown() has made tabs and line breaks harmless.
_FORMULA = ("=", "+", "-", "@", "|", "%")


def write_samples(folder: Path, header: Mapping[str, Any], lines: Iterable[Line]) -> None:
    """Write the table: a row for each sample that could be read, two columns for each pass.

    Columns are ``index`` (in the data), ``name``, ``label``, ``predicted`` and ``right``, and of each pass ``PASS
    predicted`` and ``PASS right``, empty where the pass was not made on the sample. In retrieval ranks take the place
    of classes, that of the image first. Names come from data: control characters are escaped, and what a spreadsheet
    could take for a formula stands behind an apostrophe.

    :param folder: Of the run.
    :param lines: Of its log, in order.
    :raises InputError: If it cannot be written.
    """

    def write(path: Path) -> None:
        # Line by line: memory does not grow with the data.
        with open_regular(path, "r+b") as stream:
            for line in table_lines(header, lines):
                stream.write(line)

    try:
        replace_file(folder / FILE, write)
    except OSError as error:
        raise cannot_write(folder / FILE, error) from error


def table_lines(header: Mapping[str, Any], lines: Iterable[Line]) -> Iterator[bytes]:
    """The table, line by line.

    :param lines: Of the log, in order.
    """
    for row in _rows(header, lines):
        yield _as_line(row).encode("utf-8", "backslashreplace")


def _rows(header: Mapping[str, Any], lines: Iterable[Line]) -> Iterator[list[str]]:
    passes = [*passes_in(header), *smoothed_passes(header.get("smoothing"))]
    names = header["data"]["class_names"]
    yield ["index", "name", "label", *(f"{name} {what}".strip() for name in ("", *passes) for what in _COLUMNS)]
    batch: dict[str, dict[int, SampleRecord]] = {}
    for line in lines:
        if isinstance(line, CleanLine):
            yield from _of_batch(batch, passes, names)
            batch = {}
        batch[line.attack] = {record.index: record for record in line.samples}
    yield from _of_batch(batch, passes, names)


_COLUMNS = ("predicted", "right")


def _of_batch(
    batch: Mapping[str, Mapping[int, SampleRecord]], passes: Iterable[str], names: list[str]
) -> Iterator[list[str]]:
    for index, clean in batch.get(CLEAN, {}).items():
        verdict = clean.verdict
        label = names[verdict.label] if isinstance(verdict, Classified) else ""
        row = [str(index), harmless(clean.name), harmless(label), *_said(clean, names)]
        for name in passes:
            record = batch.get(name, {}).get(index)
            row += ["", ""] if record is None else _said(record, names)
        yield row


def _said(record: SampleRecord, names: list[str]) -> list[str]:
    verdict = record.verdict
    if isinstance(verdict, Ranked):
        said = " ".join(map(str, verdict.ranks))
    else:
        # A smoothed model may say nothing.
        said = harmless(names[verdict.predicted]) if verdict.predicted >= 0 else ""
    return [said, "1" if record.right else "0"]


def harmless(text: str) -> str:
    """A string from data as a cell of a table: no control characters, and no formula."""
    text = shown(text)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


def _as_line(row: list[str]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(row)
    return stream.getvalue()
