"""The program: its commands, and what becomes of errors."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

import typer

from art_multimodal.cli.audit import audit
from art_multimodal.cli.listing import list_entries
from art_multimodal.cli.train import train
from art_multimodal.errors import InputError

BAD_INPUT, UNEXPECTED, INTERRUPTED = 2, 3, 130

app = typer.Typer(
    help="Measure and improve the robustness of CLIP-like models.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(audit)
app.command()(train)
app.command("list")(list_entries)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        result = typer.main.get_command(app).main(
            args=None if arguments is None else list(arguments), prog_name="art-multimodal", standalone_mode=False
        )
        code = result if isinstance(result, int) else 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except PermissionError as error:
        print(
            f"error: No permission for {error.filename}. Give a path that can be used, or change its mode.",
            file=sys.stderr,
        )
        return BAD_INPUT
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        if hasattr(error, "format_message"):  # click's usage errors, whose classes typer does not export
            if message := error.format_message():  # empty after the help text
                print(f"error: {_one_line(message)} See art-multimodal --help.", file=sys.stderr)
            return BAD_INPUT
        traceback.print_exc()
        print("error: this was not expected. What was finished is kept; --resume goes on after it.", file=sys.stderr)
        return UNEXPECTED
    if code == INTERRUPTED:  # which typer, too, returns for Ctrl-C
        print("interrupted: what was finished is kept; go on with --resume", file=sys.stderr)
    return code


def _one_line(message: str) -> str:
    line = " ".join(message.split()).replace("?.", "?")
    return line if line.endswith(("?", ".")) else line + "."


def entry_point() -> None:
    """The console script."""
    sys.exit(main())
