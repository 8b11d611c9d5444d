"""Embeddings of texts, kept from one attack to the next while the weights of the model stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from threading import RLock
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from art_multimodal.estimators.weights import WeightState
from art_multimodal.models.dual_encoder import DualEncoder

#: Most numbers that are kept for one model, a quarter of a gigabyte, and most texts.
_MOST_NUMBERS, _MOST_TEXTS = 2**26, 2**18
_FEWEST_ROWS = 1024

_MEMORIES: WeakKeyDictionary[DualEncoder, TextMemory] = WeakKeyDictionary()


class TextMemory:
    """Embeddings of texts by one model, and which texts it refuses.

    :attr:`row_of` maps a text to its row of :attr:`table` ``[R, ...]``; rows at the end of the table may be empty. When
    too much would be kept, everything is forgotten first. Threads that share a memory hold :attr:`lock` from
    :meth:`missing` until they have what they need.
    """

    def __init__(self) -> None:
        self.lock = RLock()
        self.row_of: dict[str, int] = {}
        self.refused: set[str] = set()
        self._table: Tensor | None = None
        self._weights: WeightState | None = None
        self._key: tuple = ()

    @property
    def table(self) -> Tensor:
        """The embeddings."""
        return torch.empty(0) if self._table is None else self._table

    def refresh(self, model: DualEncoder) -> None:
        """Forget everything if the weights, or what the model reads, may have changed."""
        weights = model.text_parameters()
        key = (model.context_length, model.mode_changes)
        with self.lock:
            if key != self._key or model.training or self._weights is None or not self._weights.holds(weights):
                self._forget()
                self._key, self._weights = key, WeightState(weights, model.modules())

    def missing(self, texts: Sequence[str]) -> list[str]:
        """Return which of these texts are not known, each once, in their order, after making room for them."""
        distinct = dict.fromkeys(texts)
        missing = [text for text in distinct if text not in self.row_of and text not in self.refused]
        if missing and self._table is not None:
            texts_then = len(self.row_of) + len(self.refused) + len(missing)
            if texts_then > min(_MOST_TEXTS, _MOST_NUMBERS // max(1, self._table[0].numel())):
                self._forget()
                return list(distinct)
        return missing

    def keep(self, texts: Sequence[str], embeddings: Tensor) -> None:
        """Remember the embeddings ``[M, ...]`` of texts that are not known yet."""
        start = len(self.row_of)
        end = start + len(texts)
        # What is made in inference mode could not be written to outside of it.
        with torch.inference_mode(False), torch.no_grad():
            if self._table is None or end > len(self._table):
                larger = embeddings.new_empty(max(_FEWEST_ROWS, 2 * end), *embeddings.shape[1:])
                if self._table is not None:
                    larger[:start] = self._table[:start]
                self._table = larger
            self._table[start:end] = embeddings
        self.row_of.update(zip(texts, range(start, end), strict=True))

    def _forget(self) -> None:
        self.row_of = {}
        self.refused = set()
        self._table = None


def memory_of(model: DualEncoder) -> TextMemory:
    """Return the memory of a model, which all estimators around it share; empty if its weights have changed."""
    memory = _MEMORIES.setdefault(model, TextMemory())
    memory.refresh(model)
    return memory
