"""The program: its commands, and what becomes of errors."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from art_multimodal import __version__
from art_multimodal.cli.audit import EXAMPLES as AUDIT_EXAMPLES
from art_multimodal.cli.audit import audit
from art_multimodal.cli.benchmark import app as benchmarks
from art_multimodal.cli.certify import EXAMPLES as CERTIFY_EXAMPLES
from art_multimodal.cli.certify import certify
from art_multimodal.cli.compare import EXAMPLES as COMPARE_EXAMPLES
from art_multimodal.cli.compare import compare
from art_multimodal.cli.display import escape_what_cannot_be_shown
from art_multimodal.cli.export import EXAMPLES as EXPORT_EXAMPLES
from art_multimodal.cli.export import export
from art_multimodal.cli.help import Command, Group
from art_multimodal.cli.listing import EXAMPLES as LIST_EXAMPLES
from art_multimodal.cli.listing import list_entries
from art_multimodal.cli.names import option_name
from art_multimodal.cli.plan import app as plans
from art_multimodal.cli.plugins import add_command
from art_multimodal.cli.preprocessing import EXAMPLES as PREPROCESSING_EXAMPLES
from art_multimodal.cli.preprocessing import preprocessing
from art_multimodal.cli.presets import SECTION as PRESETS_SECTION
from art_multimodal.cli.statistics import EXAMPLES as STATISTICS_EXAMPLES
from art_multimodal.cli.statistics import statistics
from art_multimodal.cli.train import EXAMPLES as TRAIN_EXAMPLES
from art_multimodal.cli.train import train
from art_multimodal.cli.transfer import EXAMPLES as TRANSFER_EXAMPLES
from art_multimodal.cli.transfer import transfer
from art_multimodal.cli.universal import EXAMPLES as UNIVERSAL_EXAMPLES
from art_multimodal.cli.universal import universal
from art_multimodal.cli.usage import explain
from art_multimodal.cli.verify import EXAMPLES as VERIFY_EXAMPLES
from art_multimodal.cli.verify import verify
from art_multimodal.errors import InputError, notes_of
from art_multimodal.shown import shown

#: Exit codes; 0 is fine and 1 a gate that failed. The last two are those that a shell gives for the signals.
BAD_INPUT, UNEXPECTED, INTERRUPTED, CLOSED_PIPE = 2, 3, 130, 141

#: Characters of an error line.
_LONGEST = 2000
_GOES_ON = "What was finished is kept; --resume goes on after it."

_EXAMPLES = """\
art-multimodal audit demo:digits --data demo:digits --eps 4/255
art-multimodal audit open_clip:ViT-B-32/openai --data folder:photos \\
  --preset quick
