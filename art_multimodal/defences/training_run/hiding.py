"""What a run hides of its samples, and how good a model is on those of which it is hidden."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from art_multimodal.ablation import Keep, elements_of
from art_multimodal.defences.training_run.settings import RunSettings
from art_multimodal.errors import unknown_name
from art_multimodal.models.base import Model
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.sample_arrays import are_samples, fields_of, samples

#: How often each sample is seen, every time under another mask.
_VIEWS = 4


def check_names(settings: RunSettings, model: Model) -> None:
    """Refuse to hide something of a modality that a model does not have, before any sample is read.

    Of a dual encoder images alone are hidden: prompts are the defender's own, and captions are the classes.

    :raises InputError: Naming those that it has.
    """
    known = ("image",) if isinstance(model, DualEncoder) else tuple(getattr(model, "modalities", ()))
    for name in settings.keep or ():
        if name not in known:
            raise unknown_name("modality", name, known)


def keeps_in(settings: RunSettings, estimator: Any, protected_words: tuple[str, ...]) -> dict[str, Keep] | None:
    """Return what a run keeps of each modality, by name; ``None`` where it hides nothing.

    :param estimator: Around the model in training.
    :param protected_words: Of texts, never hidden.
    :raises InputError: For a modality that the model does not have, or elements that the modality does not have.
    """
    if settings.keep is None:
        return None
    check_names(settings, estimator.image_text_model)
    modalities, shape, found = estimator.modalities, estimator.input_shape, {}
    size = (shape[-2], shape[-1]) if len(shape) > 1 else None
    for name, count in settings.keep.items():
        spec = (settings.elements or {}).get(name, "")
        found[name] = Keep(elements_of(modalities[name], spec, protected_words, size), count)
    return found


class Hidden:
    """Measures on samples of which elements are hidden; the masks are the same whenever it is asked.

    :param keeps: What is kept of each modality, by name; of images by themselves, of ``"image"``.
    :param seed: Of the masks.
    """

    def __init__(self, keeps: Mapping[str, Keep], seed: int) -> None:
        self.keeps, self.seed = keeps, seed

    def measured(self, x: np.ndarray, right: Callable[[np.ndarray], float]) -> dict[str, float]:
        """Return ``ablated``, the mean over some masks of each sample; and as ``attacked`` the same.

        :param x: Samples, pairs or images.
        :param right: What is measured on samples like these.
        """
        share = float(np.mean([right(self._seen(x, view)) for view in range(_VIEWS)]))
        return {"ablated": share, "attacked": share}

    def protocol(self) -> dict[str, str]:
        """What the numbers mean, in words."""
        kept = ", ".join(f"{name} {keep.masks} ({keep.elements.unit})" for name, keep in self.keeps.items())
        return {
            "ablated": f"the same where elements are hidden, mean over {_VIEWS} masks of each sample; kept: {kept}",
            "attacked": "that again: no attack is made here; certify the model to know what attacks can do",
            "best": "the epoch with the highest ablated; of equal ones that with the highest clean, then the first",
        }

    def _seen(self, x: np.ndarray, view: int) -> np.ndarray:
        rng = np.random.default_rng((self.seed, 2, view))
        if not are_samples(x):
            return self.keeps["image"].ablated(x, rng)
        return samples(**fields_of(x) | {name: keep.ablated(x[name], rng) for name, keep in self.keeps.items()})
