"""Building blocks of the embedded demo models: a small vision transformer and a byte-level text transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from art_multimodal.models.causal_text import encode_trimmed

PAD, START, END, FIRST_BYTE = 0, 1, 2, 3
VOCABULARY_SIZE = FIRST_BYTE + 256


def byte_tokens(texts: Sequence[str], length: int) -> Tensor:
    """Encode texts as UTF-8 bytes between a start and an end token, padded or cut to ``length`` columns."""
    tokens = torch.full((len(texts), length), PAD, dtype=torch.long)
    for row, text in enumerate(texts):
        ids = [START, *(FIRST_BYTE + byte for byte in text.encode("utf-8", "surrogatepass")), END][:length]
        tokens[row, : len(ids)] = torch.tensor(ids)
    return tokens


class Block(nn.Module):
    """A pre-norm transformer block, ``[N, L, width]`` to the same shape."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, causal: bool = False, mask: Tensor | None = None) -> Tensor:
        """``mask``, ``[L, L]`` or ``[N, 1, 1, L]``, is true where there is something to attend to."""
        n, length, width = x.shape
        # Widths are said in full: of an empty batch nothing else would say them.
        heads = (n, length, self.heads, width // self.heads)
        query, key, value = (part.view(heads).transpose(1, 2) for part in self.open(x))
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
        return self.close(x, attended.transpose(1, 2).reshape(n, length, width))

    def open(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values: see :class:`~art_multimodal.models.causal_text.CausalLayer`."""
        queries, keys, values = self.qkv(self.norm_attention(states)).chunk(3, dim=-1)
        return queries, keys, values

    def close(self, states: Tensor, attended: Tensor) -> Tensor:
        """What comes behind the heads."""
        states = states + self.out(attended)
        return states + self.mlp(self.norm_mlp(states))


def patch_stem(width: int) -> nn.Sequential:
    """Three overlapping convolutions: ``[N, 3, H, W]`` to ``[N, width, H / 8, W / 8]``."""
    return nn.Sequential(
        nn.Conv2d(3, width // 4, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Conv2d(width // 4, width // 2, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
    )


class SmallImageTower(nn.Module):
    """A vision transformer whose patches come from three overlapping convolutions; 32 x 32 pixels give 16 tokens."""

    def __init__(self, width: int = 96, depth: int = 3, heads: int = 4, embedding: int = 64, tokens: int = 16) -> None:
        super().__init__()
        self.stem = patch_stem(width)
        self.positions = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, embedding, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.embed(pixels)
        for block in self.blocks:
            x = block(x)
        return self.project(x)

    def embed(self, pixels: Tensor) -> Tensor:
        return self.stem(pixels).flatten(2).transpose(1, 2) + self.positions

    def project(self, states: Tensor) -> Tensor:
        return self.projection(self.norm(states.mean(dim=1)))


class ByteTextTower(nn.Module):
    """A causal transformer over bytes; the state at the end token is the text's feature, as in CLIP."""

    def __init__(
        self, width: int = 96, depth: int = 3, heads: int = 4, embedding: int = 64, context_length: int = 128
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY_SIZE, width)
        self.positions = nn.Parameter(torch.randn(context_length, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, embedding, bias=False)
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        return encode_trimmed(self, tokens)

    def ends(self, tokens: Tensor) -> Tensor:
        return (tokens == END).int().argmax(dim=1)

    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        return self.tokens(ids) + self.positions[positions]

    def transform(self, states: Tensor, allowed: Tensor) -> Tensor:
        for block in self.blocks:
            states = block(states, mask=allowed)
        return states

    def layers(self) -> list[Any] | None:
        return list(self.blocks) if all(type(block) is Block for block in self.blocks) else None

    def project(self, states: Tensor) -> Tensor:
        return self.projection(self.norm(states))
