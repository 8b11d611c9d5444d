"""What is compared: a line for each defence is all that another one needs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from art_multimodal import ZeroShotClassifier
from art_multimodal.defences.test_time import (
    CoarseGrid,
    DirectionalBiasDefence,
    EnergyGuidedTransformation,
    LayerStatistics,
    Purification,
    RandomResizePad,
    RobustPromptTuning,
    TestTimeAdversarialPromptTuning,
    TestTimeCounterattack,
    TestTimeDefence,
    ViewVoting,
)
from art_multimodal.estimators.test_time import BareModel

#: Makes a defence of the bare model and of training images.
Maker = Callable[[ZeroShotClassifier, np.ndarray], TestTimeDefence]


def _tapt(bare: ZeroShotClassifier, images: np.ndarray) -> TestTimeDefence:
    return TestTimeAdversarialPromptTuning(LayerStatistics.of(bare, images), views=8, selected=0.25)


#: By the names of cells; the bare model is the first. Views are fewer than published, for the time that they take.
DEFENCES: dict[str, TestTimeDefence | Maker | None] = {
    "none": None,
    "resize_pad": RandomResizePad(),
    "view_voting": ViewVoting(),
    "purification": Purification(),
    "ttc": TestTimeCounterattack(),
    "ttc_wide": TestTimeCounterattack(eps=8 / 255),
    "et3": EnergyGuidedTransformation(),
    "dbd": DirectionalBiasDefence(),
    "r_tpt": RobustPromptTuning(views=16, selected=0.25, neighbours=5),
    "tapt": _tapt,
    "coarse_grid": CoarseGrid(side=8, levels=3),
}
BARE = "none"
#: Images of a cell, and of those that ask the model so often that all would take too long.
IMAGES = 500
FEWER = {"dbd": 100, "r_tpt": 100, "tapt": 60}


def defence_of(name: str, bare: ZeroShotClassifier, images: np.ndarray) -> TestTimeDefence | None:
    """The defence of this name for a model.

    :param images: Training images, for defences that are made of what clean images look like.
    :raises InputError: If it does not fit the model.
    """
    line = DEFENCES[name]
    defence = line if line is None or isinstance(line, TestTimeDefence) else line(bare, images)
    if defence is not None:
        defence.check(BareModel(bare.model.head))
    return defence


def images_of(name: str) -> int:
    """How many images a defence is measured on: the first of those of the model."""
    return min(IMAGES, FEWER.get(name, IMAGES))
