"""``samples.csv``: every sample's outcome, and nothing in it that a spreadsheet would run."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from audits import header_of, line_of, typed_lines

from art_multimodal.evaluations.audit.lines import CleanLine
from art_multimodal.evaluations.audit.log import RunLog
from art_multimodal.evaluations.audit.samples_table import harmless, write_samples


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "samples.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("kind", ["finished", "finished_pairs", "finished_retrieval"])
def test_every_sample_has_a_row_that_says_what_the_log_says(request, kind: str) -> None:
    log: RunLog = request.getfixturevalue(kind)
    rows = {int(row["index"]): row for row in table(log.folder)}
    seen, clean = 0, 0
    for line in log.lines():
        prefix = "" if isinstance(line, CleanLine) else f"{line.attack} "
        clean += len(line.samples) if isinstance(line, CleanLine) else 0
        for record in line.samples:
            row = rows[record.index]
            assert row["name"] == record.name and row[f"{prefix}right"] == str(int(record.right))
            if kind == "finished_retrieval":
                assert row[f"{prefix}predicted"] == " ".join(map(str, record.verdict.ranks))
            else:
                names = log.header["data"]["class_names"]
                assert row[f"{prefix}predicted"] == names[record.verdict.predicted]
                assert row["label"] == names[record.verdict.label]
            seen += 1
    assert seen > clean == len(rows)


def test_names_from_data_are_cells_and_nothing_else(tmp_path: Path) -> None:
    names = [
        "=1+1",
        "+cmd|' /C calc'!A0",
        "-2",
        "@SUM(A1)",
        "\t=x",
        '"quoted", and\nbroken',
        "\u202ex",
        "\udce9",
        " =y",
    ]
    header = header_of("pgd")
    header["data"]["class_names"] = ["=a", "b", "c"]
    samples = [{"index": index, "name": name} for index, name in enumerate(names)]
    attacked = [{"index": 0, "name": "=1+1", "predicted": 1}]
    write_samples(tmp_path, header, typed_lines(header, line_of("clean", 0, *samples), line_of("pgd", 0, *attacked)))
    rows = table(tmp_path)
    assert len(rows) == len(names)
    for row in rows:
        assert not any(cell.lstrip().startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row.values())
        assert all(cell.isprintable() for cell in row.values())
    assert rows[0]["name"] == "'=1+1" and rows[0]["label"] == "'=a" and rows[0]["pgd predicted"] == "b"
    assert rows[0]["pgd right"] == "0" and rows[1]["pgd right"] == rows[1]["pgd predicted"] == ""
    assert [harmless(name) for name in ("photo.png", "b-1", "")] == ["photo.png", "b-1", ""]
