"""YAML files that hold nothing but plain values, each of them known: plans, and configurations of benchmarks.

Nothing is built but numbers, strings, lists and mappings (``yaml.safe_load``). Anchors, aliases and merged mappings,
by which a short file becomes an endless one, are refused before anything is built, and so are deep files and keys that
stand there twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from art_multimodal.errors import InputError, one_line, unknown_name
from art_multimodal.shown import brief, shown

#: Bytes of a file.
LARGEST = 64 * 1024
#: Lists and mappings inside one another; a plan needs four.
_DEEPEST = 10
ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True)
class Kind:
    """What a file is, for errors.

    :param noun: With its article: ``"a plan"``.
    :param example: An entry of it.
    :param help: Where a whole one is to be had, as a sentence.
    :param parts: By the place in it, the entries that there may be; numbers of lists are left out.
    """

    noun: str
    example: str
    help: str
    parts: Mapping[tuple[Any, ...], type[BaseModel]]


def parse_file(model: type[ModelT], kind: Kind, text: str, name: str) -> ModelT:
    """Read a file from its text.

    :param model: What it is made into.
    :param name: Begins each error.
    :raises InputError: If it is no such file: in one line, with what to do.
    """
    try:
        return model.model_validate(_plain(text, kind))
    except _NotPlain as error:
        raise InputError(f"{shown(name)}: {error}") from error
    except ValidationError as error:
        raise InputError(f"{shown(name)}: {_said(error, kind)}") from error
    except InputError as error:
        raise InputError(f"{shown(name)}: {error}") from error


class _NotPlain(Exception):
    """What is wrong with a text, in one line."""


def _plain(text: str, kind: Kind) -> dict[Any, Any]:
    """Mappings, lists, strings and numbers of a YAML text."""
    try:
        _check_events(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        _check_keys(node)
        value = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise _NotPlain(f"this is no YAML{where}: {brief(error.problem or error.context or '', 100)}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _NotPlain(f"this is no YAML: {one_line(error, 100)}.") from error
    if not isinstance(value, dict):
        raise _NotPlain(f"{kind.noun} is entries such as {kind.example!r}. {kind.help}")
    return value


def _check_events(text: str) -> None:
    deep = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _NotPlain(f"line {line} has an anchor or an alias (& or *). Write out what it stands for.")
        if getattr(event, "tag", None) is not None:
            raise _NotPlain(f"line {line} has a tag (!). Write plain values.")
        deep += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if deep > _DEEPEST:
            raise _NotPlain(f"line {line} lies more than {_DEEPEST} lists and mappings deep.")


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
            raise _NotPlain(f"line {line} has a list or a mapping for a key.")
        if key.tag.endswith(":merge"):
            raise _NotPlain(f"line {line} merges a mapping (<<). Write out what it stands for.")
        if key.value in seen:
            raise _NotPlain(f"{brief(key.value, 60)} stands there twice, again in line {line}. Keep one of them.")
        seen.add(key.value)
        _check_keys(value)


def _said(error: ValidationError, kind: Kind) -> str:
    """The first thing that is wrong, in one line."""
    errors = error.errors(include_url=False)
    # What is misspelt is missing, too: its name says more.
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    place = [part for part in first["loc"] if part != "[key]"]
    where = brief(".".join(map(str, place)), 80)
    if first["type"] == "extra_forbidden":
        # Of something in a list the number does not matter.
        above = tuple(part for part in place[:-1] if not isinstance(part, int))
        inside = kind.parts.get(above, kind.parts[()])
        of = f"entry of {brief('.'.join(map(str, above)), 60)}" if above else f"entry of {kind.noun}"
        return str(unknown_name(of, brief(place[-1], 60), inside.model_fields))
    if first["type"] == "missing":
        return f"{where} is missing. {kind.help}"
    if first["type"] == "value_error":
        # What our own checks say names the place.
        return str(first["ctx"]["error"]) if "ctx" in first else first["msg"]
    given = brief(repr(first["input"]), 60)
    return f"{where} cannot be {given}: {first['msg'][0].lower()}{shown(first['msg'][1:])}."
