"""From the log of a run to its numbers: pure, and the only place where they are computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from art_multimodal.evaluations.audit.by_modality import by_modality
from art_multimodal.evaluations.audit.certified import is_done, smoothed_results
from art_multimodal.evaluations.audit.columns import Column, Samples
from art_multimodal.evaluations.audit.curve import curves_of
from art_multimodal.evaluations.audit.findings.classes import by_class
from art_multimodal.evaluations.audit.flags import flags_of_pairs, flags_of_results
from art_multimodal.evaluations.audit.lines import CLEAN, Classified, CleanLine, Line
from art_multimodal.evaluations.audit.passes import (
    Pass,
    attacked_alone,
    entry_of,
    goes_on_after,
    is_naive,
    passes_in,
    smoothed_passes,
)
from art_multimodal.evaluations.audit.published import of_everyone, published_of, set_apart
from art_multimodal.evaluations.audit.results import (
    attack_result,
    clean_result,
    outages,
    word_curve_of,
    worse,
    worst_case,
)
from art_multimodal.evaluations.audit.rows import Row, count, robustness_of, share_right
from art_multimodal.evaluations.audit.word_curve import CURVED
from art_multimodal.evaluations.suite import PAIRS, RETRIEVAL, SAMPLES, ZERO_SHOT
from art_multimodal.evaluations.suite.selection import SINGLE_SOURCE, SMOOTHED_ROWS

#: Modalities whose attacks count for the row of another one, too.
_OF_IMAGES = ("image", "universal", "transfer", "decision")
_ALONE_TOO = {"image": _OF_IMAGES, "multimodal": (*_OF_IMAGES, "text", "multimodal")}


def summary_rows(attacks: Iterable[str], smoothed: bool = False) -> list[str]:
    """Names of a report's rows: clean, each attack, and the worst case of every modality.

    :param smoothed: Whether those of a smoothed model follow.
    """
    attacks = list(attacks)
    single = list(dict.fromkeys(modality for name in attacks if (modality := attacked_alone(name))))
    groups = dict.fromkeys([*single, *([SINGLE_SOURCE] if single else []), *(entry_of(n).modality for n in attacks)])
    further = SMOOTHED_ROWS if smoothed else ()
    return [CLEAN, *attacks, *(name for name in groups if name not in attacks), *further]


def members_of(row: str, passes: Iterable[str]) -> list[str]:
    """The passes that count for a row that stands for several: whoever may change more may also change less."""

    def counts(name: str) -> bool:
        if row == SINGLE_SOURCE:
            return bool(attacked_alone(name))
        within = _ALONE_TOO.get(row, (row,))
        return entry_of(name).modality in within or (row == "multimodal" and bool(attacked_alone(name)))

    return [name for name in passes if counts(name)]


def weighed_modalities(attacks: Iterable[str], task: str) -> tuple[str, ...]:
    """Modalities whose importance is measured: beside a decoupling attack on a classifier, both."""
    weighed = task in (ZERO_SHOT, PAIRS) and any(entry_of(name).modality == "decoupling" for name in attacks)
    return ("image", "text") if weighed else ()


def summarise(header: dict[str, Any], lines: Iterable[Line]) -> dict[str, Any]:
    """Compute a run's numbers.

    Robust accuracy is over all samples: one that is wrong already is not robust. The success rate of an attack is over
    the samples that were right before it. The row of a modality is the worst case: a sample counts as right only if it
    survived every attack of the modality. Every sample counts once.

    With defences each result of attacks has, under ``naive``, what is left of those that do not know of the defences.
    Of a smoothed model there are three rows more: clean, under the attack on its votes, and what is certified.

    >>> numbers = summarise(log.header, log.lines())
    >>> numbers["complete"], numbers["results"]["pgd"]["n"]
    (True, 4)

    :param header: The log's header.
    :param lines: The log's lines.
    :return: ``complete``, ``skipped`` (unreadable samples), ``results`` by row, and ``without_modality``: accuracy with
        all of a modality removed; ``by_class``: the same of each class, and what it is taken for, ``None`` in
        retrieval. Of samples of several modalities ``by_modality``: what each costs.
    """
    numbers = RunningSummary(header)
    for line in lines:
        numbers.add(line)
    return numbers.result()


class RunningSummary:
    """The numbers of a run, line by line: a sample takes a few bytes for each attack, and what was removed from it.

    :param header: The log's header.
    """

    def __init__(self, header: dict[str, Any]) -> None:
        self._header = header
        self._every = passes_in(header)
        self._smoothed = smoothed_passes(header.get("smoothing"))
        self._samples = Samples()
        self._rows = {name: Row(self._samples) for name in (CLEAN, *self._every, *self._smoothed)}
        self._skipped: list[dict[str, str]] = []
        weighed = weighed_modalities(header["attacks"], header["task"])
        self._without: dict[str, Column[bool]] = {modality: self._samples.column(bool) for modality in weighed}

    def add(self, line: Line) -> None:
        """Take a line in."""
        self._rows[line.attack].add(line)
        if not isinstance(line, CleanLine):
            return
        self._skipped += [{"name": one.name, "reason": one.reason} for one in line.skipped]
        for sample in line.samples:
            if isinstance(sample.verdict, Classified):
                for modality, right in self._without.items():
                    if (guess := sample.without.get(modality)) is not None:
                        right.put(self._samples.number(sample.index), guess == sample.verdict.label)

    def result(self) -> dict[str, Any]:
        """What the lines add up to, as :func:`summarise` returns it; to be asked for once."""
        header, rows, clean = self._header, self._rows, self._rows[CLEAN].correct
        attacks: list[str] = header["attacks"]
        # Those within the largest radius are what the rows are of.
        passes = [name for name in self._every if not Pass.of(name).eps]
        complete = self._is_complete()
        set_apart(header, rows)
        if header["task"] == RETRIEVAL:
            as_an_attacker_would(rows)
        groups = {row: members_of(row, passes) for row in summary_rows(attacks)[1 + len(attacks) :]}
        results = self._results(attacks, groups)
        importance = {modality: share_right(right) for modality, right in self._without.items()}
        summary = {
            "complete": complete,
            "skipped": self._skipped,
            "results": results,
            "without_modality": importance,
            "by_class": None,
        }
        if header["task"] != RETRIEVAL:
            nb_classes = len(header["data"]["class_names"])
            members = {**{name: [name] for name in attacks}, **groups}
            summary["by_class"] = by_class(nb_classes, rows, members)
        if header.get("smaller"):
            summary["curves"] = curves_of(header, rows, groups)
        summary["flags"] = [asdict(flag) for flag in (*flags_of_results(results), *flags_of_pairs(header, rows))]
        if header["task"] == SAMPLES:
            summary["by_modality"] = by_modality(header, passes, rows, clean)
        return summary

    def further(self) -> dict[str, Any]:
        """The numbers of passes that are no row by themselves: within smaller radii, or not knowing of the defences.

        To be asked for after :meth:`result`.
        """
        rows, own = self._rows, self._header["attacks"]
        return {name: attack_result(name, rows[name], rows[CLEAN].correct) for name in self._every if name not in own}

    def _results(self, attacks: Iterable[str], groups: Mapping[str, list[str]]) -> dict[str, Any]:
        """The numbers of each row."""
        rows, clean, nb_classes = self._rows, self._rows[CLEAN].correct, len(self._header["data"]["class_names"])
        results: dict[str, Any] = {CLEAN: clean_result(rows[CLEAN], nb_classes)}
        for name in attacks:
            results[name] = attack_result(name, rows[name], clean)
            if name == CURVED and (sizes := self._header.get("budget", {}).get("word_curve")):
                results[name]["word_curve"] = word_curve_of(rows[name], clean, sizes)
            if (naive_pass := Pass(name, naive=True).name) in rows:
                results[name]["naive"] = robustness_of(rows[naive_pass], clean) | self._published([naive_pass])
        for modality, members in groups.items():
            if all(entry_of(name).of_everyone for name in members):
                results[modality] = outages(modality, members, rows, clean)
                continue
            results[modality] = worst_case(modality, members, rows, clean)
            if naive := [name for name in members if is_naive(name)]:
                keep = ("n", "accuracy", "accuracy_ci95", "attacked", "attack_success_rate", "attack_success_rate_ci95")
                worst = worst_case(modality, naive, rows, clean)
                results[modality]["naive"] = {key: worst[key] for key in keep} | self._published(naive)
        return results | (smoothed_results(rows) if self._smoothed else {})

    def _published(self, naive: list[str]) -> dict[str, Any]:
        """What papers would report of naive attacks together; nothing where they were made on right samples alone."""
        if not all(of_everyone(self._header, name) for name in naive):
            return {}
        return {"published": published_of(naive, self._rows)}

    def _is_complete(self) -> bool:
        """Whether all samples were through all that is run on them."""
        header, rows, clean = self._header, self._rows, self._rows[CLEAN].correct
        if len(clean) + len(self._skipped) != header["data"]["selected"]:
            return False
        to_attack = len(clean) if header["task"] == RETRIEVAL else count(clean.dense)
        through = all(
            (len(clean) if entry_of(name).of_everyone or of_everyone(header, name) else to_attack)
            == count(rows[name].asked) + len(rows[name].not_applicable)
            for name in self._every
        )
        return through and (not self._smoothed or is_done(rows, clean))


def as_an_attacker_would(rows: dict[str, Row]) -> None:
    """In retrieval all samples are attacked: of each the worse of its ranks before and after counts.

    :param rows: By the name of the pass; changed here.
    """
    clean = rows[CLEAN]
    for row in rows.values():
        _make_worse(row, clean)
        if row is not clean:
            row.correct = _found_first(row, row.correct.there & clean.correct.dense)
    for name, row in rows.items():
        for before in reversed(goes_on_after(name, rows)) if name != CLEAN else ():
            if before in rows:
                _make_worse(row, rows[before])
                # Of its own order: who is named first stays first.
                row.broken_by = Column.of({**row.broken_by, **rows[before].broken_by}, object)
                row.correct = _found_first(row, row.correct.there)


def _make_worse(row: Row, other: Row) -> None:
    """Let the worse ranks of two rows count, where both have some."""
    for number in np.flatnonzero(row.ranks.there & other.ranks.there).tolist():
        row.ranks.put(number, worse(row.ranks.dense[number], other.ranks.dense[number]))


def _found_first(row: Row, there: np.ndarray) -> Column[bool]:
    """Of the given samples ``(N,)`` whether a caption of theirs is found first."""
    first = np.zeros(len(there), bool)
    first[there] = [ranks[0] == 1 for ranks in row.ranks.dense[there]]
    return Column(row.samples, first, there)
