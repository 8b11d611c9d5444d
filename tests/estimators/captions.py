"""Captioned images for tests of retrieval: images with several captions, and captions of several images."""

from __future__ import annotations

import numpy as np
import torch
from tiny import TinyEncoder

from art_multimodal import ImageTextRetriever, image_text_pairs

#: Seven rows of four images: two captions are of two images each, one stands twice with its image.
CAPTIONS = ["a cat", "red", "an animal", "what is this, and why?", "a cat", "the sea ünd more", "an animal"]
_IMAGES = [0, 1, 0, 2, 3, 3, 0]


def captioned(
    nb_images: int | None = None, nb_rows: int = 0, nb_texts: int = 0, seed: int = 0, size: tuple[int, int] = (8, 8)
) -> np.ndarray:
    """The seven rows, or rows drawn at random from so many images and texts."""
    rng = np.random.default_rng(seed)
    if nb_images is None:
        return image_text_pairs(rng.random((4, 3, *size), dtype=np.float32)[_IMAGES], CAPTIONS)
    images = rng.random((nb_images, 3, *size), dtype=np.float32)
    chosen = rng.integers(nb_images, size=nb_rows)
    return image_text_pairs(images[chosen], [f"caption {number}" for number in rng.integers(nb_texts, size=nb_rows)])


def make(lr: float | None = None, seed: int = 0, **settings) -> ImageTextRetriever:
    model = TinyEncoder(seed=seed).eval()
    optimizer = None if lr is None else torch.optim.Adam(model.parameters(), lr=lr)
    return ImageTextRetriever(model, optimizer=optimizer, device_type="cpu", **settings)
