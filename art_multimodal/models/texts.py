"""What tokenizers of fusion models refuse."""

from __future__ import annotations

from collections.abc import Sequence

from art_multimodal.errors import InputError
from art_multimodal.texts import as_texts


def check_texts(texts: Sequence[str]) -> list[str]:
    """Return texts as a list; a single string is one text. An empty text is allowed.

    :raises InputError: If there is none, or one is no string or cannot be written in UTF-8.
    """
    texts = as_texts(texts)
    if not texts:
        raise InputError("There are no texts. Give one per image.")
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"A text holds half a character (a lone surrogate, {text[error.start]!r}), which tokenizers do not "
                f"read: {text!r:.60}. Was it read with the right encoding?"
            ) from error
    return texts


def check_length(text: str, length: int, allowed: int) -> None:
    """Refuse a text of more tokens than the model reads.

    :raises InputError: If ``length`` is more than ``allowed``.
    """
    if length > allowed:
        raise InputError(
            f"A text needs {length} tokens, more than the {allowed} that this model reads: "
            f"{text[:60]!r}{'...' if len(text) > 60 else ''} ({len(text)} characters). Shorten it."
        )
