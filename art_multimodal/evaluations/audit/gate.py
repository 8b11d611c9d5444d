"""``--fail-under image.accuracy=0.3``: a number that must be reached, for continuous integration."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from art_multimodal.errors import InputError, unknown_name

#: Numbers where more is more robust.
METRICS = ("accuracy", "balanced_accuracy", "share_removed_mean", "share_removed_median", "share_removed_min")


@dataclass(frozen=True)
class Gate:
    """A row of the report, one of its numbers, and the least that it must be.

    >>> gate = Gate.parse("pgd.accuracy=0.999")
    >>> gate.row, gate.failure({"pgd": {"accuracy": 0.5}})
    ('pgd', 'pgd.accuracy is 0.5000, under 0.999')
    """

    row: str
    metric: str
    threshold: float

    @classmethod
    def parse(cls, text: str) -> Gate:
        """Read ``ROW.METRIC=NUMBER``.

        :raises InputError: If it is not of that form or names an unknown number.
        """
        name, separator, value = text.partition("=")
        row, dot, metric = name.strip().partition(".")
        if not separator or not dot:
            raise InputError(f"--fail-under {text!r} is not of the form image.accuracy=0.3.")
        if metric not in METRICS:
            raise unknown_name("number for --fail-under", metric, METRICS)
        try:
            threshold = float(value)
        except ValueError:
            raise InputError(f"--fail-under {text!r}: {value!r} is not a number.") from None
        if not math.isfinite(threshold):
            raise InputError(f"--fail-under {text!r}: the number must be finite.")
        if threshold > 1:
            raise InputError(f"--fail-under {text!r}: shares lie in [0, 1]. Did you mean {threshold / 100:g}?")
        return cls(row, metric, threshold)

    def check_row(self, rows: Iterable[str]) -> None:
        """Raise ``InputError`` if the report will have no such row, or not this number in it."""
        rows = list(rows)
        if self.row not in rows:
            raise unknown_name("row for --fail-under", self.row, rows)
        if self.metric.startswith("share_removed") and not self.row.startswith("decoupling"):
            raise InputError(f"{self.metric} is a number of decoupling, not of {self.row}.")
        if self.metric == "balanced_accuracy" and self.row != "clean":
            raise InputError(f"balanced_accuracy is a number of clean, not of {self.row}.")

    def failure(self, results: dict[str, Any]) -> str | None:
        """Say how the gate failed, or return ``None``. No number (nothing was evaluated) is a failure.

        A share removed without any successful attack passes: nothing could be taken apart.
        """
        value = results[self.row].get(self.metric)
        if value is None:
            if self.metric.startswith("share_removed") and results[self.row].get("attacked", 0) > 0:
                return None
            return f"{self.row}.{self.metric} has no value: no sample was evaluated"
        if value < self.threshold:
            return f"{self.row}.{self.metric} is {value:.4f}, under {self.threshold:g}"
        return None
