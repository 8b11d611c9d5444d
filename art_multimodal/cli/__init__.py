"""``art-multimodal``: the command line.

Not public: the commands and their options are, these functions may change.
"""

from art_multimodal.cli.program import app, entry_point, main

__all__ = ["app", "entry_point", "main"]
