"""``art-multimodal``: the command line."""

from art_multimodal.cli.program import app, entry_point, main

__all__ = ["app", "entry_point", "main"]
