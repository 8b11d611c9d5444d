"""scikit-learn's handwritten digits as colour images; shipped with that library, so nothing is downloaded."""

from __future__ import annotations

from functools import cache

import numpy as np

from art_multimodal.datasets.source import LabelledImages
from art_multimodal.demo.captions import DIGIT_NAMES, INKS, PAPERS

#: Share of the 1,797 digits that ``demo:digits`` was never trained on, and the seed that picks them.
TEST_SHARE, SPLIT_SEED = 0.3, 20211222
SIDE = 32


def load_strokes(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return how much ink lies where, and the labels.

    >>> strokes, numbers = load_strokes("test")
    >>> strokes.shape, numbers.shape
    ((540, 32, 32), (540,))

    :param split: ``"train"`` (1,257 digits) or ``"test"`` (540).
    :return: ``float32`` of shape ``(N, 32, 32)`` in [0, 1], enlarged from 8 x 8; labels of shape ``(N,)``.
    """
    strokes, labels = _strokes(split)
    return strokes.copy(), labels.copy()


@cache
def _strokes(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Read once: scikit-learn unpacks and parses a text file each time."""
    import torch
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    parts = train_test_split(
        digits.images, digits.target, test_size=TEST_SHARE, random_state=SPLIT_SEED, stratify=digits.target
    )
    images, labels = (parts[0], parts[2]) if split == "train" else (parts[1], parts[3])
    strokes = torch.from_numpy(images / 16.0).float()[:, None]
    strokes = torch.nn.functional.interpolate(strokes, (SIDE, SIDE), mode="bicubic", align_corners=False)
    return strokes[:, 0].clamp(0.0, 1.0).numpy(), labels.astype(np.int64)


def ink_on_paper(strokes: np.ndarray, ink: np.ndarray, paper: np.ndarray) -> np.ndarray:
    """Paint strokes ``(N, H, W)`` with RGB colours ``(3,)`` or ``(N, 3)``: ``(N, 3, H, W)`` in [0, 1].

    >>> strokes, _ = load_strokes("test")
    >>> ink_on_paper(strokes[:4], ink=np.zeros(3), paper=np.ones(3)).shape
    (4, 3, 32, 32)
    """
    amount = strokes[:, None]
    ink, paper = (np.broadcast_to(colour, (len(strokes), 3))[:, :, None, None] for colour in (ink, paper))
    return (paper * (1 - amount) + ink * amount).astype(np.float32)


@cache
def _black_on_white() -> np.ndarray:
    return ink_on_paper(_strokes("test")[0], np.array(INKS["black"]), np.array(PAPERS["white"]))


class DigitsData(LabelledImages):
    """``demo:digits``: the 540 digits that the demo model was not trained on, in black ink on white paper."""

    #: The numerals; the names of the digits are the class names.
    protected_words = tuple("0123456789")

    def __init__(self) -> None:
        self.class_names = DIGIT_NAMES
        self.templates = ("a photo of the handwritten digit {}.",)
        self._images, self._labels = _black_on_white().copy(), load_strokes("test")[1]

    def __len__(self) -> int:
        return len(self._images)

    def name_of(self, index: int) -> str:
        return f"digit {index}"

    def label_of(self, index: int) -> int:
        return int(self._labels[index])

    def image(self, index: int) -> np.ndarray:
        return self._images[index].copy()
