"""A plan from its file: YAML that holds nothing but plain values, each of them known.

Nothing is built but numbers, strings, lists and mappings (``yaml.safe_load``). Anchors, aliases and merged mappings,
by which a short file becomes an endless one, are refused before anything is built, and so are deep files and keys that
stand there twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from art_multimodal.errors import InputError, one_line, unknown_name
from art_multimodal.evaluations.audit.settings import AuditSettings
from art_multimodal.evaluations.plans.model import PARTS, Plan
from art_multimodal.shown import brief, shown
from art_multimodal.store import read_text_option

#: Bytes of a file.
LARGEST = 64 * 1024
#: Lists and mappings inside one another; a plan needs four.
_DEEPEST = 10


@dataclass(frozen=True)
class DeclaredPlan:
    """A plan that was read.

    :param plan: What it says.
    :param sha256: Of its text.
    """

    plan: Plan
    sha256: str

    def settings(self, model: str) -> AuditSettings:
        """What an audit of one of the models does, which keeps the plan in its header.

        :param model: Its name.
        """
        return replace(self.plan.settings(model), declared=self.as_json())

    def as_json(self) -> dict[str, Any]:
        """As the header of a run keeps it, in JSON types."""
        return {"sha256": self.sha256, "content": self.plan.as_json()}


def read_plan(path: str | Path) -> DeclaredPlan:
    """Read a plan from a file.

    :raises InputError: If it cannot be read, is larger than 64 KiB, or is no plan: in one line, with what to do.
    """
    return parse_plan(read_text_option(path, "--plan:", LARGEST), str(path))


def parse_plan(text: str, name: str = "the plan") -> DeclaredPlan:
    """Read a plan from its text.

    :param name: Begins each error.
    :raises InputError: If it is no plan.
    """
    try:
        plan = Plan.model_validate(_plain(text))
    except _NotAPlan as error:
        raise InputError(f"{shown(name)}: {error}") from error
    except ValidationError as error:
        raise InputError(f"{shown(name)}: {_said(error)}") from error
    except InputError as error:
        raise InputError(f"{shown(name)}: {error}") from error
    return DeclaredPlan(plan, hashlib.sha256(text.encode()).hexdigest())


class _NotAPlan(Exception):
    """What is wrong with a text, in one line."""


def _plain(text: str) -> dict[Any, Any]:
    """Mappings, lists, strings and numbers of a YAML text."""
    try:
        _check_events(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        _check_keys(node)
        value = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise _NotAPlan(f"this is no YAML{where}: {brief(error.problem or error.context or '', 100)}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _NotAPlan(f"this is no YAML: {one_line(error, 100)}.") from error
    if not isinstance(value, dict):
        raise _NotAPlan("a plan is entries such as 'data: demo:digits'. art-multimodal plan init writes one.")
    return value


def _check_events(text: str) -> None:
    deep = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _NotAPlan(f"line {line} has an anchor or an alias (& or *). Write out what it stands for.")
        if getattr(event, "tag", None) is not None:
            raise _NotAPlan(f"line {line} has a tag (!). A plan holds plain values.")
        deep += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if deep > _DEEPEST:
            raise _NotAPlan(f"line {line} lies more than {_DEEPEST} lists and mappings deep.")


def _check_keys(node: yaml.Node | None) -> None:
    if node is None:
        return
    if isinstance(node, yaml.SequenceNode):
        for inner in node.value:
            _check_keys(inner)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise _NotAPlan(f"line {line} has a list or a mapping for a key.")
        if key.tag.endswith(":merge"):
            raise _NotAPlan(f"line {line} merges a mapping (<<). Write out what it stands for.")
        if key.value in seen:
            raise _NotAPlan(f"{brief(key.value, 60)} stands there twice, again in line {line}. Keep one of them.")
        seen.add(key.value)
        _check_keys(value)


def _said(error: ValidationError) -> str:
    """The first thing that is wrong, in one line."""
    first = error.errors(include_url=False)[0]
    place = [part for part in first["loc"] if part != "[key]"]
    where = brief(".".join(map(str, place)), 80)
    if first["type"] == "extra_forbidden":
        inside: type[BaseModel] = PARTS.get(tuple(place[:-1]), Plan)
        of = f"entry of {brief('.'.join(map(str, place[:-1])), 60)}" if len(place) > 1 else "entry of a plan"
        return str(unknown_name(of, brief(place[-1], 60), inside.model_fields))
    if first["type"] == "missing":
        return f"{where} is missing. art-multimodal plan init writes a plan that has all entries."
    if first["type"] == "value_error":
        # What our own checks say names the place.
        return str(first["ctx"]["error"]) if "ctx" in first else first["msg"]
    given = brief(repr(first["input"]), 60)
    return f"{where} cannot be {given}: {first['msg'][0].lower()}{shown(first['msg'][1:])}."


def lines_of(plan: Plan) -> Iterator[str]:
    """What a plan declares, in lines for people."""
    attacks = sum(len(names) if isinstance(names, list) else 1 for names in plan.attacks.values())
    yield f"{len(plan.models)} model(s) on {plan.data}, {plan.task}"
    yield f"{len(plan.attacks)} families, {attacks} entries of attacks; radii {', '.join(plan.radii()) or 'by default'}"
    yield f"{len(plan.limits())} limits"
