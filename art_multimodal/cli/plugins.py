"""What every command does with plug-ins: those that are installed are loaded, and those that ``--plugin`` names."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from art_multimodal.cli.help import Command
from art_multimodal.cli.options import quiet_libraries
from art_multimodal.plugins import check_loaded, load_plugin, load_plugins, without_installed
from art_multimodal.shown import shown

#: Of the header of a run, which is far smaller.
_MOST_BYTES = 64 << 20
_NAMED = inspect.Parameter(
    "plugin",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        list[str] | None,
        typer.Option(
            "--plugin",
            metavar="MODULE",
            help="import a module that registers attacks, models, data, ...; repeat; see list plugins",
        ),
    ],
)
_NONE_INSTALLED = inspect.Parameter(
    "no_plugins",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[
        bool, typer.Option("--no-plugins", help="load no installed plug-in, only those that --plugin names")
    ],
)


def add_command(
    app: typer.Typer, function: Callable[..., None], epilog: str, name: str | None = None, cls: type[Command] = Command
) -> None:
    """Add a command to a program: what all of them have in common is said here.

    :param epilog: Its examples.
    :param name: Where it is not that of the function.
    """
    app.command(name, cls=cls, epilog=epilog)(_taking_plugins(function))


def _taking_plugins(command: Callable[..., None]) -> Callable[..., None]:
    """A command with ``--plugin`` and ``--no-plugins``; plug-ins are loaded before it runs, and not for its help."""
    signature = inspect.signature(command, eval_str=True)

    @wraps(command)
    def with_plugins(plugin: list[str] | None, no_plugins: bool, **given: Any) -> None:
        quiet_libraries()
        with without_installed(no_plugins):
            load_plugins(_tell)
            for module in plugin or ():
                load_plugin(module)
            if given.get("resume"):
                _check_resumed(given["out"])
            command(**given)

    parameters = [*signature.parameters.values(), _NAMED, _NONE_INSTALLED]
    vars(with_plugins)["__signature__"] = signature.replace(parameters=parameters)
    with_plugins.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_plugins


def _check_resumed(out: Path) -> None:
    """Say so where a run that is to go on was made with a plug-in that is not here, before anything is asked of it.

    :param out: Of the run, or of the runs of several models.
    :raises InputError: Naming the plug-in.
    """
    from art_multimodal.store import opened_document, read_regular

    own = [out / name for name in ("run.json", "training.json", "transfer.json")]
    for path in (*own, *sorted(out.glob("*/run.json"))):
        try:
            used = opened_document(read_regular(path, _MOST_BYTES)).get("plugins", ())
        except (OSError, ValueError):
            continue  # the command itself says so
        if isinstance(used, list):
            check_loaded(one for one in used if isinstance(one, dict))


def _tell(message: str) -> None:
    """One line on standard error; of several processes from the first alone."""
    if os.environ.get("RANK", "0") in ("", "0"):
        print(f"warning: {shown(message)}", file=sys.stderr)
