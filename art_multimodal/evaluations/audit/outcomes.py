"""Of each row of a report which samples are right: what its accuracies count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from art_multimodal.evaluations.audit.columns import Column, Samples
from art_multimodal.evaluations.audit.lines import CLEAN, Line
from art_multimodal.evaluations.audit.passes import Pass, passes_in, smoothed_passes
from art_multimodal.evaluations.audit.published import set_apart
from art_multimodal.evaluations.audit.rows import Row, outcomes_of
from art_multimodal.evaluations.audit.summary import as_an_attacker_would, members_of, summary_rows
from art_multimodal.evaluations.suite import RETRIEVAL
from art_multimodal.evaluations.suite.selection import CERTIFIED, FLIPPED, SMOOTHED

#: Of each sample, by its place in the data, whether it is right.
Outcomes = Mapping[int, bool]


def outcomes(header: Mapping[str, Any], lines: Iterable[Line]) -> dict[str, Outcomes]:
    """Which samples count as right in each row of a report; those that a row does not count are left out.

    One that is wrong before an attack is wrong under it. The share of right ones is the row's accuracy.

    :param header: Of the run.
    :param lines: Of its log.
    :return: By row, in the order of the report; attacks that do not know of the defences as ``naive:NAME``,
        and those within smaller radii as ``eps=1/255:NAME``.
    """
    rows, clean = rows_of(header, lines)
    passes = passes_in(header)
    # Rows are of those within the largest radius.
    largest = [name for name in passes if not Pass.of(name).eps]
    found: dict[str, Outcomes] = {CLEAN: clean}
    for name in passes:
        found[name] = outcomes_of([name], rows, clean)
    for name in summary_rows(header["attacks"])[1 + len(header["attacks"]) :]:
        found[name] = outcomes_of(members_of(name, largest), rows, clean)
    return found | (_of_smoothed(rows) if smoothed_passes(header.get("smoothing")) else {})


def rows_of(header: Mapping[str, Any], lines: Iterable[Line]) -> tuple[dict[str, Row], Column[bool]]:
    """What a log says by pass, and which samples are right before any attack.

    :param header: Of the run.
    :param lines: Of its log.
    """
    samples = Samples()
    rows = {name: Row(samples) for name in (CLEAN, *passes_in(header), *smoothed_passes(header.get("smoothing")))}
    for line in lines:
        rows[line.attack].add(line)
    set_apart(header, rows)
    if header["task"] == RETRIEVAL:
        as_an_attacker_would(rows)
    return rows, rows[CLEAN].correct


def _of_smoothed(rows: Mapping[str, Row]) -> dict[str, Outcomes]:
    """Those of a smoothed model: clean, under the attack on its votes, and certified."""
    before, flipped, certified = rows[SMOOTHED].correct, rows[FLIPPED].correct, rows[SMOOTHED].certified
    attacked = before.there & (flipped.there | ~before.dense)
    return {
        SMOOTHED: before,
        FLIPPED: Column(before.samples, before.dense & flipped.dense, attacked),
        CERTIFIED: Column(before.samples, before.dense & certified.there, before.there),
    }
