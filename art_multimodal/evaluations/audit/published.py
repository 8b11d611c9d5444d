"""The number that papers report of a defence at test time: the bare model is attacked, the defended one is asked.

All samples are attacked, those too that are wrong behind the defence. More may then be right under the attack than
before it, which no row of an audit shows: these count a sample that was wrong as wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from art_multimodal.evaluations.audit.lines import CLEAN
from art_multimodal.evaluations.audit.passes import is_naive
from art_multimodal.evaluations.audit.rows import Row, accuracy_of, count, in_all, in_any
from art_multimodal.functional.statistics import mcnemar

#: What the header of a run says where naive attacks are made on all samples.
HEADER = "published"


def of_everyone(header: Mapping[str, Any], name: str) -> bool:
    """Whether a pass is made on samples, too, that are wrong before: a naive one of such a run."""
    return bool(header.get(HEADER)) and is_naive(name)


def set_apart(header: Mapping[str, Any], rows: Mapping[str, Row]) -> None:
    """Leave in rows what was right before, as in every other run; the rest is kept as ``published``.

    :param header: Of the run.
    :param rows: By the name of the pass; changed here.
    """
    right = rows[CLEAN].correct.dense
    for name, row in rows.items():
        if name == CLEAN or not of_everyone(header, name):
            continue
        row.published = row.correct
        row.correct, row.mistaken = row.correct.among(right), row.mistaken.among(right)
        if row.published:
            # What was asked is known of a whole line: the others take as much on average.
            share = len(row.correct) / len(row.published)
            row.queries, row.gradients = share * row.queries, share * row.gradients


def published_of(members: Sequence[str], rows: Mapping[str, Row]) -> dict[str, Any]:
    """The number of several naive attacks together: a sample is right if it is under each of them.

    :param members: Names of passes.
    :param rows: From :func:`set_apart`.
    """
    clean, of = rows[CLEAN].correct.dense, [rows[name] for name in members]
    # One that cannot work on a sample says nothing about it.
    done = in_all(row.published.there | row.not_applicable.there for row in of)
    done = done & in_any(row.published.there for row in of)
    right = done & in_all(row.published.dense | ~row.published.there for row in of)
    changed = {"turned_right": count(right & ~clean), "turned_wrong": count(done & clean & ~right)}
    return {**accuracy_of(count(right), count(done)), **changed}


def p_of_more(published: Mapping[str, Any]) -> float:
    """One-sided p of McNemar's exact test that no more is right under the attack than without it."""
    return mcnemar(published["turned_right"], published["turned_wrong"], "greater")
