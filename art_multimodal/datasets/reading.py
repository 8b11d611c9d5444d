"""What becomes of samples that cannot be read: how many are let through, and when nothing can be measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from art_multimodal.datasets.captioned import CaptionedImages
from art_multimodal.datasets.photos import UnreadableSample
from art_multimodal.datasets.source import LabelledImages
from art_multimodal.errors import InputError
from art_multimodal.shown import brief

#: Share of samples that may be unreadable: of more than half, something is wrong with the data, not with some files.
MAX_SKIPPED = 0.5
_TEXTS_AT_ONCE = 256


def check_max_skipped(share: float) -> float:
    """Return a share of samples that may be unreadable.

    :raises InputError: If it is none.
    """
    if not 0 <= share <= 1:
        raise InputError(f"--max-skipped is a share of the samples, from 0 to 1, not {share:g}.")
    return share


def check_readable(
    data: LabelledImages | CaptionedImages,
    indices: Sequence[int] | np.ndarray,
    max_skipped: float,
    read: Callable[[int], object],
) -> None:
    """Find out before any work, and without opening each, whether enough of some samples can be read.

    :param read: Reads a sample; called until the first that is readable.
    :raises InputError: If none can be read, or more than a share are not there.
    """
    absent: dict[int, str] = {}
    for index in map(int, indices):
        if (reason := data.absence(index)) is not None:
            absent[index] = reason
    if absent:
        first = next(iter(absent))
        refused = refusal(
            data.name_of(first), absent[first], len(absent), len(indices), max_skipped, data.advice(first)
        )
        if refused is not None:
            raise refused
    failures: list[UnreadableSample] = []
    for index in map(int, indices):
        if index in absent:
            continue
        try:
            read(index)
            return
        except UnreadableSample as error:
            failures.append(error)
    name, reason = (failures[0].name, failures[0].reason) if failures else ("", "")
    refused = refusal(name, reason, len(indices), len(indices), max_skipped)
    if refused is not None:
        raise refused


def refusal(name: str, reason: str, count: int, total: int, max_skipped: float, advice: str = "") -> InputError | None:
    """The error for data of which too many samples cannot be read; ``None`` where they are few enough.

    :param name: The first sample that cannot be read.
    :param reason: Why.
    :param count: How many cannot be read.
    :param total: How many there are.
    """
    advice = f" {advice}" if advice else ""
    if total and count == total:
        return InputError(
            f"None of the {total} samples can be read, so nothing can be measured. The first: {brief(name)}: "
            f"{reason}.{advice}"
        )
    if count > max_skipped * total:
        return InputError(
            f"{count} of {total} samples ({100 * count / total:.1f} %) cannot be read, more than --max-skipped "
            f"{max_skipped:g} allows. The first: {brief(name)}: {reason}.{advice} Mend the data, or raise the share."
        )
    return None


def skipped_too_many(report: Mapping[str, Any], max_skipped: float) -> InputError | None:
    """The error for a finished audit of which too many samples could not be read; ``None`` where they are few enough.

    :param report: What ``report.json`` holds.
    """
    if not report["skipped"]:
        return None
    first, total = report["skipped"][0], report["data"]["selected"]
    return refusal(first["name"], brief(first["reason"]), len(report["skipped"]), total, max_skipped)


def unreadable_texts(tokenize: Callable[[list[str]], object], texts: Iterable[str]) -> dict[str, str]:
    """Texts that a model cannot read in full, and why. They are never cut.

    :param tokenize: Raises :class:`InputError` for such a text.
    """
    distinct = list(dict.fromkeys(texts))
    found: dict[str, str] = {}
    for start in range(0, len(distinct), _TEXTS_AT_ONCE):
        batch = distinct[start : start + _TEXTS_AT_ONCE]
        try:
            tokenize(batch)
            continue
        except InputError:
            pass
        for text in batch:
            try:
                tokenize([text])
            except InputError as error:
                found[text] = str(error)
    return found
