"""What ART's attacks need around them: seeds, the images' shape, and a memory for queries that they repeat.

The caller's estimator is never changed, not even for a while: attacks get a view of it, so several threads may attack
one estimator at once.
"""

from __future__ import annotations

import random
import threading
from collections import ChainMap, deque
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, TypeVar

import numpy as np
import torch
from art.estimators.estimator import BaseEstimator

from art_multimodal.estimators.image_classifier import ImageClassifier
from art_multimodal.estimators.modules import LearningModule

_Estimator = TypeVar("_Estimator", bound=BaseEstimator)

#: Whoever has seeded the global generators.
_SEEDED = threading.RLock()


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seed the global generators that ART's attacks draw from (Square draws from all three), and restore them.

    They belong to the process: of several threads one is inside at a time, the others wait. A thread that draws from
    them outside of this function while another one is inside changes what that one draws.
    """
    with _SEEDED:
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()
        random.seed(seed)
        np.random.seed(seed % 2**32)
        _seed_torch(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.set_rng_state(states[2])


def _seed_torch(seed: int) -> None:
    """Seed torch's generators, of devices those that are in use."""
    if torch.cuda.is_initialized() or torch.xpu.is_initialized() or torch.backends.mps.is_available():
        torch.manual_seed(seed)
    else:
        # Of each kind of device that nobody uses yet torch writes down the whole stack: it takes longer than a step.
        torch.default_generator.manual_seed(seed)


def view_of(estimator: _Estimator, input_shape: tuple[int, ...] | None = None) -> _Estimator:
    """Return an estimator of the same class over the same model, weights and defences.

    What is set on it leaves the first one as it is; what was set on the first one before, overrides of its methods
    included, holds for it too.

    :param input_shape: The shape of an image that it declares instead: APGD and Square build arrays of that shape.
    """
    # Not copy.copy: ART's classifiers copy themselves through files, weights and all.
    view = object.__new__(type(estimator))
    vars(view).update(vars(estimator))
    # ART empties and fills this list whenever a parameter is set.
    view.preprocessing_operations = list(estimator.preprocessing_operations)
    if input_shape is not None:
        view.set_params(input_shape=tuple(input_shape))
    return view


@contextmanager
def passes_of(estimator: BaseEstimator, most: int) -> Iterator[None]:
    """Let no pass of the model hold more than so many images, whatever an attack takes for a batch.

    ART's attacks scale gradients by the size of a batch, and some look at all of it: they get all samples as one batch,
    so that results do not depend on how many fit into memory.
    """
    module = estimator.model
    if not isinstance(module, LearningModule):
        # A model of pairs: its views on images are bounded as they are made.
        yield
        return
    before, module.most_at_once = module.most_at_once, most
    try:
        yield
    finally:
        module.most_at_once = before


#: So often Square asks in an iteration, hardly ever for what it last asked about before.
_QUESTIONS = 3


class _Pixels:
    """An image as the key of a dictionary: equal where all bytes are, at a hash that costs an addition a number."""

    __slots__ = ("_pixels", "_total")

    def __init__(self, pixels: bytes, total: int) -> None:
        self._pixels, self._total = pixels, total

    def __hash__(self) -> int:
        return self._total

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Pixels) and self._pixels == other._pixels

    @classmethod
    def of(cls, images: np.ndarray) -> list[_Pixels]:
        """The keys of images ``(N, C, H, W)``, contiguous, float32 or float64."""
        totals = images.view(np.uint32).sum(axis=(1, 2, 3), dtype=np.uint32).tolist()
        return [cls(image.tobytes(), total) for image, total in zip(images, totals, strict=True)]


def with_memory(estimator: ImageClassifier) -> ImageClassifier:
    """Return a view that answers an image that was predicted before from memory, for as long as the view lives.

    ART's Square asks about every image three times in an iteration, twice for what it was told before. The answers
    stay the same; each distinct image is one query, which is what a real attacker would pay.
    """
    known: dict[bytes, np.ndarray] = {}
    # Digests take long, and most images were asked about a moment ago. Their pixels are kept no longer than that.
    recent: deque[dict[_Pixels, bytes]] = deque(maxlen=_QUESTIONS)
    predict = estimator.predict

    def remember(x: np.ndarray, *args: Any, **kwargs: Any) -> np.ndarray:
        x = np.ascontiguousarray(x, dtype=np.promote_types(x.dtype, np.float32))
        images, digests = _Pixels.of(x), ChainMap({}, *recent)
        for image, row in zip(images, x, strict=True):
            if image not in digests:
                digests[image] = blake2b(row.data, digest_size=16).digest()
        recent.append({image: digests[image] for image in images})
        keys = [digests[image] for image in images]
        new = {key: row for row, key in enumerate(keys) if key not in known}
        if new:
            known.update(zip(new, predict(x[list(new.values())], *args, **kwargs), strict=True))
        return np.stack([known[key] for key in keys])

    view = view_of(estimator)
    view.predict = remember  # type: ignore[method-assign]
    return view
