"""What is compared: a line for each defence is all that another one needs."""

from __future__ import annotations

from art_multimodal.defences.test_time import (
    CoarseGrid,
    DirectionalBiasDefence,
    EnergyGuidedTransformation,
    Purification,
    RandomResizePad,
    RobustPromptTuning,
    TestTimeCounterattack,
    TestTimeDefence,
    ViewVoting,
)

#: By the names of cells; the bare model is the first. Views are fewer than published, for the time that they take.
DEFENCES: dict[str, TestTimeDefence | None] = {
    "none": None,
    "resize_pad": RandomResizePad(),
    "view_voting": ViewVoting(),
    "purification": Purification(),
    "ttc": TestTimeCounterattack(),
    "ttc_wide": TestTimeCounterattack(eps=8 / 255),
    "et3": EnergyGuidedTransformation(),
    "dbd": DirectionalBiasDefence(),
    "r_tpt": RobustPromptTuning(views=16, selected=0.25, neighbours=5),
    "coarse_grid": CoarseGrid(side=8, levels=3),
}
BARE = "none"
#: Images of a cell, and of those that ask the model so often that all would take too long.
IMAGES = 500
FEWER = {"dbd": 100, "r_tpt": 100}


def images_of(name: str) -> int:
    """How many images a defence is measured on: the first of those of the model."""
    return min(IMAGES, FEWER.get(name, IMAGES))
