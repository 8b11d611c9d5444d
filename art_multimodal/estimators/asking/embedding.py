"""Embeddings of texts: each distinct one once, in batches of like lengths, and those that a model refuses left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from art_multimodal.errors import InputError
from art_multimodal.estimators.asking.memory import TextMemory
from art_multimodal.models.fusion import Tokens


@dataclass
class TextCost:
    """What an attack has asked of the model under attack; does not depend on the machine.

    :param forwards: Texts that went through the text tower, or through the whole model where towers are not separate.
    :param positions: Tokens that went through it for them, special tokens included: a beginning that texts share is
        counted as often as it was computed (see :meth:`DualEncoder.encode_texts_sharing_prefixes`). Padding is not
        counted, except with a fusion model that does not tell it apart (whose tokens have no mask).
    """

    forwards: int = 0
    positions: int = 0


#: Embeds texts with their tokens: embeddings ``[P, ...]``, and how many tokens went through the model for them.
Encode = Callable[[list[Any], Tokens], tuple[Tensor, int]]


def embedded_in_batches(
    texts: Sequence[tuple[Any, str]],
    tokenize: Callable[[list[str]], Tokens],
    encode: Encode,
    batch_size: int,
    cost: TextCost,
) -> tuple[dict[Any, int], Tensor | None]:
    """Embed texts; return for each key its row, unless the model refuses the text, and the embeddings ``[R, ...]``.

    :param texts: (Key, text); equal keys have one embedding.
    :param tokenize: Refuses a text by an :class:`InputError`.
    :param encode: Is given keys, and the tokens of their texts.
    :param batch_size: Texts at a time.
    :param cost: Where work is counted.
    """
    distinct = list(dict(reversed(texts)).items())
    # Texts of like length share a batch: less padding.
    distinct.sort(key=lambda item: (len(item[1]), item[0]))
    rows: dict[Any, int] = {}
    parts: list[Tensor] = []
    for start in range(0, len(distinct), batch_size):
        keys, tokens = _fitting(distinct[start : start + batch_size], tokenize)
        if tokens is not None:
            with torch.no_grad():
                states, positions = encode(keys, tokens)
            cost.forwards += len(keys)
            cost.positions += positions
            parts.append(states)
            rows.update((key, row) for row, key in enumerate(keys, start=len(rows)))
    return rows, torch.cat(parts) if parts else None


def _fitting(texts: list[tuple[Any, str]], tokenize: Callable[[list[str]], Tokens]) -> tuple[list[Any], Tokens | None]:
    """The keys of the texts that the model reads, and the tokens of these."""
    try:
        return [key for key, _ in texts], tokenize([text for _, text in texts])
    except InputError:
        half = len(texts) // 2
        parts = (texts[:half], texts[half:]) if half else ()
        fitting = {key for part in parts for key in _fitting(part, tokenize)[0]}
        left = [item for item in texts if item[0] in fitting]
        return [key for key, _ in left], tokenize([text for _, text in left]) if left else None


def count_tokens(tokens: Tokens) -> int:
    """The number of tokens in a batch of a fusion model."""
    if isinstance(tokens, Tensor):
        return tokens.numel()
    masks = [part for name, part in tokens.items() if "mask" in name]
    return int(masks[0].sum()) if masks else next(iter(tokens.values())).numel()


class TextTable:
    """Embeddings of texts by one text tower, each text embedded once for as long as the memory keeps it.

    :param memory: What is known already.
    :param tokenize: Refuses a text by an :class:`InputError`.
    :param encode: Embeddings of texts with their tokens, and how many tokens went through the model.
    :param batch_size: Texts at a time.
    """

    def __init__(
        self,
        memory: TextMemory,
        tokenize: Callable[[list[str]], Tokens],
        encode: Callable[[Tokens], tuple[Tensor, int]],
        batch_size: int,
    ) -> None:
        self.memory, self.tokenize, self.batch_size = memory, tokenize, batch_size
        self._encode = encode

    def rows(self, texts: Sequence[str], cost: TextCost | None = None) -> tuple[dict[str, int], Tensor]:
        """The row of each text that the model reads in a table of embeddings ``[R, ...]``; others have none."""
        with self.memory.lock:
            missing = self.memory.missing(texts)
            if missing:
                rows, states = embedded_in_batches(
                    [(text, text) for text in missing],
                    self.tokenize,
                    lambda keys, tokens: self._encode(tokens),
                    self.batch_size,
                    cost or TextCost(),
                )
                if states is not None:
                    self.memory.keep(list(rows), states)
                self.memory.refused.update(text for text in missing if text not in rows)
            return self.memory.row_of, self.memory.table

    def of(self, texts: Sequence[str], cost: TextCost | None = None) -> Tensor:
        """Embeddings of texts, ``[N, ...]``.

        :raises InputError: If the model refuses one.
        """
        rows, table = self.rows(texts, cost)
        if refused := [text for text in texts if text not in rows]:
            self.tokenize(refused)
        return table[torch.tensor([rows[text] for text in texts], dtype=torch.long, device=table.device)]
