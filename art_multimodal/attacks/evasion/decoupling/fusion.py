"""The decoupling attack on fusion models: every sample has a text of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_multimodal.attacks.evasion.decoupling.victim import Asked, Victim
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.modules import frozen
from art_multimodal.functional.occlusion import Removal, without_words
from art_multimodal.models.fusion import move_tokens


class FusionVictim(Victim):
    """Answers removals on a :class:`FusionClassifier`.

    Where the model's towers are separate, each intact image and each distinct text is embedded once, and a probe costs
    the tower of the modality that it touches. Elsewhere a probe costs the whole model.

    :param texts: One for each image.
    """

    def __init__(
        self, estimator: FusionClassifier, images: np.ndarray, texts: Sequence[str], *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(estimator, images, *args, **kwargs)
        self.estimator = estimator
        self.model = estimator.model.eval()
        self.texts = list(texts)
        self._separate = self.model.separate_towers
        self._text_features: dict[str, Tensor] = {}
        intact = [(sample, Removal()) for sample in range(len(images))]
        with torch.no_grad():
            # What is kept of the intact samples: image embeddings where these are shared by probes.
            encode = self._encode if self._separate else self._fuse
            self._intact = self._collected(intact, encode)

    def words(self, sample: int) -> int:
        return len(self.texts[sample].split())

    def _states(self, asked: list[Asked]) -> Tensor:
        touched = [row for row, (_, r) in enumerate(asked) if r.touches_image or (r.words and not self._separate)]
        states = self._intact[[sample for sample, _ in asked]]
        with torch.no_grad():
            if touched:
                encode = self._encode if self._separate else self._fuse
                states[touched] = self._collected([asked[row] for row in touched], encode)
            return self.model.join(states, self._features_of_texts(asked)) if self._separate else states

    def _states_of(self, inputs: Tensor, asked: list[Asked]) -> Tensor:
        with frozen(self.model):
            if self._separate:
                return self.model.join(self.model.encode_image(inputs), self._features_of_texts(asked))
            return self._fuse(inputs, asked)

    def _read(self, states: Tensor, asked: list[Asked]) -> tuple[Tensor, Tensor]:
        with frozen(self.model):
            scores = self.model.predict(states)
        return scores.to(torch.promote_types(torch.float32, scores.dtype)), states

    def _postprocess(self, scores: Tensor) -> np.ndarray:
        return self.estimator._apply_postprocessing(preds=scores.detach().cpu().numpy().astype(np.float32), fit=False)

    def _collected(self, asked: list[Asked], encode: Any) -> Tensor:
        return torch.cat([encode(inputs, asked[rows]) for rows, inputs in self._occluded(asked)])

    def _encode(self, inputs: Tensor, asked: list[Asked]) -> Tensor:
        return self.model.encode_image(inputs)

    def _fuse(self, inputs: Tensor, asked: list[Asked]) -> Tensor:
        tokens = self.model.tokenize([self._text(*one) for one in asked])
        return self.model.fuse(inputs, move_tokens(tokens, self.device))

    def _text(self, sample: int, removal: Removal) -> str:
        return without_words(self.texts[sample], removal.words)

    def _features_of_texts(self, asked: list[Asked]) -> Tensor:
        """Text embeddings, one row per sample; each distinct text is embedded once."""
        texts = [self._text(*one) for one in asked]
        new = [text for text in dict.fromkeys(texts) if text not in self._text_features]
        for start in range(0, len(new), self.batch_size):
            part = new[start : start + self.batch_size]
            with torch.no_grad():
                features = self.model.encode_text(move_tokens(self.model.tokenize(part), self.device))
            self._text_features.update(zip(part, features, strict=True))
        return torch.stack([self._text_features[text] for text in texts])
