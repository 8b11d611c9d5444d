"""Texts as users give them: everywhere a list of strings, or a single one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from art_multimodal.errors import InputError


def as_texts(texts: Iterable[str]) -> list[str]:
    """Return texts as a list; a single string is one text, not its letters.

    :raises InputError: For what is no string, naming the first, or no list of them.
    """
    if isinstance(texts, str):
        return [texts]
    if isinstance(texts, (bytes, bytearray, Mapping)) or not isinstance(texts, Iterable) or _is_number(texts):
        raise InputError(f"Texts must be a list of strings, or one string, not {type(texts).__name__}.")
    texts = list(texts)
    check_strings(texts)
    return texts


def check_strings(texts: Iterable[object]) -> None:
    """Refuse what is no string.

    :raises InputError: Naming the first.
    """
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"Text {row} must be a string, not {type(text).__name__}: {text!r:.60}.")


def _is_number(texts: Iterable[object]) -> bool:
    """Whether this is an array of a single entry and no axis, which only looks as if there were several."""
    return getattr(texts, "ndim", 1) == 0


def without_words(text: str, words: Iterable[int]) -> str:
    """Delete whitespace-separated words by index; what remains is joined by single spaces."""
    removed = set(words)
    if not removed:
        return text
    return " ".join(word for index, word in enumerate(text.split()) if index not in removed)
