"""Generated scenes of coloured shapes, each with two captions; nothing is downloaded."""

from __future__ import annotations

import copy
from functools import cache
from itertools import combinations

import numpy as np

from art_multimodal.datasets.captioned import CaptionedImages
from art_multimodal.demo.scene_captions import FACTS, held_out_caption, random_caption
from art_multimodal.demo.scenes import KINDS, MOST_OBJECTS, NOTHING, Scenes, draw, place_objects

#: Images, and the seed that draws them; no training uses it.
SCENES, SEED = 200, 20221104


class ScenesData(CaptionedImages):
    """``demo:scenes``: 200 images that ``demo:scenes`` was not trained on, no two of the same objects.

    Each has two captions that name its objects and nothing else, the first in a wording of the training, the second in
    one of which the model has seen nothing. So a caption belongs to exactly one image. The sets of objects are drawn
    from the 298 that there are, and do occur in training.
    """

    protected_words = FACTS

    def __init__(self) -> None:
        #: What was drawn, for those who ask for the scenes.
        self.scenes: Scenes
        self.scenes, self.images, self.captions = copy.deepcopy(_drawn())

    def __len__(self) -> int:
        return len(self.images)

    def name_of(self, index: int) -> str:
        return f"scene {index}"

    def captions_of(self, index: int) -> tuple[str, ...]:
        return self.captions[index]

    def image(self, index: int) -> np.ndarray:
        return self.images[index].copy()


@cache
def _drawn() -> tuple[Scenes, np.ndarray, tuple[tuple[str, str], ...]]:
    """The scenes, their images and their captions."""
    rng = np.random.default_rng(SEED)
    sets = object_sets()
    kinds = sets[rng.choice(len(sets), SCENES, replace=False)]
    scenes = place_objects(kinds, rng)
    images = draw(scenes, rng)
    named = [row[row != NOTHING].tolist() for row in kinds]
    return scenes, images, tuple((random_caption(row, rng), held_out_caption(row, rng)) for row in named)


def object_sets() -> np.ndarray:
    """All sets of up to three kinds: ``int`` ``[298, 3]``, smaller ones filled up with :data:`NOTHING`."""
    sets = [chosen for size in range(1, MOST_OBJECTS + 1) for chosen in combinations(range(KINDS), size)]
    return np.array([chosen + (NOTHING,) * (MOST_OBJECTS - len(chosen)) for chosen in sets])
