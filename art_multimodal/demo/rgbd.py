"""``demo:rgbd``: do colours and depth show the same place? Either alone is blind by construction."""

from __future__ import annotations

from art_multimodal.demo.modular import ImagesDemo
from art_multimodal.modalities import image

#: Pixels along a side of a patch.
SIZE = 32
PLACES = ("another place", "the same place")

RGBD = ImagesDemo(
    "rgbd",
    # A removed pixel of depth is one that the sensor did not measure.
    (image("rgb", 3, SIZE, SIZE), image("depth", 1, SIZE, SIZE, fill=0.0)),
    ("concat", "gated"),
    PLACES,
)
