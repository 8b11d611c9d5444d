"""The table of a benchmark as JSON, CSV, Markdown, HTML and LaTeX."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from art_multimodal.evaluations.audit.rendering import percent, points, render
from art_multimodal.evaluations.audit.samples_table import harmless
from art_multimodal.evaluations.benchmark.config import BenchmarkConfig, Cell
from art_multimodal.evaluations.benchmark.drawing import colours_of, drawings_of
from art_multimodal.evaluations.benchmark.folder import STEM, TABLES, BenchmarkFolder
from art_multimodal.evaluations.benchmark.leaderboard import update
from art_multimodal.evaluations.benchmark.measured import Measured, measure, members_of_columns
from art_multimodal.evaluations.benchmark.table import ALL, ALPHA, BenchmarkTable, Number, table_of
from art_multimodal.evaluations.budget_settings import budget_text
from art_multimodal.shown import shown
from art_multimodal.store import FolderLock, write_atomically

#: Raised when ``benchmark.json`` has other keys, or they mean something else.
TABLE_VERSION = 1
_CSV = (
    *("budget", "radius", "model", "data", "role", "column", "n", "right", "accuracy", "low", "high", "sets"),
    *("difference", "difference_low", "difference_high", "gained", "lost", "p", "p_holm"),
)
#: What LaTeX takes for commands.
_TEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "-": "{-}",
}


def collect(folder: BenchmarkFolder, cells: Sequence[Cell]) -> list[Measured]:
    """What the finished cells have found, in their order.

    :raises InputError: If a log is damaged.
    """
    return [measure(cell, folder.cell(cell)) for cell in cells if folder.report(cell) is not None]


def write_tables(config: BenchmarkConfig, folder: BenchmarkFolder, cells: Sequence[Cell]) -> dict[str, Any]:
    """Write the table, from what is finished, and return what ``benchmark.json`` holds.

    Of several processes that end at once the last one has the cells of all: they write one after the other.

    :raises InputError: If they cannot be written, or cells do not fit together.
    """
    with FolderLock(folder.path) as lock:
        lock.wait()
        measured = collect(folder, cells)
        content, table = content_of(config, folder, cells, measured)
        texts = {
            "json": json.dumps(content, indent=1, ensure_ascii=True, allow_nan=False) + "\n",
            "csv": as_csv(table),
            "tex": as_tex(table, content),
        }
        sections = [_section(table, content, name) for name in table.budgets]
        context = {"content": content, "table": table, "sections": sections, "alpha": ALPHA}
        context |= {"colours": colours_of(table.models)}
        texts |= {ending: render(f"{STEM}.{ending}", context) for ending in ("md", "html")}
        for name in TABLES:
            write_atomically(folder.path / name, texts[name.rpartition(".")[2]])
        update(folder.path, config, measured)
    return content


def content_of(
    config: BenchmarkConfig, folder: BenchmarkFolder, cells: Sequence[Cell], measured: Sequence[Measured]
) -> tuple[dict[str, Any], BenchmarkTable]:
    """What ``benchmark.json`` holds, in JSON types; and the table in it."""
    models = list(dict.fromkeys(cell.model for cell in cells))
    data = {cell.data: cell.role for cell in cells}
    table = table_of(measured, models, data)
    done = {one.cell.id for one in measured}
    missing = [(cell, folder.failure(cell)) for cell in cells if cell.id not in done]
    content = {
        "benchmark_version": TABLE_VERSION,
        "title": config.title,
        "config": config.as_json(),
        "complete": not missing,
        "models": [_model(name, measured) for name in models],
        "data": [_data(name, role, measured) for name, role in data.items()],
        "budgets": [
            {"name": name, "radii": list(radii), "said": _budget(name, measured)}
            for name, radii in table.budgets.items()
        ],
        "columns": {name: _members(name, measured) for name in table.columns},
        "roles": list(table.roles),
        "numbers": [_number(one) for one in table.numbers],
        "missing": [
            {
                "cell": cell.id,
                **{"model": cell.model, "data": cell.data, "budget": cell.budget},
                "why": "not finished" if failure is None else failure.reason,
                "failed": failure is not None,
            }
            for cell, failure in missing
        ],
    }
    return content, table


def _model(name: str, measured: Sequence[Measured]) -> dict[str, Any]:
    found = next((one.header for one in measured if one.cell.model == name), None)
    facts = {} if found is None else {key: found["model"].get(key) for key in ("spec", "kind", "weights_sha256")}
    return {"name": name, **facts, **({} if found is None else {"defences": list(found.get("defences", ()))})}


def _data(name: str, role: str | None, measured: Sequence[Measured]) -> dict[str, Any]:
    found = next((one.header for one in measured if one.cell.data == name), None)
    keys = ("spec", "listed", "selected", "fingerprint")
    return {"name": name, "role": role, **({} if found is None else {key: found["data"].get(key) for key in keys})}


def _budget(name: str, measured: Sequence[Measured]) -> str:
    """What attacks may spend, said once where all models are of one kind."""
    said = dict.fromkeys(budget_text(one.header["budget"]) for one in measured if one.cell.budget == name)
    return "; ".join(said)


def _members(column: str, measured: Sequence[Measured]) -> list[str]:
    found = (name for one in measured for name in members_of_columns(one.header).get(column, ()))
    return list(dict.fromkeys(found))


def _number(one: Number) -> dict[str, Any]:
    return {**asdict(one), "ci95": list(one.ci95)}


def as_csv(table: BenchmarkTable) -> str:
    """One line for each number; names from data are made harmless for spreadsheets."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_CSV)
    for one in table.numbers:
        versus = one.versus
        names = [one.budget, one.radius, one.model, one.data or f"average: {one.role}", one.role, one.column]
        numbers = [one.n, one.right, one.accuracy, *one.ci95, one.sets]
        further = (
            [""] * 7
            if versus is None
            else [versus.difference, *versus.ci95, versus.gained, versus.lost, versus.p, versus.p_holm]
        )
        writer.writerow([*map(harmless, names), *numbers, *further])
    return stream.getvalue()


