"""What ART's attacks need around them: seeds, the images' shape, and a memory for queries that they repeat."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

import numpy as np
import torch

from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.image_classifier import ImageClassifier
from art_multimodal.estimators.modules import LearningModule


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seed the global generators that ART's attacks draw from (Square draws from all three), and restore them."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


@contextmanager
def input_shape(estimator: ImageClassifier | FusionClassifier, shape: tuple[int, ...]) -> Iterator[None]:
    """Let the estimator declare the shape of the images at hand: APGD and Square build arrays of that shape."""
    declared = estimator.input_shape
    estimator.set_params(input_shape=tuple(shape))
    try:
        yield
    finally:
        estimator.set_params(input_shape=declared)


@contextmanager
def passes_of(estimator: ImageClassifier | FusionClassifier, most: int) -> Iterator[None]:
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


@contextmanager
def remembered_predictions(estimator: ImageClassifier) -> Iterator[None]:
    """Answer an image that was predicted before from memory.

    ART's Square asks about every image three times in an iteration, twice for what it was told before. The answers
    stay the same; each distinct image is one query, which is what a real attacker would pay.
    """
    known: dict[bytes, np.ndarray] = {}
    predict = estimator.predict

    def remember(x: np.ndarray, *args: Any, **kwargs: Any) -> np.ndarray:
        keys = [blake2b(np.ascontiguousarray(row).data, digest_size=16).digest() for row in x]
        new = {key: row for row, key in enumerate(keys) if key not in known}
        if new:
            known.update(zip(new, predict(x[list(new.values())], *args, **kwargs), strict=True))
        return np.stack([known[key] for key in keys])

    estimator.predict = remember  # type: ignore[method-assign]
    try:
        yield
    finally:
        del estimator.predict
