"""What preprocessors of texts share, in the place where ART has those of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from art.defences.preprocessor.preprocessor import Preprocessor

from art_multimodal.pairs import is_pairs
from art_multimodal.texts import as_texts


class TextPreprocessor(Preprocessor):
    """An ART preprocessor that repairs texts and leaves images alone; a subclass repairs one text.

    Give it to an estimator in ``preprocessing_defences``, alone or together with ART's preprocessors of images. The
    model then reads repaired texts only, in training and in prediction: class prompts of a :class:`ZeroShotClassifier`,
    texts of pairs elsewhere, and whatever text an attack on the estimator tries. So attacks on the estimator are
    adaptive. Gradients of images pass by unchanged.

    >>> class Lower(TextPreprocessor):
    ...     def _repaired(self, text):
    ...         return text.lower()
    ...
    >>> Lower().repair(["A RED Cup"])
    ['a red cup']
    >>> asked = FusionClassifier(load_model("demo:shapes"), preprocessing_defences=Lower())
    >>> shouted = image_text_pairs(pairs["image"], [text.upper() for text in pairs["text"]])
    >>> asked.predict_labels(shouted).tolist() == asked.predict_labels(pairs).tolist()
    True
    """

    def __init__(self, is_fitted: bool = True) -> None:
        super().__init__(is_fitted=is_fitted, apply_fit=True, apply_predict=True)

    def __call__(self, x: np.ndarray, y: Any | None = None) -> tuple[np.ndarray, Any | None]:
        """Repair the texts of pairs ``(N,)``, or an array of texts; labels and arrays of images come back as they are.

        :raises InputError: If a text is no string.
        """
        if is_pairs(x):
            repaired = x.copy()
            repaired["text"] = self.repair(x["text"].tolist())
            return repaired, y
        if x.dtype.kind == "U" or (x.dtype == object and all(isinstance(text, str) for text in x.flat)):
            texts = np.empty(x.size, dtype=object)
            texts[:] = self.repair(x.ravel().tolist())
            return texts.reshape(x.shape), y
        return x, y

    def repair(self, texts: Sequence[str]) -> list[str]:
        """Return each text repaired; one with nothing to repair comes back as it is. A single string is one text.

        :raises InputError: If a text is no string.
        """
        return [self._repaired(text) for text in as_texts(texts)]

    def _repaired(self, text: str) -> str:
        raise NotImplementedError
