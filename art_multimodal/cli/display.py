"""What is said on a terminal: one way for all commands, so that no string from data reaches it as a command."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console

from art_multimodal.shown import shown


def say(line: str, error: bool = False, style: str | None = None) -> None:
    """Print one line, in which names from data stand as they are: control characters are escaped, nothing is markup.

    :param error: On standard error.
    :param style: Of rich.
    """
    Console(stderr=error).print(shown(line), style=style, highlight=False, markup=False, emoji=False, soft_wrap=True)


def escape_what_cannot_be_shown(*streams: TextIO | None) -> None:
    """Let a terminal that knows few characters show the others as escapes, instead of failing."""
    for stream in streams:
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
