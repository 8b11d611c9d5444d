"""The torch module inside an :class:`ImageTextRetriever`: images and texts in, logits of each against each out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from art_multimodal.estimators.modules import RememberedFeatures
from art_multimodal.estimators.zero_shot_module import DualEncoderModule, similarity_logits
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.texts import as_texts


class TextEncoder(RememberedFeatures):
    """Texts to unnormalised features; the last texts' are remembered.

    :param dual_encoder: Registered by the image encoder; only referred to here, so weights have one name.
    """

    def __init__(self, dual_encoder: DualEncoder) -> None:
        super().__init__()
        self._dual_encoder = (dual_encoder,)
        self._texts: tuple[str, ...] = ()

    def forward(self, texts: Sequence[str], batch_size: int = 256) -> Tensor:
        """Features ``[M, D]`` of texts, each distinct text encoded once.

        :param texts: At least one.
        :param batch_size: Texts per forward pass.
        """
        texts = as_texts(texts)
        number_of = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        distinct = tuple(number_of)
        if distinct != self._texts:
            self._texts = distinct
            self.forget()
        dual_encoder = self._dual_encoder[0]

        def encode() -> Tensor:
            tokens = dual_encoder.tokenize(distinct).to(dual_encoder.device)
            return torch.cat([dual_encoder.encode_text(part, normalize=False) for part in tokens.split(batch_size)])

        features = self.remember(dual_encoder, dual_encoder.text_parameters(), encode)
        return features[torch.tensor([number_of[text] for text in texts], device=features.device)]


class RetrieverModule(DualEncoderModule):
    """Images ``[N, C, H, W]`` in [0, 1] and ``M`` texts to logits ``[N, M]``.

    In evaluation mode the parameters take no part in the graph when only the images want a gradient.
    """

    def __init__(self, dual_encoder: DualEncoder) -> None:
        super().__init__(dual_encoder)
        self.text_encoder = TextEncoder(dual_encoder)

    def forward(self, images: Tensor, texts: Sequence[str]) -> Tensor:
        with self.parameters_in_graph(images):
            return self.similarity(self.image_encoder(images), self.text_encoder(texts))

    def similarity(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        """Logits ``[N, M]`` of features ``[N, D]`` and ``[M, D]``, of any length."""
        return similarity_logits(self.dual_encoder, image_features, F.normalize(text_features, dim=-1))
