"""What tokenizers refuse, and how many tokens a model reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from art_multimodal.errors import InputError
from art_multimodal.shown import shown
from art_multimodal.texts import as_texts

#: Most tokens of a context; longer ones than those of known models are mistakes, and every text is padded to it.
LONGEST_CONTEXT = 2**15


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


def check_context(*lengths: Any, reserved: int = 0) -> int:
    """Return the least of the lengths that configurations give for a context, less what is reserved.

    :param lengths: Numbers of tokens; a tokenizer without a limit gives a huge one.
    :param reserved: Positions that no token can take.
    :raises InputError: If one is no number, or the result is not from 1 to 32768.
    """
    for length in lengths:
        if isinstance(length, bool) or not isinstance(length, int | float) or math.isnan(length):
            raise InputError(
                f"The number of tokens that the model reads must be a whole number, not {shown(length)!r:.60}."
            )
    least = min(lengths[0] - reserved, *lengths[1:]) if len(lengths) > 1 else lengths[0] - reserved
    if not 1 <= least <= LONGEST_CONTEXT or least != int(least):
        raise InputError(
            f"The number of tokens that the model reads must be from 1 to {LONGEST_CONTEXT}, not {str(least)[:40]}: "
            "check max_position_embeddings of the model and model_max_length of the tokenizer."
        )
    return int(least)


def reserved_positions(model: nn.Module) -> int:
    """How many of the declared positions no token takes.

    RoBERTa-like towers start counting positions after the padding id, so they have fewer than they declare.
    """
    for name, module in model.named_modules():
        padding = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and padding is not None:
            return int(padding) + 1
    return 0
