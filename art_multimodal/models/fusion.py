"""The contract of a fusion model: fuse image and text into one vector, then predict (MUROAN's unified view)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from art_multimodal.models.base import ImageTextModel
from art_multimodal.models.preprocessing import ImagePreprocessing
from art_multimodal.prompts import check_class_names

#: Tokenised texts, one row per text: ids ``[N, L]``, or named tensors of ``N`` rows each, as tokenizers return them.
Tokens = Tensor | dict[str, Tensor]


def take_rows(tokens: Tokens, rows: Tensor | slice) -> Tokens:
    """Select texts from tokenised texts."""
    return tokens[rows] if isinstance(tokens, Tensor) else {name: part[rows] for name, part in tokens.items()}


def move_tokens(tokens: Tokens, device: torch.device) -> Tokens:
    """Bring tokenised texts to a device."""
    return tokens.to(device) if isinstance(tokens, Tensor) else {k: part.to(device) for k, part in tokens.items()}


class FusionModel(ImageTextModel):
    """A model that answers about an image and a text together: ``scores = predict(fuse(image, text))``.

    A subclass fills in :meth:`tokenize` and :meth:`predict`, and one of two ways to fuse:

    * :meth:`image_tower`, :meth:`text_tower` and :meth:`join`, where each modality is embedded by itself first. An
      attack then computes the tower of an untouched modality once.
    * :meth:`joint_tower`, where the modalities meet earlier.

    Callers use :meth:`tokenize`, :meth:`fuse` and :meth:`predict`, and, where :attr:`separate_towers`,
    :meth:`encode_image`, :meth:`encode_text` and :meth:`join`.

    | Paper link: https://arxiv.org/abs/2112.12792 (the unified view: generator G, then predictor P)

    >>> model = load_model("demo:shapes")
    >>> isinstance(model, FusionModel), model.class_names, model.separate_towers
    (True, ('no', 'yes'), True)
    >>> model(torch.from_numpy(pairs["image"]), model.tokenize(pairs["text"].tolist())).shape
    torch.Size([8, 2])

    :param preprocess: Resize and normalisation of images.
    :param class_names: Names of the answers, in the order of the scores; at least two distinct ones.
    """

    kind = "fusion model"

    def __init__(self, preprocess: ImagePreprocessing, class_names: Sequence[str]) -> None:
        super().__init__(preprocess)
        self.class_names = check_class_names(class_names)

    @property
    def separate_towers(self) -> bool:
        """Whether image and text are embedded by themselves before they are fused."""
        return type(self).joint_tower is FusionModel.joint_tower

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Turn texts into one batch of tokens, on the CPU.

        An empty text is allowed: it is what remains when every word has been removed. The result for a text must not
        depend on the other texts, apart from padding.

        :raises InputError: If a text is longer than the model reads. It is never cut silently.
        """
        raise NotImplementedError

    def predict(self, fused: Tensor) -> Tensor:
        """Scores (logits) ``[N, K]`` from fused vectors ``[N, D]``."""
        raise NotImplementedError

    def image_tower(self, pixels: Tensor) -> Tensor:
        """Embed preprocessed images ``[N, C, *image_size]``: ``[N, ...]``."""
        raise NotImplementedError

    def text_tower(self, tokens: Tokens) -> Tensor:
        """Embed tokens: ``[N, ...]``, of a shape that does not depend on the lengths of the texts."""
        raise NotImplementedError

    def join(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        """Fuse the embeddings of ``N`` images and their ``N`` texts: ``[N, D]``."""
        raise NotImplementedError

    def joint_tower(self, pixels: Tensor, tokens: Tokens) -> Tensor:
        """Fuse preprocessed images and tokens: ``[N, D]``."""
        return self.join(self.image_tower(pixels), self.text_tower(tokens))

    def encode_image(self, images: Tensor) -> Tensor:
        """Embed images ``[N, C, H, W]`` in [0, 1]; only where the towers are separate."""
        return self.image_tower(self.pixels(images))

    def encode_text(self, tokens: Tokens) -> Tensor:
        """Embed tokenised texts; only where the towers are separate."""
        return self.text_tower(tokens)

    def fuse(self, images: Tensor, tokens: Tokens) -> Tensor:
        """Fused vectors ``[N, D]`` of images ``[N, C, H, W]`` in [0, 1], any size, and their tokenised texts."""
        return self.joint_tower(self.pixels(images), tokens)

    def forward(self, images: Tensor, tokens: Tokens) -> Tensor:
        """Scores ``[N, K]``: :meth:`predict` of :meth:`fuse`."""
        return self.predict(self.fuse(images, tokens))
