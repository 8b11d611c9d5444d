"""Questions about generated scenes of coloured shapes; nothing is downloaded."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np

from art_multimodal.datasets.source import LabelledImages
from art_multimodal.demo.scenes import COLOUR_NAMES, SHAPES, Batch, make_samples

#: Groups of four samples, and the seed that draws them; no training uses it.
GROUPS, SEED = 250, 20220704


@cache
def _drawn() -> Batch:
    return make_samples(GROUPS, np.random.default_rng(SEED))


class ShapesData(LabelledImages):
    """``demo:shapes``: 1,000 yes/no questions about images that ``demo:shapes`` was not trained on.

    In every group of four consecutive samples each of two images and each of two questions stands once beside "yes" and
    once beside "no", so neither modality by itself tells the answer.
    """

    #: Colours, shapes and relations: with another one a question has another answer.
    protected_words = (*COLOUR_NAMES, *SHAPES, "left", "right", "above", "over", "higher", "below", "under", "lower")

    def __init__(self) -> None:
        self.class_names = ("no", "yes")
        self.templates = ()
        drawn = copy.deepcopy(_drawn())
        #: What was drawn, for those who ask for the scenes.
        self.scenes = drawn.scenes
        self.images, self.labels, self.texts = drawn.images, drawn.labels, tuple(drawn.questions.texts)

    def __len__(self) -> int:
        return len(self.images)

    def name_of(self, index: int) -> str:
        return f"question {index}"

    def label_of(self, index: int) -> int:
        return int(self.labels[index])

    def text_of(self, index: int) -> str:
        return self.texts[index]

    def image(self, index: int) -> np.ndarray:
        return self.images[index].copy()