art-multimodal list attacks
art-multimodal audit --help"""
#: Options may be written as other tools write them, in any case; -h is --help.
_SETTINGS = {"help_option_names": ["-h", "--help"], "token_normalize_func": option_name}


class AuditCommand(Command):
    """The audit, whose help lists its presets."""

    sections = (PRESETS_SECTION,)


app = typer.Typer(
    cls=Group,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=_SETTINGS,
    epilog=_EXAMPLES,
)
add_command(app, audit, AUDIT_EXAMPLES, cls=AuditCommand)
add_command(app, certify, CERTIFY_EXAMPLES)
add_command(app, train, TRAIN_EXAMPLES)
add_command(app, transfer, TRANSFER_EXAMPLES)
add_command(app, verify, VERIFY_EXAMPLES)
add_command(app, compare, COMPARE_EXAMPLES)
add_command(app, export, EXPORT_EXAMPLES)
add_command(app, universal, UNIVERSAL_EXAMPLES)
add_command(app, statistics, STATISTICS_EXAMPLES)
add_command(app, preprocessing, PREPROCESSING_EXAMPLES)
add_command(app, list_entries, LIST_EXAMPLES, "list")
app.add_typer(plans, name="plan")
app.add_typer(benchmarks, name="benchmark")


def _show_version(asked: bool) -> None:
    if asked:
        print(f"art-multimodal {__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Measure and improve the robustness of CLIP-like and image-text models."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    escape_what_cannot_be_shown(sys.stdout, sys.stderr)
    code = _run(sys.argv[1:] if arguments is None else list(arguments))
    if code == INTERRUPTED:
        _say("interrupted: what was finished is kept; go on with --resume")
    return _flushed(code)


@cache
def _command() -> Any:
    """The program as click knows it; made once, for reading every annotation again is a third of a short call."""
    return typer.main.get_command(app)


def _run(arguments: list[str]) -> int:
    try:
        _check_arguments(arguments)
        command = _command()
        # Not by its main, which makes a closed pipe the code of a gate that failed.
        with command.make_context("art-multimodal", arguments) as context:
            result = command.invoke(context)
        return result if isinstance(result, int) else 0
    except InputError as error:
        where = notes_of(error)
        return _refused(f"{error} ({', '.join(where)})" if where else str(error))
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, EOFError, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        return CLOSED_PIPE
    except Exception as error:
        if hasattr(error, "format_message"):  # click's usage errors, whose classes typer does not export
            if error.format_message():  # empty after the help text
                return _refused(explain(error))
            return BAD_INPUT
        reason = _of_the_machine(error)
        if reason is not None:
            return _refused(reason)
        for line in traceback.format_exc().splitlines():
            _say(line)
        _say(f"error: this was not expected. {_GOES_ON}")
        return UNEXPECTED


def _check_arguments(arguments: Sequence[str]) -> None:
    for argument in arguments:
        if "\0" in argument:
            raise InputError(f"{argument!r:.200} holds a NUL character, which no name of a file or model has.")


def _of_the_machine(error: Exception) -> str | None:
    """What to say of an error that is no fault of the program's: files, names and memory; ``None`` of others."""
    if isinstance(error, PermissionError) and error.filename is not None:
        return f"No permission for {error.filename}. Give a path that can be used, or change its mode. {_GOES_ON}"
    if isinstance(error, OSError):
        if error.filename is not None:
            return f"{error.filename} cannot be used: {error.strerror or error}. {_GOES_ON}"
        if _cannot_flush():
            return _no_output(error)
        return f"The system refused something: {error.strerror or error}. {_GOES_ON}"
    if isinstance(error, UnicodeError) or (isinstance(error, ValueError) and "embedded null" in str(error)):
        return f"A name or a text holds characters that cannot be used ({error}). {_GOES_ON}"
    # torch has a class of its own for the memory of a GPU, and none for that of the machine.
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    ):
        return f"There is not enough memory ({error}). Choose a smaller --batch-size. {_GOES_ON}"
    return None


def _refused(message: str) -> int:
    _say(f"error: {message}")
    return BAD_INPUT


def _say(message: str) -> None:
    """One line on standard error, if anybody can read it."""
    line = shown(message)
    with suppress(OSError, ValueError):  # full, or closed
        print(line if len(line) <= _LONGEST else line[:_LONGEST] + " ...", file=sys.stderr, flush=True)


def _flushed(code: int) -> int:
    """See what was printed out of the door; the code that it ends with."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        code = CLOSED_PIPE
    except (OSError, ValueError) as error:
        # Where a print has failed before, it has been said.
        code = code if code == BAD_INPUT else _refused(_no_output(error))
    if code == CLOSED_PIPE or (code == BAD_INPUT and _cannot_flush()):
        # The interpreter would try once more, and complain.
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
    return code


def _no_output(error: Exception) -> str:
    return f"Standard output cannot be written ({getattr(error, 'strerror', error)}). Files are written."


def _cannot_flush() -> bool:
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        return True
    return False


def entry_point() -> None:
    """The console script."""
    # Read when torch is loaded. Threads that spin for long while they wait take the cores from whoever else works on
    # this machine: an audit beside two busy processes then takes five times as long. Short waits are spun through.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    sys.exit(main())
