"""``--fail-under certified.image=1,text=1=0.3``: a number that must be reached, for continuous integration."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from art_multimodal.errors import InputError, unknown_name
from art_multimodal.evaluations.certification.lines import MODEL
from art_multimodal.evaluations.smoothing.budgets import EditBudget
from art_multimodal.shown import quoted

_OPTION, _ACCURACY = "--fail-under", "accuracy"


@dataclass(frozen=True)
class CertifiedGate:
    """A row of the report, a budget, and the least certified accuracy.

    >>> gate = CertifiedGate.parse("certified.image=1=0.3")
    >>> gate.row, gate.threshold, CertifiedGate.parse("clean.accuracy=0.9").budget is None
    ('certified', 0.3, True)

    :param row: Of the report.
    :param budget: ``None`` for the accuracy without any attack.
    :param threshold: The least that it must be.
    """

    row: str
    budget: EditBudget | None
    threshold: float

    @classmethod
    def parse(cls, text: str) -> CertifiedGate:
        """Read ``ROW.BUDGET=NUMBER``, or ``ROW.accuracy=NUMBER``.

        :raises InputError: If it is of another form.
        """
        name, separator, value = text.rpartition("=")
        row, dot, what = name.strip().partition(".")
        if not separator or not dot or not (what == _ACCURACY or "=" in what):
            raise InputError(f"{_OPTION} {quoted(text)} is not of the form certified.image=1,text=1=0.3.")
        budget = None if what == _ACCURACY else EditBudget.parse(what, _OPTION)
        try:
            threshold = float(value)
        except ValueError:
            raise InputError(f"{_OPTION} {quoted(text)}: {quoted(value)} is not a number.") from None
        if not math.isfinite(threshold):
            raise InputError(f"{_OPTION} {quoted(text)}: the number must be finite.")
        if threshold > 1:
            raise InputError(
                f"{_OPTION} {quoted(text)}: shares lie in [0, 1]. Did you mean {threshold / 100:g} behind the budget, "
                "certified.image=1=0.3?"
            )
        return cls(row, budget, threshold)

    def check_row(self, rows: Iterable[str]) -> None:
        """Raise ``InputError`` if the report will have no such row, or nothing is certified about it."""
        rows = list(rows)
        if self.row not in rows:
            raise unknown_name(f"row for {_OPTION}", self.row, rows)
        if self.row == MODEL and self.budget is not None:
            raise InputError(f"{_OPTION}: nothing is certified about the row {MODEL}; give {MODEL}.{_ACCURACY}=0.9.")

    def failure(self, results: dict[str, Any], name: str | None) -> str | None:
        """Say how the gate failed, or return ``None``. No number (nothing was evaluated) is a failure.

        :param results: Of the report.
        :param name: The budget as the report names it; ``None`` for the accuracy without any attack.
        """
        row = results[self.row]
        said = f"{self.row}.{name or _ACCURACY}"
        value = row["accuracy"] if name is None else row["certified"][name]["accuracy"]
        if value is None:
            return f"{said} has no value: no sample was evaluated"
        if value < self.threshold:
            return f"{said} is {value:.4f}, under {self.threshold:g}"
        return None
