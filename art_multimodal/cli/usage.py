"""What is said of a command line that cannot be read: the option, what it takes, and an example."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from art_multimodal.cli.names import option_name
from art_multimodal.errors import InputError
from art_multimodal.shown import shown

#: What one writes for an option or argument, by its parameter; of others the default is an example.
_EXAMPLES = {
    "as": "junit,sarif",
    "attack_steps": "10",
    "attacks": "image,text",
    "bundle": "audit/evidence",
    "by": '"Ann Author"',
    "certify_budget": "image=1,text=1",
    "cells": "3/10",
    "classes": "cat,dog",
    "config": "benchmark.yaml",
    "data": "folder:photos",
    "defence": "jpeg:quality=75",
    "elements": "image=blocks:8",
    "eps": "1/255",
    "eps_step": "0.5/255",
    "fail_under": "image.accuracy=0.3",
    "folder": "audit",
    "keep": "image=16,text=3",
    "leaderboard": "leaderboard.json",
    "limit": "100",
    "max_queries": "500",
    "max_grad_norm": "1.0",
    "method": "tecoa",
    "model": "demo:digits",
    "option": "lambda_img=0.5",
    "out": "results",
    "plan": "plan.yaml",
    "plugin": "my_plugin",
    "protect": "red,green",
    "preset": "quick",
    "steps": "10",
    "templates": '"a photo of a {}."',
    "validation_steps": "10",
    "what": "attacks",
}


#: Where a command means something else by it.
_OF_COMMAND = {
    "certify": {
        "budget": "image=1,text=1",
        "fail_under": "certified.image=1=0.3",
        "masks": "partition",
    }
}


def explain(error: Any) -> str:
    """One line for a usage error of click, whose classes typer does not export."""
    context = getattr(error, "ctx", None)
    program = context.command_path if context is not None else "art-multimodal"
    said = _unknown_option(error, context) if hasattr(error, "possibilities") else error.format_message()
    said = _one_line(said)
    example = _example(error, program)
    if example:
        said += f" For example: {example}."
    if "No such command" in said and "Did you mean" not in said and context is not None:
        said += f" Commands: {', '.join(context.command.list_commands(context))}."
    return shown(f"{said} See {program} --help.")


def check_values(params: Iterable[Any], arguments: Sequence[str], program: str) -> None:
    """Find out whether an option stands where the value of another one was to be.

    :param params: Of the command.
    :param arguments: As given.
    :raises InputError: Naming both.
    """
    options = {opt: param for param in params if param.param_type_name == "option" for opt in param.opts}
    spelt = [_spelling(argument) for argument in arguments]
    for option, value, written in zip(spelt, spelt[1:], arguments[1:], strict=False):
        param = options.get(option)
        if param is not None and not getattr(param, "is_flag", False) and param.name != "help" and value in options:
            example = _written(param.name or "", program)
            hint = f" For example: {option} {example}." if example else ""
            raise InputError(
                f"Option '{option}' requires a value, and {shown(written)} is another option.{hint} "
                f"See {program} --help."
            )


def _spelling(argument: str) -> str:
    return f"--{option_name(argument[2:])}" if argument.startswith("--") else argument


def _unknown_option(error: Any, context: Any) -> str:
    if context is not None and (command := _command_with(context.command, error.option_name)):
        value = _written(error.option_name.strip("-").replace("-", "_"), "")
        given = error.option_name if value is None else f"{error.option_name} {value}"
        return (
            f"{error.option_name} is an option of commands and belongs behind the command: "
            f"{context.command_path} {command} ... {given}."
        )
    known = [] if context is None else _options_of(context.command, context)
    # The end of a name says as much as letters that are alike: --queries, --edits.
    word = error.option_name.strip("-")
    likeness = {
        opt: 1.0 if len(word) > 2 and opt.endswith(f"-{word}") else difflib.SequenceMatcher(None, word, opt[2:]).ratio()
        for opt in known
    }
    best = max(likeness.values(), default=0.0)
    near = [opt for opt in known if best >= 0.5 and likeness[opt] > best - 0.1][:3]
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"No such option: {error.option_name}.{hint}"


def _options_of(command: Any, context: Any) -> list[str]:
    """The long options of a command, without those that its help hides."""
    return [
        opt
        for param in command.get_params(context)
        if param.param_type_name == "option" and not getattr(param, "hidden", False)
        for opt in param.opts
        if opt.startswith("--")
    ]


def _command_with(group: Any, option: str) -> str | None:
    """The first command of a group, with those of its groups, that has an option; ``None`` where none has."""
    for name, command in getattr(group, "commands", {}).items():
        if option in (opt for param in command.params for opt in param.opts):
            return name
        if (below := _command_with(command, option)) is not None:
            return f"{name} {below}"
    return None


def _written(name: str, program: str) -> str | None:
    """What one writes for a parameter of a command."""
    return _OF_COMMAND.get(program.rpartition(" ")[2], {}).get(name, _EXAMPLES.get(name))


def _example(error: Any, program: str) -> str | None:
    """What could be written in place of what is wrong or missing."""
    param = getattr(error, "param", None)
    if param is None:
        # Of an option without its value click tells the name alone.
        option = "" if hasattr(error, "possibilities") else getattr(error, "option_name", "")
        value = _written(option.strip("-").replace("-", "_"), program)
        return None if value is None else f"{option} {value}"
    value = _written(param.name, program)
    if value is None:
        stated = getattr(param, "show_default", None)
        if isinstance(stated, str) and " " not in stated:
            value = stated
        elif param.default is None or callable(param.default) or isinstance(param.default, (bool, list, tuple)):
            return None
        else:
            value = str(param.default)
    return value if param.param_type_name == "argument" else f"{param.opts[0]} {value}"


def _one_line(message: str) -> str:
    line = " ".join(message.split()).replace("?.", "?")
    # As typer 0.29 has it from pydantic.
    line = re.sub(
        r"Input should be a valid (integer|number), unable to parse string as an? (integer|number)", r"not a \1", line
    )
    return line if line.endswith(("?", ".")) else line + "."
