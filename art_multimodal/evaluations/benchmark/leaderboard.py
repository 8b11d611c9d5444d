"""The leaderboard: of each model on each data set who is right, in a file that third parties' break-ins lower.

What cells have found is the base; what somebody has broken since is kept beside it, and a number is that of the samples
which are right in the base and which nobody has broken. So a benchmark that runs again loses no break-in.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.rendering import interval, md, percent
from art_multimodal.evaluations.benchmark.config import BenchmarkConfig
from art_multimodal.evaluations.benchmark.measured import CLEAN, Measured, in_order
from art_multimodal.evaluations.budget_settings import budget_text
from art_multimodal.evaluations.typed_json import Matching, entries, plain, typed
from art_multimodal.functional.statistics import proportion_ci95
from art_multimodal.shown import brief, shown
from art_multimodal.store import opened_document, read_regular, sealed_document, write_atomically
from art_multimodal.store.files import reason_of

FILE = "leaderboard.json"
KIND, SCHEMA_VERSION = "leaderboard of robustness", 1
_MOST_BYTES = 256 << 20
#: Places of samples, as ``"0-4,7"``.
_PLACES = Annotated[str, Matching(r"(\d{1,10}(-\d{1,10})?(,\d{1,10}(-\d{1,10})?)*)?")]
_MOST_SAMPLES = 1 << 26
#: What of a budget says how much may be changed; the rest is how hard one has tried.
_THREAT = ("norm", "eps", "modalities", "max_words", "max_edits", "protect_class_names", "protected_words")
#: What of the data a model was asked about.
_ASKED = ("fingerprint", "class_names", "templates")


@dataclass(frozen=True)
class Amendment:
    """A break-in that was confirmed.

    :param by: Who found it.
    :param source: Where it is described; may be empty.
    :param date: When it was entered.
    :param bundle: The digest of its evidence.
    :param was: Accuracies before it, by column.
    :param now: Those after it.
    :param broken: By column the samples that it breaks, as places in the data.
    """

    by: str
    source: str
    date: str
    bundle: Annotated[str, Matching("[0-9a-f]{64}")]
    was: Mapping[str, float]
    now: Mapping[str, float]
    broken: Mapping[str, _PLACES]


@dataclass(frozen=True)
class Column:
    """Who is right in a column.

    >>> Column(n=4, right=(0, 2, 3)).right
    (0, 2, 3)

    :param n: Samples that count.
    :param right: Those among them that are right, as places in the data.
    """

    n: int
    right: _PLACES


@dataclass(frozen=True)
class Entry:
    """A model on a data set within a budget.

    :param model: ``name``, ``spec``, ``weights_sha256``, ``defences``.
    :param data: ``name``, ``role``, ``spec``, ``fingerprint``, ``class_names``, ``templates``.
    :param task: What the model is asked to do.
    :param budget: How much may be changed.
    :param settings: Of the audit.
    :param samples: All that were asked about, as places in the data.
    :param attacks: What the base withstood.
    :param columns: By name.
    :param amendments: Break-ins, the first one first.
    """

    model: Mapping[str, Any]
    data: Mapping[str, Any]
    task: str
    budget: Mapping[str, Any]
    settings: Mapping[str, Any]
    samples: _PLACES
    attacks: tuple[str, ...]
    columns: Mapping[str, Column]
    amendments: tuple[Amendment, ...] = ()

    @property
    def key(self) -> str:
        """By which a later run of the benchmark knows the entry again: model, weights, defences, data and threat."""
        model = {name: self.model[name] for name in ("name", "weights_sha256", "defences")}
        data = {name: self.data[name] for name in _ASKED}
        text = json.dumps([model, data, self.task, dict(self.budget)], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def right(self, column: str) -> set[int]:
        """Who is right in a column, and was broken by nobody."""
        found = set(places(self.columns[column].right))
        for one in self.amendments:
            found -= set(places(one.broken.get(column, "")))
        return found

    def accuracy(self, column: str) -> float | None:
        """The number of a column; ``None`` without samples."""
        n = self.columns[column].n
        return len(self.right(column)) / n if n else None


@dataclass(frozen=True)
class Leaderboard:
    """A leaderboard.

    :param title: Of the benchmark.
    :param entries: In their order.
    """

    title: str
    entries: tuple[Entry, ...] = field(default=())

    def write(self, path: Path) -> None:
        """Write the file, and beside it the same to be read: ``leaderboard.md``.

        :param path: Of the file.
        :raises InputError: If they cannot be written.
        """
        head = {"kind": KIND, "schema_version": SCHEMA_VERSION, "title": self.title}
        write_atomically(path, sealed_document({**head, "entries": [plain(one) for one in self.entries]}))
        write_atomically(path.with_suffix(".md"), page(self))


def update(folder: Path, config: BenchmarkConfig, measured: Sequence[Measured]) -> None:
    """Enter what cells have found, at their largest radius; break-ins stay, and so do entries of other cells.

    :param folder: Of the leaderboard.
    :raises InputError: If it is damaged, or cannot be written.
    """
    before = read_leaderboard(folder / FILE).entries if os.path.lexists(folder / FILE) else ()
    known = {one.key: one for one in before}
    found: dict[str, Entry] = {}
    for one in measured:
        entry = entry_of_cell(one)
        amendments = known[entry.key].amendments if entry.key in known else ()
        found[entry.key] = replace(entry, amendments=amendments)
    others = [one for one in before if one.key not in found]
    Leaderboard(config.title, (*found.values(), *others)).write(folder / FILE)


def entry_of_cell(one: Measured) -> Entry:
    """What a finished cell enters."""
    header = one.header
    model = {"name": one.cell.model, "spec": header["model"].get("spec"), "defences": list(header.get("defences", ()))}
    data = {"name": one.cell.data, "role": one.cell.role or "", "spec": header["data"]["spec"]}
    return Entry(
        {**model, "weights_sha256": header["model"]["weights_sha256"]},
        {**data, **{name: header["data"][name] for name in _ASKED}},
        header["task"],
        threat_of(header),
        {name: header["settings"][name] for name in ("seed", "limit", "draws", "native_size", "classes", "task")},
        ranges(one.names),
        tuple(header["attacks"]),
        {
            column: Column(len(outcomes), ranges(index for index, right in outcomes.items() if right))
            for column, outcomes in one.columns[one.radii[-1]].items()
        },
    )


def threat_of(header: Mapping[str, Any]) -> dict[str, Any]:
    """How much attacks of a run may change, in JSON types."""
    found = {name: header["budget"][name] for name in _THREAT if name in header["budget"]}
    if "modalities" in found:
        found["modalities"] = {name: ball["eps"] for name, ball in found["modalities"].items()}
    return found


def ranges(indices: Iterable[int]) -> str:
    """Places in few letters: ``"0-4,7"``."""
    found: list[list[int]] = []
    for index in sorted(indices):
        if found and index == found[-1][1] + 1:
            found[-1][1] = index
        else:
            found.append([index, index])
    return ",".join(f"{low}-{high}" if high > low else f"{low}" for low, high in found)


def places(text: str) -> list[int]:
    """What :func:`ranges` was given, ascending.

    :raises ValueError: If it was written by somebody else.
    """
    found: list[int] = []
    for part in text.split(",") if text else ():
        low, _, high = part.partition("-")
        first, last = int(low), int(high or low)
        if last < first or (found and first <= found[-1]) or last - first > _MOST_SAMPLES:
            raise ValueError("places of samples are not in order")
        found += range(first, last + 1)
    return found


def read_leaderboard(path: Path) -> Leaderboard:
    """Read a leaderboard.

    >>> Leaderboard("digits", ()).write(Path("leaderboard.json"))
    >>> board = read_leaderboard(Path("leaderboard.json"))
    >>> isinstance(board, Leaderboard), board.entries
    (True, ())

    :raises InputError: If there is none, it was changed by hand, or another version wrote it.
    """
    try:
        value = opened_document(read_regular(path, _MOST_BYTES))
        head = entries(value, {"kind": str, "schema_version": int, "title": str, "entries": list[Any]}, "the file")
        if head["kind"] != KIND:
            raise ValueError(f"it is no {KIND}")
        if head["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"it is of schema {head['schema_version']}, here {SCHEMA_VERSION}")
        return Leaderboard(head["title"], tuple(_entry(one) for one in head["entries"]))
    except FileNotFoundError:
        raise InputError(
            f"There is no {shown(path)}. Give the leaderboard.json that art-multimodal benchmark wrote."
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{shown(path)} cannot be used: {shown(reason_of(error))}.") from error


def _entry(value: Any) -> Entry:
    """An entry, checked as far as it is read."""
    found = typed(Entry, value, "an entry")
    names = {"name": str, "spec": str, "weights_sha256": str, "defences": list[str]}
    entries(dict(found.model), names, "the model of an entry")
    names = {"name": str, "role": str, "spec": str, "fingerprint": str}
    entries(dict(found.data), {**names, "class_names": list[str], "templates": list[str]}, "the data of an entry")
    wanted: dict[str, Any] = {"norm": str, "eps": float, "max_words": int, "max_edits": int}
    entries(dict(found.budget), wanted, "the budget of an entry")
    wanted = {"seed": int, "limit": int | None, "draws": int, "native_size": bool, "task": str}
    entries(dict(found.settings), {**wanted, "classes": list[str] | None}, "the settings of an entry")
    there = set(places(found.samples))
    for name, column in found.columns.items():
        if not set(places(column.right)) <= there or column.n > len(there):
            raise ValueError(f"the column {brief(name, 40)} counts samples that there are not")
    for one in found.amendments:
        for text in one.broken.values():
            places(text)
    return found


def page(board: Leaderboard) -> str:
    """The leaderboard as Markdown: entries by data set and budget, the most robust first."""
    lines = [f"# {md(board.title)}", ""]
    groups: dict[str, list[Entry]] = {}
    for one in board.entries:
        groups.setdefault(f"{one.data['name']}, {budget_said(one)}", []).append(one)
    for title, members in groups.items():
        columns = in_order([one.columns for one in members])
        lines += [f"## {md(title)}", "", f"| model |{''.join(f' {md(column)} |' for column in columns)} broken by |"]
        lines.append(f"|---|{'---:|' * len(columns)}---|")
        last = columns[-1] if "worst" not in columns else "worst"
        for one in sorted(members, key=lambda one: -(_or_zero(one, last))):
            cells = [_cell(one, column) for column in columns]
            by = "; ".join(
                f"{one.by}, {one.date}" + (f", {one.source}" if one.source else "") for one in one.amendments
            )
            lines.append(f"| {md(one.model['name'])} | {' | '.join(cells)} | {md(by)} |")
        lines.append("")
    lines += [
        "Accuracy with a 95 % interval over samples, under every attack that was tried and every break-in that was "
        "sent in; behind *was* what it was before. To lower a number send in the evidence of an audit (`art-multimodal "
        "audit ... --fixtures successes`) of the same model and data, in which every attacked sample keeps to the "
        "budget; it is entered by `art-multimodal benchmark amend leaderboard.json BUNDLE`.",
        "",
    ]
    return "\n".join(lines)


def budget_said(one: Entry) -> str:
    """How much may be changed, in one phrase."""
    budget = one.budget
    if "modalities" in budget:
        return "eps " + ", ".join(f"{name} {eps:.4g}" for name, eps in budget["modalities"].items())
    return budget_text({"eps_step": 0, "steps": 0, **budget}).partition(", step")[0]


def _or_zero(one: Entry, column: str) -> float:
    return (one.accuracy(column) or 0.0) if column in one.columns else 0.0


def _cell(one: Entry, column: str) -> str:
    if column not in one.columns:
        return "–"
    n, right = one.columns[column].n, len(one.right(column))
    text = f"{percent(one.accuracy(column))} ({interval(proportion_ci95(right, n))})"
    base = len(places(one.columns[column].right))
    return text if base == right or column == CLEAN else f"{text} *was {percent(base / n)}*"