def tex(text: object) -> str:
    """A string from data as text of LaTeX: no commands, on one line."""
    return "".join(_TEX.get(letter, letter) for letter in shown(text))


def as_tex(table: BenchmarkTable, content: Mapping[str, Any]) -> str:
    """Tables for LaTeX with the package booktabs: averages and data sets of each budget, at its largest radius."""
    lines = [
        r"% \usepackage{booktabs,textcomp} and UTF-8; percentages with 95 % intervals; below them the difference from",
        "% the first row in points with its own interval, in pairs; * for p < 0.05 by Holm.",
    ]
    for budget, radii in table.budgets.items():
        columns = "l" + "r" * len(table.columns)
        lines += [r"\begin{tabular}{" + columns + "}", r"\toprule"]
        lines += [" & ".join(["", *map(tex, table.columns)]) + r" \\"]
        parts = [(f"mean, {role}", {"role": role}) for role in table.roles]
        parts += [(data, {"data": data}) for data in table.data]
        for title, place in parts:
            lines += [r"\midrule", rf"\multicolumn{{{len(table.columns) + 1}}}{{l}}{{{tex(title)}}} \\"]
            for model in table.models:
                row = [table.find(budget, radii[-1], model, column, **place) for column in table.columns]
                lines.append(_row(tex(model), map(_accuracy, row)))
                lines.append(_row("", map(_interval, row)))
                if any(one is not None and one.versus is not None for one in row):
                    lines.append(_row("", map(_difference, row)))
        said = next(one["said"] for one in content["budgets"] if one["name"] == budget)
        of = f"{budget}: " if budget else ""
        lines += [r"\bottomrule", r"\end{tabular}", "% " + shown(f"{of}{said}"), ""]
    return "\n".join(lines)


def _row(first: str, cells: Iterable[str]) -> str:
    """A row; what begins with a bracket would be an option of the line break before it."""
    return " & ".join(["{}" + first, *cells]) + r" \\"


def _accuracy(one: Number | None) -> str:
    if one is None:
        return "{--}"
    mark = "*" if one.versus is not None and one.versus.significant else ""
    return f"{100 * one.accuracy:.1f}{mark}"


def _interval(one: Number | None) -> str:
    return "" if one is None else _small("{:.1f}", "", one.ci95)


def _difference(one: Number | None) -> str:
    versus = None if one is None else one.versus
    return "" if versus is None else _small("${:+.1f}$", f"${points(versus.difference)}$ ", versus.ci95)


def _small(form: str, before: str, ends: tuple[float, float]) -> str:
    low, high = (form.format(100 * end) for end in ends)
    return rf"{{\scriptsize {before}[{low}, {high}]}}"


def _section(table: BenchmarkTable, content: Mapping[str, Any], budget: str) -> dict[str, Any]:
    """What pages say of a budget."""
    radius = table.budgets[budget][-1]
    (said,) = (one["said"] for one in content["budgets"] if one["name"] == budget)

    def part(title: str, **place: str) -> dict[str, Any]:
        rows = [
            {
                "model": model,
                "cells": [_shown(table.find(budget, radius, model, column, **place)) for column in table.columns],
            }
            for model in table.models
        ]
        return {"title": title, "rows": rows}

    averages = []
    for role in table.roles:
        sets = sum(role in (ALL, own) for own in table.data.values())
        averages.append(part(f"mean over {sets} data set{'s' * (sets != 1)}: {role}", role=role))
    each = [part(f"{name} ({role})" if role else name, data=name) for name, role in table.data.items()]
    drawings = drawings_of(table, budget)
    return {"name": budget, "said": said, "radius": radius, "parts": [*averages, *each], "drawings": drawings}


def _shown(one: Number | None) -> dict[str, Any] | None:
    """A number as pages write it."""
    if one is None:
        return None
    low, high = one.ci95
    found = {"accuracy": percent(one.accuracy), "ci95": f"{100 * low:.1f} to {100 * high:.1f}", "n": one.n}
    versus = one.versus
    found["versus"] = "" if versus is None else points(versus.difference) + ("*" if versus.significant else "")
    return found
