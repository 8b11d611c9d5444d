"""``demo:night``: which shape stands there, by colours and by heat; which of them shows it depends on the light."""

from __future__ import annotations

from art_multimodal.demo.modular import ImagesDemo
from art_multimodal.modalities import image

#: Pixels along a side.
SIZE = 32
SHAPES = ("disc", "square", "triangle", "cross")

NIGHT = ImagesDemo("night", (image("rgb", 3, SIZE, SIZE), image("thermal", 1, SIZE, SIZE)), ("concat", "late"), SHAPES)
