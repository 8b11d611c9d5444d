"""What must not be in a text that people are shown."""

from __future__ import annotations

import unicodedata


def controls(text: str) -> set[str]:
    """Characters that are commands to a terminal, or turn its lines around; a line's end is none."""
    kinds = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    return {letter for letter in set(text) if letter not in "\n\u200c\u200d" and unicodedata.category(letter) in kinds}
