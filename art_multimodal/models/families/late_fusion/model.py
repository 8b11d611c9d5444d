"""Late fusion: a small classifier on the two embeddings of a dual encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from art_multimodal.errors import InputError
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.families.custom.fusion import check_scores
from art_multimodal.models.families.custom.given import as_dual_encoder
from art_multimodal.models.fusion import FusionModel, Tokens
from art_multimodal.models.texts import check_texts


class LateFusion(FusionModel):
    """A fusion model on any dual encoder (CLIP, SigLIP, ...): ``scores = predictor([v, t, v * t])``.

    ``v`` and ``t`` are the unit embeddings of image and text, ``[N, D]`` each; their products let a linear predictor
    see how well the two agree. The predictor starts with new weights: it has to be trained, with the dual encoder
    frozen or not. It is saved by :func:`save_model` if the dual encoder can be and the predictor is one made here.

    >>> model = LateFusion(load_model("demo:scenes"), ["no", "yes"])
    >>> FusionClassifier(model).predict(pairs).shape
    (8, 2)

    :param dual_encoder: Gives the towers, the tokens and the preprocessing.
    :param class_names: Names of the ``K`` classes.
    :param hidden: Width of one hidden layer; ``None`` for a linear predictor.
    :param predictor: One's own predictor instead: maps ``[N, 3 D]`` to scores ``[N, K]``.
    :raises InputError: If both ``hidden`` and ``predictor`` are given, or ``hidden`` is not positive; on use, if the
        predictor returns something of another shape.
    """

    family = "late_fusion"

    def __init__(
        self,
        dual_encoder: DualEncoder,
        class_names: Sequence[str],
        hidden: int | None = None,
        predictor: nn.Module | None = None,
    ) -> None:
        dual_encoder = as_dual_encoder(dual_encoder)
        super().__init__(dual_encoder.preprocess, class_names)
        if hidden is not None and predictor is not None:
            raise InputError("Give hidden, the width of the predictor made here, or predictor, one of your own.")
        if hidden is not None and hidden < 1:
            raise InputError(f"hidden must be at least 1, the width of the hidden layer; {hidden} given.")
        self.dual_encoder = dual_encoder
        #: Whether the predictor was made here, and so can be made again.
        self.own_predictor = predictor is None
        self.predictor = self._new_predictor(hidden) if predictor is None else predictor

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        return self.dual_encoder.tokenize(check_texts(texts), allow_empty=True)

    def image_tower(self, pixels: Tensor) -> Tensor:
        return F.normalize(self.dual_encoder.image_tower(pixels), dim=-1)

    def text_tower(self, tokens: Tokens) -> Tensor:
        if not isinstance(tokens, Tensor):
            raise InputError("The tokens must be the tensor that tokenize() returns, not a dict.")
        return F.normalize(self.dual_encoder.text_tower(tokens), dim=-1)

    def join(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        return torch.cat([image_features, text_features, image_features * text_features], dim=-1)

    def predict(self, fused: Tensor) -> Tensor:
        return check_scores(self.predictor(fused), fused, self.class_names)

    def _new_predictor(self, hidden: int | None) -> nn.Module:
        encoder = self.dual_encoder
        with torch.no_grad():
            tokens = encoder.tokenize(["a"]).to(encoder.device)
            width = 3 * encoder.encode_text(tokens).shape[-1]
        layers: list[nn.Module] = [nn.Linear(width, len(self.class_names))]
        if hidden is not None:
            layers = [nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, len(self.class_names))]
        return nn.Sequential(*layers).to(device=encoder.device, dtype=encoder.dtype)
