"""What ``--help`` shows: options by what they are about, each with its default, in 80 columns anywhere."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from art_multimodal.cli.usage import check_values

#: Of every page, whatever the terminal: what is read in a pipe, a log or a test is the same.
WIDTH = 80
#: Where what is said of an option begins.
_COLUMN = 26
#: Of options that name no group.
_OTHER = "Other"
#: Where a line is not to end.
STAY = "\xa0"


class Command(TyperCommand):
    """A command whose help is grouped, with examples: those of its epilog."""

    #: Further sections: a title, and entries with what is said of them.
    sections: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        check_values(self.params, args, ctx.command_path)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(command_page(self, ctx))


class Group(TyperGroup):
    """The program, whose help lists its commands."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        lines = [f"Usage: {ctx.command_path} COMMAND ...", "", *_paragraphs(self.help), "", _heading("Commands")]
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            assert command is not None
            lines += entry(name, (command.help or "").partition("\n\n")[0])
        lines += ["", _heading("Options"), *(line for param in self.get_params(ctx) for line in _option(param, ctx))]
        lines += _examples(self.epilog)
        formatter.write("\n".join(lines) + "\n")


def command_page(command: Any, ctx: Any) -> str:
    """The help of a command."""
    params = [param for param in command.get_params(ctx) if not getattr(param, "hidden", False)]
    arguments = [param for param in params if param.param_type_name == "argument"]
    required = [param for param in params if param.param_type_name == "option" and param.required]
    usage = " ".join(
        [
            f"Usage: {ctx.command_path}",
            *(
                f"{_metavar(param)} [{_metavar(param)} ...]" if param.nargs == -1 else _metavar(param)
                for param in arguments
            ),
            *(f"{param.opts[0]} {_metavar(param)}" for param in required),
            *(["[options]"] if len(params) > len(arguments) + len(required) + 1 else []),
        ]
    )
    lines = [*textwrap.wrap(usage, WIDTH, subsequent_indent=" " * 4), "", *_paragraphs(command.help)]
    lines += _examples(command.epilog)
    groups: dict[str, list[Any]] = {}
    for param in params:
        groups.setdefault(getattr(param, "rich_help_panel", None) or _OTHER, []).append(param)
    if _OTHER in groups:
        groups[_OTHER] = groups.pop(_OTHER)
    for name, members in groups.items():
        lines += ["", _heading(name), *(line for param in members for line in _option(param, ctx))]
    for title, entries in getattr(command, "sections", ()):
        lines += ["", _heading(title), *(line for name, text in entries for line in entry(name, text))]
    return "\n".join(lines) + "\n"


def _option(param: Any, ctx: Any) -> list[str]:
    """The lines of an option or an argument."""
    if param.param_type_name == "argument":
        name = _metavar(param)
    else:
        # Other tools' names are taken as well, and would only be in the way here.
        names = ", ".join(sorted((opt for opt in param.opts), key=len))
        name = names if _is_flag(param) else f"{names} {_metavar(param)}"
    said = [param.help or ""]
    default = _default(param, ctx)
    if default is not None:
        said.append(f"[default: {default}]".replace(" ", STAY))
    if param.required:
        said.append("[required]")
    return entry(name, " ".join(filter(None, said)))


def _is_flag(param: Any) -> bool:
    return bool(getattr(param, "is_flag", False)) or param.name in ("help", "version")


def _metavar(param: Any) -> str:
    return param.metavar or (param.name or "").upper().replace("_", "-")


def _default(param: Any, ctx: Any) -> str | None:
    """How the default is shown; ``None`` for none."""
    stated = getattr(param, "show_default", None)
    if isinstance(stated, str):
        return stated
    if _is_flag(param) or param.required or stated is False:
        return None
    value = param.default
    return None if value is None or callable(value) or isinstance(value, (list, tuple)) else str(value)


def entry(name: str, text: str) -> list[str]:
    """A name with what is said of it beside it, or below where the name is long."""
    indent = " " * _COLUMN
    wrapper = textwrap.TextWrapper(
        WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )
    # Not split(), which would part what is to stay together.
    lines = wrapper.wrap(re.sub(r"[ \n]+", " ", text)) or [indent]
    lines = [line.replace(STAY, " ") for line in lines]
    head = f"  {name}"
    if len(head) > _COLUMN - 2:
        heads = textwrap.wrap(name, WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
        return [*heads, *lines]
    return [(head.ljust(_COLUMN) + lines[0][_COLUMN:]).rstrip(), *lines[1:]]


def _paragraphs(text: str | None) -> list[str]:
    lines: list[str] = []
    for part in (text or "").split("\n\n"):
        lines += ([""] if lines else []) + textwrap.wrap(" ".join(part.split()), WIDTH)
    return lines


def _examples(text: str | None) -> list[str]:
    """Commands as they are, below a heading."""
    return ["", _heading("Examples"), *(f"  {line}" for line in text.splitlines())] if text else []


def _heading(text: str) -> str:
    # Of no consequence where there is no terminal: what is printed there is stripped.
    return typer.style(f"{text}:", bold=True)
