"""Embedded data are drawn once in a process, and still each who opens them has data of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from art_multimodal.datasets import open_captioned, open_data
from art_multimodal.demo.digits_data import load_strokes


@pytest.mark.parametrize(
    ("opened", "arrays"),
    [
        (lambda: load_strokes("train"), lambda strokes: strokes),
        (lambda: open_data("demo:digits"), lambda data: (data._images, data._labels)),
        (lambda: open_data("demo:shapes"), lambda data: (data.images, data.labels, data.scenes.centres)),
        (lambda: open_captioned("demo:scenes"), lambda data: (data.images, data.scenes.kinds)),
        (lambda: open_data("demo:night"), lambda data: (data._samples["rgb"], data.labels, data.light)),
    ],
    ids=["strokes", "digits", "shapes", "scenes", "night"],
)
def test_what_one_writes_nobody_else_reads(
    opened: Callable[[], Any], arrays: Callable[[Any], tuple[np.ndarray, ...]]
) -> None:
    before = [of.copy() for of in arrays(opened())]
    for of in arrays(opened()):
        of[...] = 7
    for of, was in zip(arrays(opened()), before, strict=True):
        np.testing.assert_array_equal(of, was)
