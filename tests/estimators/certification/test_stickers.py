"""A sticker counts as few edits where it reaches few groups, and what is certified against these holds against it."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from art_multimodal.ablation import Blocks, Points, Steps, Words
from art_multimodal.estimators.certification import AblatedEnsemble, AllSubsets, Design, Partition
from art_multimodal.modalities import image, sequence, text
from art_multimodal.sample_arrays import samples


def windows(grid: tuple[int, int], side: int) -> list[np.ndarray]:
    """Which elements each square covers, booleans ``(n,)``; those at the border may lie beyond it in part."""
    rows, columns = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    return [
        (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
        for top, left in product(range(grid[0]), range(grid[1]))
    ]


@pytest.mark.parametrize("layout", ["interleaved", "contiguous"])
@pytest.mark.parametrize(("grid", "keep"), [((4, 4), 4), ((4, 4), 2), ((5, 3), 2), ((8, 8), 8), ((6, 7), 40)])
def test_edits_reach_all_votes_that_a_sticker_reaches(grid: tuple[int, int], keep: int, layout: str) -> None:
    masks, count = Partition({"rgb": keep}, layout=layout), grid[0] * grid[1]
    views = masks.views("rgb", count)
    for side in (1, 2, 3, 9):
        edits = masks.reached("rgb", grid, side)
        most = max(int(views[:, window].any(axis=1).sum()) for window in windows(grid, side))
        # One element in each of these groups; fewer would leave a vote out.
        assert edits == most


def test_other_masks_count_what_a_sticker_touches() -> None:
    for masks in (Design({"rgb": 7}), AllSubsets({"rgb": 3}), Partition({"rgb": 0, "note": 1})):
        assert masks.reached("rgb", (7, 7), 2) == 4 and masks.reached("rgb", (7, 1), 3) == 3
        assert masks.reached("rgb", (2, 3), 9) == 6


def test_elements_know_whether_they_lie_side_by_side() -> None:
    pictures = np.zeros((2, 3, 9, 12), dtype=np.float32)
    assert Blocks(image("rgb", 3, 9, 12), 4).grid(pictures) == (3, 3)
    assert Blocks(image("rgb", 3), 5).grid(pictures) == (2, 3)
    assert Points(image("rgb", 3, 9, 12)).grid(pictures) == (9, 12)
    frames = samples(audio=[np.ones((5, 2)), np.ones((3, 2))])["audio"]
    assert Steps(sequence("audio", steps=5, width=2)).grid(frames) is None
    assert Words(text("note")).grid(samples(note=["a b"])["note"]) is None


def test_no_sticker_breaks_a_certificate_of_the_edits_that_it_counts_as() -> None:
    """Pictures of 5 x 2 pixels of ink or paper, and every sticker of 2 x 2 pixels in every place."""
    grid, side = (5, 2), 2
    pixels = Points(image("rgb", 1, *grid, fill=0.5))
    masks = Partition({"rgb": 2}, layout="contiguous")
    edits = masks.reached("rgb", grid, side)
    # Rows of two: 2 of 5 groups, where 4 of 5 would be touched by pixels anywhere.
    assert edits == 2
    rng, certified = np.random.default_rng(0), 0
    for bias in (0.85, 0.95, 1.0):
        said = rng.choice(3, size=3**10, p=[bias, (1 - bias) / 2, (1 - bias) / 2]).astype(np.int8)

        def function(x: np.ndarray, said: np.ndarray = said) -> np.ndarray:
            return said[(2 * x["rgb"].reshape(len(x), -1)).astype(int) @ 3 ** np.arange(10)].astype(int)

        ensemble = AblatedEnsemble(
            function, {"rgb": pixels}, masks, modalities={"rgb": pixels.modality}, nb_classes=3, batch_size=5000
        )
        clean = rng.integers(2, size=(6, 1, *grid)).astype(np.float32)
        for picture, certificate in zip(clean, ensemble.certify(samples(rgb=clean)), strict=True):
            if not certificate.covers({"rgb": edits}):
                continue
            certified += 1
            attacked = []
            for top, left in product(range(grid[0] - 1), range(grid[1] - 1)):
                for content in product((0, 1), repeat=side * side):
                    attacked.append(picture.copy())
                    attacked[-1][0, top : top + side, left : left + side] = np.reshape(content, (side, side))
            answers = ensemble.predict(samples(rgb=np.stack(attacked))).argmax(axis=1)
            assert (answers == certificate.prediction).all()
    assert certified > 5
