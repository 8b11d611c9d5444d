"""Amending a leaderboard: somebody's break-in, as a bundle of evidence, lowers a number if the model confirms it.

Nothing in the bundle is believed but the attacked samples: the model of the entry is asked about them here, and how far
they are from the samples is measured from the data as they are read here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from art_multimodal.datasets import UnreadableSample
from art_multimodal.devices import device_type_of
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.lines import CLEAN, Classified
from art_multimodal.evaluations.audit.opening import open_subject
from art_multimodal.evaluations.audit.settings import AuditSettings
from art_multimodal.evaluations.audit.subject import Subject
from art_multimodal.evaluations.benchmark.leaderboard import (
    Amendment,
    Entry,
    Leaderboard,
    places,
    ranges,
    read_leaderboard,
)
from art_multimodal.evaluations.benchmark.measured import MULTIMODAL, WORST
from art_multimodal.evaluations.evidence.bundle import Bundle
from art_multimodal.evaluations.evidence.fixtures import Group, parts_of
from art_multimodal.evaluations.evidence.keeping_within import TextRule, changed_fields, changes_of
from art_multimodal.evaluations.evidence.rescoring import Rescoring, rescore
from art_multimodal.evaluations.suite import RETRIEVAL
from art_multimodal.models.loading import load_model
from art_multimodal.shown import brief, shown
from art_multimodal.store import FolderLock

#: Samples that are named in an error.
_NAMED = 3


@dataclass(frozen=True)
class Lowered:
    """What a break-in has done to an entry.

    :param entry: As it is now.
    :param amendment: The last one of it.
    :param samples: How many samples it breaks that nobody had broken before, by column.
    """

    entry: Entry
    amendment: Amendment
    samples: Mapping[str, int]


@dataclass(frozen=True)
class _Break:
    """A sample that the model is wrong about after an attack.

    :param attack: Name of the pass.
    :param index: Its place in the data.
    :param sample: As the data have it here.
    :param group: Where it lies in the bundle.
    :param row: Likewise.
    """

    attack: str
    index: int
    sample: Any
    group: Group
    row: int


def amend(
    leaderboard: str | Path,
    bundle: str | Path,
    by: str,
    date: str,
    source: str = "",
    digest: str | None = None,
    model: str | None = None,
    data: str | None = None,
    batch_size: int = 32,
    device: str = "auto",
) -> list[Lowered]:
    """Enter a break-in, if it lowers a number; the old numbers stay beside it.

    >>> from art_multimodal.evaluations.benchmark import Benchmark, parse_config
    >>> text = "{benchmark: 1, models: [demo:digits], data: [demo:digits], attacks: {image: [pgd]},"
    >>> config = parse_config(text + " samples: {limit: 4}, budgets: {eps: 8/255, steps: 1}}")
    >>> job = Benchmark(config, "results", device="cpu")
    >>> outcome = job.run()
    >>> content = job.write()
    >>> board = Path("results", "leaderboard.json")
    >>> lowered = amend(board, evidence.folder, by="Ann", date="2026-01-01", device="cpu")
    >>> all(isinstance(one, Lowered) for one in lowered)
    True
    >>> from art_multimodal.evaluations.benchmark.leaderboard import Amendment, Entry, read_leaderboard
    >>> isinstance(read_leaderboard(board).entries[0], Entry)
    True
    >>> all(isinstance(one.amendment, Amendment) for one in lowered)
    True

    :param leaderboard: The file ``leaderboard.json``; it is written where a number falls.
    :param bundle: Evidence of an audit.
    :param by: Who found it.
    :param date: Of the entry.
    :param source: Where it is described.
    :param digest: Of the bundle, as it was noted down.
    :param model: Where the model lies here; default: as the entry names it. Its weights must be those of the entry.
    :param data: Where the data lie here; default: as the entry names them.
    :param batch_size: Most samples in one pass of the model.
    :param device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    :return: What became of each entry that is lowered; none where no number falls.
    :raises InputError: If the bundle was changed, is of another model or of other data, changes more than the budget
        allows, or the model says something else.
    """
    path = Path(leaderboard)
    board, opened = read_leaderboard(path), Bundle(bundle, digest)
    if not by.strip():
        raise InputError("--by is empty: say who found it.")
    _check_new(board, opened)
    matching = _matching(board, opened)
    first = matching[0]
    loaded = load_model(model or first.model["spec"])
    found = rescore(opened, loaded, batch_size, device, report=False)
    _check_confirmed(found, first)
    subject = _opened(first, loaded, data, batch_size, device)
    if first.task == RETRIEVAL:
        _check_gallery(found, first, subject)
    broken = _broken(opened, found, subject, {index for one in matching for index in places(one.samples)})
    confirmed: dict[str, dict[str, set[int]]] = {}
    refused = []
    for entry in matching:
        try:
            confirmed[entry.key] = _columns_of(broken, entry, subject)
        except InputError as error:
            refused.append(error)
    if not confirmed:
        raise refused[0]
    with FolderLock(path.parent) as lock:
        # The file may have been written meanwhile.
        lock.wait()
        board = read_leaderboard(path)
        _check_new(board, opened)
        entries, lowered = [], []
        for entry in board.entries:
            one = _lowered(entry, confirmed.get(entry.key, {}), by, source, date, opened.digest)
            entries.append(entry if one is None else one.entry)
            lowered += [] if one is None else [one]
        if lowered:
            Leaderboard(board.title, tuple(entries)).write(path)
    return lowered


def _check_new(board: Leaderboard, bundle: Bundle) -> None:
    if any(one.bundle == bundle.digest for entry in board.entries for one in entry.amendments):
        raise InputError(f"The bundle {bundle.digest[:12]}... has been entered already. There is nothing to do.")


def _matching(board: Leaderboard, bundle: Bundle) -> list[Entry]:
    """The entries that a bundle is about.

    :raises InputError: If there are none, saying what does not fit.
    """
    header = bundle.header
    left = list(board.entries)
    facts = (
        ("model", lambda one: one.model["weights_sha256"], header["model"].get("weights_sha256")),
        ("defences", lambda one: list(one.model["defences"]), list(header.get("defences", ()))),
        ("task", lambda one: one.task, header["task"]),
        ("data", lambda one: one.data["fingerprint"], header["data"].get("fingerprint")),
        ("class names", lambda one: list(one.data["class_names"]), header["data"].get("class_names")),
        ("templates", lambda one: list(one.data["templates"]), header["data"].get("templates")),
    )
    for what, of, given in facts:
        fitting = [one for one in left if of(one) == given]
        if not fitting:
            known = ", ".join(dict.fromkeys(brief(one.model["name"], 40) for one in left[:_NAMED]))
            of_what = f"{shown(header['model'].get('spec'))[:60]} on {shown(header['data'].get('spec'))[:60]}"
            raise InputError(
                f"The bundle is of {of_what}, and no entry of the leaderboard has the same {what} (closest: {known})."
            )
        left = fitting
    return left


def _check_confirmed(found: Rescoring, entry: Entry) -> None:
    """The model that was asked is that of the entry, and says what the bundle says."""
    if found.weights_sha256 != entry.model["weights_sha256"]:
        raise InputError(
            f"{shown(found.model)} has other weights here ({found.weights_sha256[:12]}...) than in the leaderboard "
            f"({entry.model['weights_sha256'][:12]}...). Give --model the one that was measured."
        )
    if not found.confirmed:
        named = "; ".join(
            f"{shown(one.attack)}: {brief(one.name, 40)} was {one.logged[:40]}, is {one.now[:40]}"
            for one in found.changed[:_NAMED]
        )
        raise InputError(
            f"The model says something else than the bundle about {len(found.changed):,} samples ({named})."
        )


def _opened(entry: Entry, model: Any, data: str | None, batch_size: int, device: str) -> Subject:
    """The data of the entry as they are read here.

    :raises InputError: If they cannot be opened, or are others.
    """
    said = entry.settings
    settings = AuditSettings(
        model,
        data or entry.data["spec"],
        task=said["task"],
        batch_size=batch_size,
        seed=said["seed"],
        templates=tuple(entry.data["templates"]) or None,
        classes=None if said["classes"] is None else tuple(said["classes"]),
        native_size=said["native_size"],
        defences=tuple(entry.model["defences"]),
        draws=said["draws"],
    )
    subject = open_subject(settings, device_type_of(device))
    if subject.data.fingerprint() != entry.data["fingerprint"]:
        raise InputError(
            f"The data {shown(settings.data)} are not those of the leaderboard. Give --data those that were measured."
        )
    subject.select(np.array(places(entry.samples), dtype=np.int64))
    return subject


def _check_gallery(found: Rescoring, entry: Entry, subject: Subject) -> None:
    """All ranks depend on the gallery, so all of it is that of the data.

    :raises InputError: If it is another one.
    """
    batches = {line.batch: line for line in found.reader.bundle.lines() if line.attack == CLEAN}
    seen: set[int] = set()
    for batch in batches:
        for group in found.reader.clean(batch):
            for row, index in enumerate(group.indices):
                arrays, texts = parts_of(subject.stack([one := subject.read(index)]), subject.image_rows([one]))
                there = {name: values[row : row + 1] for name, values in group.arrays[0].items()}
                if not changed_fields(arrays, there) and texts[0] == dict(group.lines[row].texts):
                    seen.add(index)
    if seen != set(places(entry.samples)):
        raise InputError(
            "In retrieval all ranks depend on the gallery, and the bundle has another one than the leaderboard: make "
            "it with the same --limit and --seed."
        )


def _broken(bundle: Bundle, found: Rescoring, subject: Subject, wanted: set[int]) -> list[_Break]:
    """Attacked samples that the model is wrong about, here and now; what is right, the data say here.

    :param wanted: Places of the samples that count.
    """
    samples: dict[int, Any] = {}
    result = []
    for line in bundle.lines():
        if line.attack == CLEAN or line.attack not in found.said:
            continue
        said = found.said[line.attack]
        for group in found.reader.attacked(line.attack, line.batch):
            for row, index in enumerate(group.indices):
                if index not in wanted or index not in said:
                    continue
                if index not in samples:
                    samples[index] = _read(subject, index)
                verdict, sample = said[index], samples[index]
                wrong = verdict.predicted != sample.label if isinstance(verdict, Classified) else not verdict.right
                if wrong:
                    result.append(_Break(line.attack, index, sample, group, row))
    return result


def _read(subject: Subject, index: int) -> Any:
    try:
        return subject.read(index)
    except UnreadableSample as error:
        raise InputError(f"Sample {index} cannot be read here: {error}.") from error


def _columns_of(broken: Sequence[_Break], entry: Entry, subject: Subject) -> dict[str, set[int]]:
    """By column of an entry the samples that are broken within its budget.

    :raises InputError: If one is changed by more than that.
    """
    right: set[int] = set().union(*(entry.right(column) for column in entry.columns if column != CLEAN))
    rule = TextRule(entry.budget, entry.data["class_names"])
    found: dict[str, set[int]] = {}
    for one in broken:
        # What is broken in every column already may be changed as one likes.
        if one.index not in right:
            continue
        changed, fault = _changes(one, entry, subject, rule)
        if fault:
            raise InputError(
                f"{shown(one.attack)} changes sample {one.index} by more than the leaderboard allows: {fault}. Send in "
                "evidence of attacks within the budget alone."
            )
        column = changed[0] if len(changed) == 1 else MULTIMODAL
        for name in (column, WORST):
            if name in entry.columns:
                found.setdefault(name, set()).add(one.index)
    return found


def _changes(one: _Break, entry: Entry, subject: Subject, rule: TextRule) -> tuple[list[str], str]:
    """Which modalities of a sample are changed, and what of it is beyond the budget.

    What is compared with is the sample as the data have it here, not as the bundle says.
    """
    sample = one.sample
    arrays, texts = parts_of(subject.stack([sample]), subject.image_rows([sample]))
    usual = getattr(subject.estimator, "prompts", ())
    return changes_of(one.group, one.row, (arrays, texts[0]), usual, entry.budget, rule)


def _lowered(
    entry: Entry, by_column: Mapping[str, set[int]], by: str, source: str, date: str, digest: str
) -> Lowered | None:
    """The entry with a further break-in; ``None`` where no number falls."""
    newly = {column: entry.right(column) & indices for column, indices in by_column.items()}
    newly = {column: indices for column, indices in newly.items() if indices}
    if not newly:
        return None
    was = {column: entry.accuracy(column) or 0.0 for column in newly}
    amendment = Amendment(
        by.strip(),
        source.strip(),
        date,
        digest,
        was,
        {},
        {column: ranges(indices) for column, indices in newly.items()},
    )
    trial = replace(entry, amendments=(*entry.amendments, amendment))
    now = {column: trial.accuracy(column) or 0.0 for column in newly}
    amendment = replace(amendment, now=now)
    new = replace(entry, amendments=(*entry.amendments, amendment))
    return Lowered(new, amendment, {column: len(indices) for column, indices in newly.items()})
