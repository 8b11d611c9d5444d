"""Which rows of pairs show one image, and which say one text."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from hashlib import blake2b

import numpy as np


def image_groups(images: np.ndarray) -> np.ndarray:
    """Number images so that equal pixels have equal numbers, in order of first appearance.

    :param images: Shape ``(N, C, H, W)``.
    :return: Shape ``(N,)``, 0 to the number of distinct images - 1.
    """
    # Adding 0 makes -0 and 0, which are equal, the same bytes.
    return numbered(blake2b(np.ascontiguousarray(image + 0).data, digest_size=16).digest() for image in images)


def text_groups(texts: Iterable[str]) -> np.ndarray:
    """Number texts so that equal strings have equal numbers, in order of first appearance.

    :param texts: ``N`` strings.
    :return: Shape ``(N,)``, 0 to the number of distinct texts - 1.
    """
    return numbered(texts)


def numbered(keys: Iterable[Hashable]) -> np.ndarray:
    """Number things so that equal ones have equal numbers, in order of first appearance, ``(N,)``."""
    number_of: dict[Hashable, int] = {}
    return np.array([number_of.setdefault(key, len(number_of)) for key in keys], dtype=np.int64)


def first_rows(groups: np.ndarray) -> np.ndarray:
    """The first row of each group, in the order of their numbers.

    :param groups: Shape ``(N,)``, from one of the functions above.
    """
    return np.unique(groups, return_index=True)[1]
