"""The program: its commands, and what becomes of errors."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from art_multimodal import __version__
from art_multimodal.cli.audit import EXAMPLES as AUDIT_EXAMPLES
from art_multimodal.cli.audit import audit
from art_multimodal.cli.help import Command, Group
from art_multimodal.cli.listing import EXAMPLES as LIST_EXAMPLES
from art_multimodal.cli.listing import list_entries
from art_multimodal.cli.names import option_name
from art_multimodal.cli.presets import SECTION as PRESETS_SECTION
from art_multimodal.cli.train import EXAMPLES as TRAIN_EXAMPLES
from art_multimodal.cli.train import train
from art_multimodal.cli.usage import explain
from art_multimodal.errors import InputError

BAD_INPUT, UNEXPECTED, INTERRUPTED = 2, 3, 130

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
app.command(cls=AuditCommand, epilog=AUDIT_EXAMPLES)(audit)
app.command(cls=Command, epilog=TRAIN_EXAMPLES)(train)
app.command("list", cls=Command, epilog=LIST_EXAMPLES)(list_entries)


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
            if error.format_message():  # empty after the help text
                print(f"error: {explain(error)}", file=sys.stderr)
            return BAD_INPUT
        traceback.print_exc()
        print("error: this was not expected. What was finished is kept; --resume goes on after it.", file=sys.stderr)
        return UNEXPECTED
    if code == INTERRUPTED:  # which typer, too, returns for Ctrl-C
        print("interrupted: what was finished is kept; go on with --resume", file=sys.stderr)
    return code


def entry_point() -> None:
    """The console script."""
    sys.exit(main())
