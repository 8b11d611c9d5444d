"""Image-text pairs as one structured numpy array, which ART's tools slice, shuffle and copy without losing the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import numpy as np

from art_multimodal.errors import InputError
from art_multimodal.images import image_array
from art_multimodal.texts import as_texts


def pair_dtype(image_shape: tuple[int, int, int]) -> np.dtype:
    """The dtype of a pair whose image has shape ``(C, H, W)``.

    >>> pair_dtype((3, 32, 32)).names
    ('image', 'text')
    """
    return np.dtype([("image", np.float32, image_shape), ("text", object)])


def image_text_pairs(images: np.ndarray, texts: Sequence[str], allow_empty: bool = False) -> np.ndarray:
    """Join images and texts row by row.

    >>> joined = image_text_pairs(images[:2], ["a zero", "a one"])
    >>> joined["image"].shape, joined["text"].tolist()
    ((2, 3, 32, 32), ['a zero', 'a one'])

    :param images: Shape ``(N, C, H, W)``, values in [0, 1].
    :param texts: ``N`` strings, not empty; a single one for one image.
    :param allow_empty: Take an empty text for what it is (every word removed), instead of for a mistake.
    :return: Shape ``(N,)`` with fields ``image`` and ``text``; ``pairs["image"]`` is a view, not a copy.
    :raises InputError: If counts differ, a text is no string or empty, or :func:`check_images` objects.
    """
    images = check_images(images)
    texts = as_texts(texts)
    if len(images) != len(texts):
        raise InputError(f"{len(images)} images and {len(texts)} texts cannot be paired: give one text per image.")
    for row, text in enumerate(texts):
        if not text.strip() and not allow_empty:
            raise InputError(f"Text {row} is empty.")
    pairs = np.empty(len(images), dtype=pair_dtype(images.shape[1:]))
    pairs["image"] = images
    pairs["text"] = texts
    return pairs


def is_pairs(x: object) -> TypeGuard[np.ndarray]:
    """Whether ``x`` is an array made by :func:`image_text_pairs`.

    >>> is_pairs(pairs), is_pairs(images)
    (True, False)
    """
    return isinstance(x, np.ndarray) and x.dtype.names == ("image", "text")


def check_images(images: np.ndarray | Sequence[np.ndarray], channels: int = 3) -> np.ndarray:
    """Return images as contiguous ``float32``, after checking that they are what every contract here expects.

    >>> check_images(np.zeros((2, 3, 32, 32))).dtype
    dtype('float32')
    >>> check_images(np.full((2, 3, 32, 32), 255))
    Traceback (most recent call last):
        ...
    art_multimodal.errors.InputError: Images must lie in [0, 1], but these are whole numbers in [255, 255]. ...

    :param images: Shape ``(N, channels, H, W)``, values in [0, 1]; any array that :func:`image_array` takes.
    :raises InputError: Naming what is wrong: shape, channel order, range (0-255) or NaN.
    """
    images = image_array(images)
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise InputError(f"Images must have shape (N, {channels}, H, W), not {images.shape}.")
    if images.shape[1] != channels:
        hint = (
            " The channels seem to come last: use images.transpose(0, 3, 1, 2)." if images.shape[3] == channels else ""
        )
        raise InputError(f"Images must have shape (N, {channels}, H, W), not {images.shape}.{hint}")
    if len(images) == 0:
        return images
    low, high = float(images.min()), float(images.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int(np.argmin(np.isfinite(images).reshape(len(images), -1).all(axis=1)))
        raise InputError(f"Image {bad} holds NaN or infinite values. Images must lie in [0, 1].")
    # ART's attacks leave the box by rounding; that is brought back.
    if low < -1e-4 or high > 1 + 1e-4:
        hint = " Divide them by 255." if high > 2 and low >= 0 else ""
        raise InputError(f"Images must lie in [0, 1], but these lie in [{low:.4g}, {high:.4g}].{hint}")
    return np.clip(images, 0.0, 1.0)
