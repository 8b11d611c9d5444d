"""The experiment's CLIP: a convolutional image tower and a causal transformer over word pieces."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from art_multimodal.demo.towers import ByteTextTower
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.preprocessing import ImagePreprocessing

EMBEDDING, CONTEXT = 96, 32


class Convolution(nn.Sequential):
    """A convolution and, until :func:`folded`, the batch normalisation behind it."""

    def __init__(self, before: int, after: int, size: int, stride: int) -> None:
        super().__init__(nn.Conv2d(before, after, size, stride, padding=1), nn.BatchNorm2d(after))


class Residual(nn.Module):
    """Two 3 x 3 convolutions around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = Convolution(width, width, 3, 1), Convolution(width, width, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))


class WordTextTower(ByteTextTower):
    """The demos' text transformer over word pieces instead of bytes."""

    def __init__(self, vocabulary: int, end: int) -> None:
        super().__init__(width=96, depth=2, heads=4, embedding=EMBEDDING, context_length=CONTEXT)
        self.end = end
        self.tokens = nn.Embedding(vocabulary, 96)
        nn.init.normal_(self.tokens.weight, std=0.02)

    def ends(self, tokens: Tensor) -> Tensor:
        return (tokens == self.end).int().argmax(dim=1)


class SmallCLIP(DualEncoder):
    """A dual encoder for 32 x 32 pixels.

    :param tokenizer: WordPiece, of transformers.
    """

    def __init__(self, tokenizer: Any) -> None:
        statistics = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)
        super().__init__(ImagePreprocessing((32, 32), *statistics), CONTEXT, pad_id=tokenizer.pad_token_id)
        self.tokenizer = tokenizer
        self.visual = nn.Sequential(
            Convolution(3, 64, 4, 2),
            nn.ReLU(),
            Convolution(64, 64, 3, 2),
            nn.ReLU(),
            Residual(64),
            Convolution(64, 128, 3, 2),
            nn.ReLU(),
            Residual(128),
            nn.AdaptiveAvgPool2d(1),
        )
        self.projection = nn.Linear(128, EMBEDDING, bias=False)
        self.text = WordTextTower(len(tokenizer), tokenizer.sep_token_id)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def image_tower(self, pixels: Tensor) -> Tensor:
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        return self.projection(self.visual(pixels).flatten(1))

    def text_tower(self, tokens: Tensor) -> Tensor:
        return self.text(tokens)

    @property
    def causal_text(self) -> WordTextTower:
        return self.text

    def token_ids(self, texts: list[str], length: int) -> Tensor:
        options = {"padding": "max_length", "truncation": True, "max_length": length}
        return self.tokenizer(texts, return_tensors="pt", **options)["input_ids"]

    def text_parameters(self) -> list[nn.Parameter]:
        return list(self.text.parameters())

    def fold(self) -> SmallCLIP:
        """Multiply every batch normalisation into the convolution before it: equal answers, less work."""
        for part in self.modules():
            if isinstance(part, Convolution) and isinstance(part[1], nn.BatchNorm2d):
                part[0] = torch.nn.utils.fusion.fuse_conv_bn_eval(part[0].eval(), part[1].eval())
                part[1] = nn.Identity()
        return self.to(memory_format=torch.channels_last)

    def save(self, path: Path) -> None:
        """Write the weights."""
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.contiguous() for name, tensor in self.state_dict().items()}, path)

    @classmethod
    def load(cls, path: Path, tokenizer: Any) -> SmallCLIP:
        """Read weights that were folded and saved."""
        model = cls(tokenizer).eval().fold()
        model.load_state_dict(load_file(path))
        return model.to(memory_format=torch.channels_last).eval()
