"""Rescaling is what PIL does to pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from art_multimodal.functional.rescaling import rescaled


@pytest.mark.parametrize(
    ("size", "scale", "expected"),
    [
        ((20, 30), 0.5, (10, 15)),
        ((20, 30), 1.25, (25, 38)),
        ((7, 5), 0.75, (5, 4)),
        ((8, 8), 0.01, (1, 1)),
        ((1, 9), 0.5, (1, 4)),
        ((1, 1), 3, (3, 3)),
    ],
)
def test_it_is_pils_bicubic_resize(size, scale, expected) -> None:
    # Far from black and white: PIL saturates between its two passes, too.
    pixels = np.random.default_rng(0).integers(60, 196, size=(*size, 3), dtype=np.uint8)
    ours = rescaled(torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None] / 255, scale)
    assert ours.shape == (1, 3, *expected)
    assert ours.min() >= 0 and ours.max() <= 1
    pils = np.asarray(Image.fromarray(pixels).resize(expected[::-1], Image.Resampling.BICUBIC)).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(ours[0].numpy(), pils, atol=1.6 / 255)


def test_it_stays_in_the_box() -> None:
    sharp = (torch.arange(16) % 4 < 2).float().expand(1, 3, 16, 16)
    larger = rescaled(sharp, 1.5)
    assert larger.min() == 0 and larger.max() == 1


def test_the_same_size_is_the_same_picture() -> None:
    images = torch.rand(2, 3, 5, 7)
    assert torch.equal(rescaled(images, 1.0), images)
    assert torch.equal(rescaled(images, 1.05), images)
