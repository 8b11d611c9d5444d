"""Published accuracies that a report can be read against: those that were measured as it was, with their source."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cache
from importlib.resources import files
from typing import Any

from art_multimodal.datasets.named.spec import measured_set
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.curve import radii_of
from art_multimodal.evaluations.budget_settings import is_l_inf
from art_multimodal.evaluations.suite import ZERO_SHOT

FILE = "references.json"
#: Rows that stand for attacks on images; the first that a report has counts.
_ROWS = ("image", "worst_image")


@dataclass(frozen=True)
class Reference:
    """A published model, measured as a report was.

    :param model: What it is called there.
    :param architecture: Of CLIP.
    :param trained_on: What its defence was trained on.
    :param eps: Radius of the l_inf ball, as it is written: ``"1/255"``.
    :param clean: Accuracy without an attack, in [0, 1].
    :param robust: Accuracy under the attack, in [0, 1].
    :param attack: Which one.
    :param sets: Over how many data sets both are means, that of the report among them.
    :param source: Who published it.
    :param url: Where it was read.
    """

    model: str
    architecture: str
    trained_on: str
    eps: str
    clean: float
    robust: float
    attack: str
    sets: int
    source: str
    url: str


@cache
def protocols() -> list[dict[str, Any]]:
    """What is known, as :data:`FILE` has it: by protocol, with the figures of each."""
    text = (files("art_multimodal.evaluations.audit.findings") / FILE).read_text(encoding="utf-8")
    return json.loads(text)["protocols"]


def references_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """What undefended and robust CLIPs are published to reach at the protocol of a report.

    A figure is comparable if task, norm, a radius of the run and the kind of attack are the same, and the data set is
    one of those that it is a mean over.

    >>> found = references_of(report)
    >>> found["comparable"], found["said"].split(":")[0]
    ([], 'There is no comparable published figure here')
    >>> robust = {"clean": 0.6, "robust": 0.3, "attack": "APGD", "sets": 1, "source": "a paper", "url": ""}
    >>> Reference("TeCoA", "ViT-B/32", "ImageNet", "1/255", **robust).robust
    0.3

    :param report: What ``report.json`` holds, as far as ``results``.
    :return: ``row``: of the report that is compared, or ``None``; ``comparable``: the figures, each as a
        :class:`Reference`; ``said``: how they may be read, or why there are none.
    """
    row = next((row for row in _ROWS if row in report["results"]), None)
    why = _why_not(report, row)
    found = [] if why else list(_comparable(report))
    if not found:
        why = why or "of those on this data set none has a radius of the run"
        return {"row": None, "comparable": [], "said": f"There is no comparable published figure here: {why}."}
    said = (
        f"Means over as many data sets as the table says, {_data_set(report)} among them, and not of it alone; prompts "
        "and steps differ. They say what size of number to expect, and are no ranking."
    )
    return {"row": row, "comparable": [asdict(one) for one in found], "said": said}


def _why_not(report: Mapping[str, Any], row: str | None) -> str:
    """Why nothing can be compared; empty if something may be."""
    if report["task"] != ZERO_SHOT:
        return "those that are known are of zero-shot classification"
    if row is None:
        return "those that are known are of attacks on images, and this run has none"
    if not is_l_inf(report["budget"]):
        return "those that are known are of the norm inf"
    if report["settings"].get("classes") is not None:
        return "the classes of this run are others than those of the data set"
    known = {name for one in protocols() for name in one["data"]}
    return "" if _data_set(report) in known else "none that is known is of this data set, or of this split of it"


def _data_set(report: Mapping[str, Any]) -> str | None:
    try:
        return measured_set(report["data"]["spec"])
    except InputError:
        return None


def _comparable(report: Mapping[str, Any]) -> Iterator[Reference]:
    name, radii = _data_set(report), [radius.eps for radius in radii_of(report)]
    for one in protocols():
        if name not in one["data"]:
            continue
        for figure in one["figures"]:
            if any(math.isclose(float(Fraction(figure["eps"])), eps, rel_tol=1e-6) for eps in radii):
                facts = {key: one[key] for key in ("architecture", "trained_on", "attack", "source", "url")}
                yield Reference(**figure, **facts, sets=len(one["data"]))
