"""A plan from its file: see :mod:`art_multimodal.evaluations.yaml_files`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from art_multimodal.evaluations.audit.settings import AuditSettings
from art_multimodal.evaluations.plans.model import PARTS, Plan
from art_multimodal.evaluations.yaml_files import LARGEST, Kind, parse_file
from art_multimodal.store import read_text_option

_KIND = Kind("a plan", "data: demo:digits", "art-multimodal plan init writes one that has all entries.", PARTS)


@dataclass(frozen=True)
class DeclaredPlan:
    """A plan that was read.

    :param plan: What it says.
    :param sha256: Of its text.
    :param text: It as it was read, with its comments.
    """

    plan: Plan
    sha256: str
    text: str

    def settings(self, model: str) -> AuditSettings:
        """What an audit of one of the models does, which keeps the plan in its header.

        :param model: Its name.
        """
        return replace(self.plan.settings(model), declared=self.as_json(), plan_text=self.text)

    def as_json(self) -> dict[str, Any]:
        """As the header of a run keeps it, in JSON types."""
        return {"sha256": self.sha256, "content": self.plan.as_json()}


def read_plan(path: str | Path) -> DeclaredPlan:
    """Read a plan from a file.

    >>> text = "{plan: 1, models: [demo:digits], data: demo:digits, attacks: {image: [pgd]}}"
    >>> written = Path("plan.yaml").write_text(text, encoding="utf-8")
    >>> read_plan("plan.yaml").plan.data
    'demo:digits'

    :raises InputError: If it cannot be read, is larger than 64 KiB, or is no plan: in one line, with what to do.
    """
    return parse_plan(read_text_option(path, "--plan:", LARGEST), str(path))


def parse_plan(text: str, name: str = "the plan") -> DeclaredPlan:
    """Read a plan from its text.

    >>> text = "{plan: 1, models: [demo:digits], data: demo:digits, attacks: {image: [pgd]}, floors: {image: 0.3}}"
    >>> declared = parse_plan(text)
    >>> isinstance(declared, DeclaredPlan), declared.plan.models, declared.settings("demo:digits").attacks
    (True, ['demo:digits'], 'pgd')

    :param name: Begins each error.
    :raises InputError: If it is no plan.
    """
    plan = parse_file(Plan, _KIND, text, name)
    return DeclaredPlan(plan, hashlib.sha256(text.encode()).hexdigest(), text)


def lines_of(plan: Plan) -> Iterator[str]:
    """What a plan declares, in lines for people."""
    attacks = sum(len(names) if isinstance(names, list) else 1 for names in plan.attacks.values())
    yield f"{len(plan.models)} model(s) on {plan.data}, {plan.task}"
    yield f"{len(plan.attacks)} families, {attacks} entries of attacks; radii {', '.join(plan.radii()) or 'by default'}"
    yield f"{len(plan.limits())} limits"
