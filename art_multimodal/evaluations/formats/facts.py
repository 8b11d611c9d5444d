"""What formats say of a report: its measurements, its limits, and the attackers that its rows are about."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from art_multimodal.evaluations.formats.format import Report
from art_multimodal.shown import shown

#: Numbers of a row that are shares with an interval of their own.
_SHARES = ("accuracy", "attack_success_rate", "share_removed_mean")
#: Numbers of a row without one.
_OTHERS = ("balanced_accuracy", "abstained", "queries", "gradients", "text_queries")


@dataclass(frozen=True)
class Measurement:
    """A number of a report.

    :param row: That it stands in.
    :param metric: What it is: ``"accuracy"``, ``"naive_accuracy"``, ``"recall_image_to_text_at_5"``, ...
    :param value: Of shares in [0, 1].
    :param ci95: Its 95 % interval, if it has one.
    :param radius: Name of the radius; empty for the largest.
    """

    row: str
    metric: str
    value: float
    ci95: tuple[float, float] | None
    radius: str = ""

    @property
    def slice(self) -> str:
        """The row, and the radius where it is none of the report's rows: ``image within 2/255``."""
        return f"{self.row} within {self.radius}" if self.radius else self.row


def measurements(report: Report) -> Iterator[Measurement]:
    """The numbers of a report, row by row; what was not evaluated is left out."""
    for row, numbers in report["results"].items():
        # The largest radius is what the row is of.
        smaller = report.get("curves", {}).get(row, {"points": []})["points"][1:-1]
        for metric in _SHARES:
            yield from _measured(row, metric, numbers.get(metric), numbers.get(f"{metric}_ci95"))
        for metric in _OTHERS:
            yield from _measured(row, metric, numbers.get(metric), None)
        naive = numbers.get("naive", {})
        yield from _measured(row, "naive_accuracy", naive.get("accuracy"), naive.get("accuracy_ci95"))
        published = naive.get("published", {})
        yield from _measured(row, "published_accuracy", published.get("accuracy"), published.get("accuracy_ci95"))
        for way, of_each in numbers.get("recall", {}).items():
            for k, found in of_each.items():
                yield from _measured(row, f"recall_{way}_at_{k}", found["accuracy"], found["accuracy_ci95"])
        for point in smaller:
            for metric in ("accuracy", "attack_success_rate"):
                yield from _measured(row, metric, point[metric], point[f"{metric}_ci95"], point["radius"])


def _measured(
    row: str, metric: str, value: float | None, ends: Sequence[float] | None, radius: str = ""
) -> Iterator[Measurement]:
    if value is not None:
        interval = None if ends is None else (float(ends[0]), float(ends[1]))
        yield Measurement(row, metric, float(value), interval, radius)


def gates_of(report: Report) -> list[dict[str, Any]]:
    """The limits of a report with their verdicts; none where nothing was declared."""
    return report.get("verdicts", {}).get("gates", [])


def title_of(gate: dict[str, Any]) -> str:
    """A limit in a few words, the same in every run: ``image within 4/255: floor``."""
    within = f" within {gate['radius']}" if gate["radius"] else ""
    return shown(f"{gate['row']}{within}: {gate['kind'].replace('_', ' ')}")


def fingerprints(report: Report) -> list[str]:
    """Of each limit, what tells it from others and is the same in every run, whatever was found and asked for."""
    seen: dict[str, int] = {}
    found = []
    for gate in gates_of(report):
        parts = [report["model"]["spec"], report["data"]["spec"], report["task"]]
        parts += [gate[key] for key in ("family", "row", "radius", "kind")]
        text = json.dumps(parts, ensure_ascii=True)
        # Several of a kind on one row: of --fail-under, on different numbers of it.
        seen[text] = seen.get(text, 0) + 1
        found.append(sha256(f"{text}#{seen[text]}".encode()).hexdigest()[:32])
    return found


def title_of_report(report: Report) -> str:
    """What a report is about, on one line."""
    return shown(f"robustness of {report['model']['spec']} on {report['data']['spec']}")
