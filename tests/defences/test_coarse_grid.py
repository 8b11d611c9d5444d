"""A coarse grid of few greys: what it shows by hand, and its worst case against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from art_multimodal import InputError, ZeroShotClassifier, load_model
from art_multimodal.attacks.evasion import ProjectedGradientDescentDualEncoder
from art_multimodal.datasets import open_data
from art_multimodal.defences.test_time import CoarseGrid, Purification, reachable_answers

from .guarded import LinearEncoder, classifier, images


def test_cells_share_no_pixel_and_differ_by_one_at_the_most() -> None:
    x = images(2, side=8, dtype=torch.float64)
    defence = CoarseGrid(side=3)
    cells = defence.cells_of(8).tolist()
    assert cells == [0, 0, 0, 1, 1, 1, 2, 2]
    found = defence.brightness(x)
    for row, column in itertools.product(range(3), range(3)):
        rows = [pixel for pixel, cell in enumerate(cells) if cell == row]
        columns = [pixel for pixel, cell in enumerate(cells) if cell == column]
        expected = x[:, :, rows][..., columns].mean(dim=(1, 2, 3))
        torch.testing.assert_close(found[:, row, column], expected)
    # Means of pixels move by no more than the pixels.
    moved = defence.brightness(x + 0.1 * (2 * torch.rand_like(x) - 1))
    assert (moved - found).abs().max() <= 0.1


def test_the_model_sees_greys_and_nothing_else() -> None:
    model, x = LinearEncoder(), torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    # As many cells as pixels: nothing is interpolated, and a picture is rounded brightness.
    picture = (3 * x.mean(dim=1, keepdim=True)).round() / 3
    found = classifier(model, CoarseGrid(side=4, levels=4)).predict(x.numpy())
    expected = classifier(model).predict(picture.expand(-1, 3, -1, -1).numpy())
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    # What stays within a grey changes nothing at all.
    guarded, middle = classifier(model, CoarseGrid(side=2, levels=3)), torch.full((1, 3, 4, 4), 0.5)
    noise = 0.2 * torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
    np.testing.assert_array_equal(guarded.predict((middle + noise).numpy()), guarded.predict(middle.numpy()))


def coarse(count: int = 20) -> np.ndarray:
    """Images of 4 by 4 pixels whose quarters are of any brightness, with a little noise."""
    generator = torch.Generator().manual_seed(2)
    quarters = torch.rand(count, 1, 2, 2, generator=generator).repeat_interleave(2, 2).repeat_interleave(2, 3)
    return (quarters + 0.1 * (torch.rand(count, 3, 4, 4, generator=generator) - 0.5)).clamp(0, 1).numpy()


def test_every_answer_that_brute_force_finds_is_among_those_that_can_be_reached() -> None:
    guarded, eps, x = classifier(LinearEncoder(seed=7), CoarseGrid(side=2, levels=3)), 0.12, coarse()
    found = reachable_answers(guarded, x, eps)
    assert found.complete.all() and found.stable.any() and found.misled.any()
    # Of each image either no attack works or one was found.
    assert (found.stable ^ found.misled).all()
    np.testing.assert_array_equal(found.labels, guarded.predict_labels(x))
    assert np.abs(found.x - x).max() <= eps + 1e-6 and found.x.min() >= 0 and found.x.max() <= 1
    answers = guarded.predict_labels(found.x)
    np.testing.assert_array_equal(answers != found.labels, found.misled)
    np.testing.assert_array_equal(found.x[~found.misled], x[~found.misled])
    # Cells one by one, each as dark, as it is, or as bright as the ball lets it be: all corners and their middles.
    rng = np.random.default_rng(0)
    for row in range(len(x)):
        shifts = np.array(list(itertools.product((-eps, 0, eps), repeat=4))).reshape(-1, 1, 2, 2)
        shifts = np.concatenate([shifts.repeat(2, axis=2).repeat(2, axis=3).repeat(3, axis=1), _noise(rng, eps)])
        tried = np.clip(x[row] + shifts, 0, 1).astype(np.float32)
        labels = guarded.predict_labels(tried)
        assert not (found.stable[row] and (labels != found.labels[row]).any())
        assert not (found.misled[row] and (labels == found.labels[row]).all())


def _noise(rng: np.random.Generator, eps: float) -> np.ndarray:
    return eps * rng.choice([-1.0, 1.0], size=(200, 3, 4, 4))


def test_pictures_are_counted() -> None:
    guarded = classifier(LinearEncoder(), CoarseGrid(side=2, levels=3))
    x = np.empty((1, 3, 4, 4), dtype=np.float32)
    # Borders lie at 1/4 and 3/4: of these cells one is far from both, two are near to one, and one cannot leave white.
    for cell, brightness in zip(itertools.product((0, 2), (0, 2)), (0.5, 0.27, 0.74, 1.0), strict=True):
        x[0, :, cell[0] : cell[0] + 2, cell[1] : cell[1] + 2] = brightness
    assert reachable_answers(guarded, x, 0.05).pictures.tolist() == [4]
    assert reachable_answers(guarded, x, 0.015).pictures.tolist() == [2]
    assert reachable_answers(guarded, x, 0.0).pictures.tolist() == [1]
    assert reachable_answers(guarded, x, 1.0).pictures.tolist() == [81]


def test_a_search_misleads_or_proves_nothing() -> None:
    guarded, eps, x = classifier(LinearEncoder(seed=7), CoarseGrid(side=2, levels=3)), 0.12, coarse()
    exact, searched = reachable_answers(guarded, x, eps), reachable_answers(guarded, x, eps, max_queries=1)
    many = exact.pictures > 1
    assert many.any() and not searched.complete[many].any() and not searched.stable[many].any()
    assert not (searched.misled & ~exact.misled).any()
    # A linear score is worst where each cell is, so a search over single cells finds most of what there is.
    assert (searched.misled & exact.misled).sum() >= 0.5 * exact.misled.sum()
    y = exact.labels
    assert exact.certified(y).mean() == exact.attacked(y).mean() <= searched.attacked(y).mean()
    assert not exact.certified(y + 1).any() and not exact.attacked(y + 1).any()


def test_attacks_on_digits_break_nothing_that_is_certified() -> None:
    data = open_data("demo:digits")
    x = np.stack([data.image(row) for row in range(0, 540, 45)])
    y = np.array([data.label_of(row) for row in range(0, 540, 45)])
    bare = ZeroShotClassifier(load_model("demo:digits"), data.class_names, data.templates, device_type="cpu")
    guarded, eps = bare.with_test_time_defence(CoarseGrid()), 6 / 255
    found = reachable_answers(guarded, x, eps, max_queries=1024)
    assert found.certified(y).sum() >= 6
    for loss in ("cross_entropy", "margin"):
        attack = ProjectedGradientDescentDualEncoder(
            guarded, loss=loss, eps=eps, eps_step=eps / 2, max_iter=5, verbose=False
        )
        answers = guarded.predict_labels(attack.generate(x, y))
        np.testing.assert_array_equal(answers[found.stable], found.labels[found.stable])


def test_what_is_refused() -> None:
    x = images(1, side=4).numpy()
    with pytest.raises(InputError, match="side must be at most the images' side of 4 pixels, not 8"):
        classifier(LinearEncoder(), CoarseGrid()).predict(x)
    with pytest.raises(InputError, match="levels must be a whole number of at least 2"):
        CoarseGrid(levels=1)
    with pytest.raises(InputError, match="Only what a CoarseGrid shows"):
        reachable_answers(classifier(LinearEncoder(), Purification()), x, 0.1)
    guarded = classifier(LinearEncoder(), CoarseGrid(side=2))
    with pytest.raises(InputError, match="eps must be a number from 0 to 1"):
        reachable_answers(guarded, x, -0.1)
    with pytest.raises(InputError, match="max_queries must be at least 1, not 0"):
        reachable_answers(guarded, x, 0.1, max_queries=0)
