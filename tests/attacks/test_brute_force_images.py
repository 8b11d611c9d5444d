"""On small models the worst case is known: in closed form for images, by trying everything for removals."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from tiny import TinyFusion
from torch import Tensor, nn

from art_multimodal import FusionClassifier, image_text_pairs
from art_multimodal.attacks.evasion.decoupling import DecouplingAttack
from art_multimodal.attacks.gradient_checks import check_gradients, suspicions
from art_multimodal.evaluations.suite import ATTACKS, PAIRS, Budget, select_attacks
from art_multimodal.models.fusion import FusionModel
from art_multimodal.models.preprocessing import ImagePreprocessing


class Linear(FusionModel):
    """Scores that are linear in the pixels, and do not look at the text."""

    def __init__(self, classes: int = 4, side: int = 4, factor: float = 1.0, shift: float = 0.0) -> None:
        super().__init__(
            ImagePreprocessing((side, side), mean=(0, 0, 0), std=(1, 1, 1)),
            tuple(f"answer {k}" for k in range(classes)),
        )
        generator = torch.Generator().manual_seed(classes)
        self.weight = nn.Parameter(factor * torch.randn(classes, 3 * side * side, generator=generator))
        self.shift = shift

    def tokenize(self, texts: list[str]) -> Tensor:
        return torch.zeros(len(texts), 1, dtype=torch.long)

    def image_tower(self, pixels: Tensor) -> Tensor:
        return pixels.flatten(1)

    def text_tower(self, tokens: Tensor) -> Tensor:
        return tokens.float()

    def join(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        return image_features

    def predict(self, fused: Tensor) -> Tensor:
        return fused @ self.weight.T + self.shift


def linear(**settings) -> tuple[FusionClassifier, np.ndarray, np.ndarray]:
    """A model, pairs whose images stay inside [0, 1] under attack, and its answers."""
    estimator = FusionClassifier(Linear(**settings).eval(), device_type="cpu")
    side = estimator.input_shape[-1]
    images = 0.35 + 0.3 * np.random.default_rng(0).random((40, 3, side, side), dtype=np.float32)
    pairs = image_text_pairs(images, ["what is it"] * 40)
    return estimator, pairs, estimator.predict(pairs).argmax(axis=1)


def least_radius(estimator: FusionClassifier, pairs: np.ndarray, y: np.ndarray, norm: str) -> np.ndarray:
    """The smallest radius that misleads, in closed form: of each other class its lead over the length of the slope."""
    weight = estimator.model.weight.detach().double().numpy()
    scores = pairs["image"].reshape(len(pairs), -1).astype(np.float64) @ weight.T
    slopes = weight[None] - weight[y][:, None]
    lengths = np.abs(slopes).sum(axis=2) if norm == "inf" else np.linalg.norm(slopes, axis=2)
    leads = scores[np.arange(len(y)), y][:, None] - scores
    radius = leads / np.where(lengths > 0, lengths, 1)
    radius[np.arange(len(y)), y] = np.inf
    return radius.min(axis=1)


@pytest.mark.parametrize("classes", [2, 3, 12])
@pytest.mark.parametrize("norm", ["inf", "2"])
def test_the_headline_of_images_is_the_closed_form(norm, classes) -> None:
    estimator, pairs, y = linear(classes=classes)
    needed = least_radius(estimator, pairs, y, norm)
    eps = float(np.median(needed))
    known = np.abs(needed / eps - 1) > 2e-3  # the others are decided by rounding, and by how far the last step goes
    assert 10 < (needed[known] < eps).sum() < 30
    budget = Budget(norm, eps, eps / 4, 10, 20, 40)
    left = np.ones(len(y), dtype=bool)
    for name in select_attacks("image", classes, PAIRS):
        if name != "square":
            left &= ATTACKS[name].run(estimator, pairs, y, budget, 0).labels == y
    np.testing.assert_array_equal(left[known], needed[known] > eps)
    # The one that the headline rests on needs nobody else for it.
    alone = ATTACKS["pgd_targeted"].run(estimator, pairs, y, budget, 0)
    np.testing.assert_array_equal((alone.labels == y)[known], needed[known] > eps)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("factor", [2.0**20, 2.0**-20])
def test_the_scale_of_the_scores_changes_nothing(classes, factor) -> None:
    """By a power of two, so that not a bit of the arithmetic differs."""
    estimator, pairs, y = linear(classes=classes)
    scaled, _, of_scaled = linear(classes=classes, factor=factor)
    np.testing.assert_array_equal(y, of_scaled)
    eps = float(np.median(least_radius(estimator, pairs, y, "inf")))
    budget = Budget("inf", eps, eps / 4, 10, 20, 40)
    first, second = (ATTACKS["pgd_targeted"].run(model, pairs, y, budget, 0) for model in (estimator, scaled))
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.images, second.images)
    assert 0 < (first.labels != y).sum() < len(y)


def test_a_constant_on_all_scores_changes_little() -> None:
    estimator, pairs, y = linear(factor=256.0, shift=1e6)
    needed = least_radius(estimator, pairs, y, "inf")
    eps = float(np.median(needed))
    labels = ATTACKS["pgd_targeted"].run(estimator, pairs, y, Budget("inf", eps, eps / 4, 10, 20, 40), 0).labels
    known = np.abs(needed / eps - 1) > 0.05
    np.testing.assert_array_equal((labels == y)[known], needed[known] > eps)


@pytest.mark.parametrize("norm", ["inf", "2"])
def test_scores_too_far_apart_for_the_cross_entropy_are_named(norm) -> None:
    estimator, pairs, y = linear(factor=2.0**20)
    seen = check_gradients(estimator, pairs, y, norm, 0.05)
    assert seen.loss_saturated >= seen.checked // 2 and seen.gradient_zero == 0 and seen.gradient_no_guide == 0
    (sentence,) = suspicions(seen.flags(), len(y))
    assert "art_pgd" in sentence and "pgd_targeted" in sentence
    usual = check_gradients(linear()[0], pairs, y, norm, 0.05)
    assert suspicions(usual.flags(), len(y)) == []


def every_removal(side: int, most: int) -> np.ndarray:
    """Masks ``(n, side, side)`` of all removals of at most so many pixels, the small ones first."""
    masks = []
    for count in range(1, most + 1):
        for pixels in combinations(range(side * side), count):
            mask = np.zeros(side * side, dtype=bool)
            mask[list(pixels)] = True
            masks.append(mask)
    return np.stack(masks).reshape(-1, side, side)


def least_removal(estimator: FusionClassifier, image: np.ndarray, text: str, masks: np.ndarray) -> int | None:
    """The fewest pixels whose removal changes the answer, by asking about every removal."""
    fill = estimator.image_text_model.mean_colour
    images = np.where(masks[:, None], fill[None], image[None]).astype(np.float32)
    view = estimator.image_view(text)
    before = view.predict(image[None]).argmax()
    changed = view.predict(images, batch_size=4096).argmax(axis=1) != before
    return int(masks[changed.argmax()].sum()) if changed.any() else None


@pytest.mark.parametrize("white_box", [True, False])
def test_removals_are_missed_by_nobody_that_brute_force_finds(white_box) -> None:
    estimator = FusionClassifier(TinyFusion(side=5).eval(), device_type="cpu")
    images = np.random.default_rng(4).random((24, 3, 5, 5), dtype=np.float32)
    texts = [f"text {row % 4}" for row in range(24)]
    masks = every_removal(5, 3)
    least = [least_removal(estimator, image, text, masks) for image, text in zip(images, texts, strict=True)]
    assert sum(size is not None for size in least) >= 6
    attack = DecouplingAttack(estimator, modalities=("image",), white_box=white_box, max_queries=300, verbose=False)
    attack.generate(image_text_pairs(images, texts))
    excess = []
    for size, record in zip(least, attack.records, strict=True):
        assert record.queries <= 300
        if size is None:
            assert not record.success or record.pixels > 3
        else:
            assert record.success
            excess.append(record.pixels - size)
    assert min(excess) >= 0
    # The least removal for nearly all, with gradients; half as much again at most without.
    assert np.mean(excess) <= (0.2 if white_box else 1.0)


def test_removals_of_a_linear_model_are_the_least() -> None:
    """Each pixel adds its own share, so the order of the shares is the answer."""
    estimator, pairs, y = linear(classes=2, side=8)
    weight = estimator.model.weight.detach().double().numpy()
    fill = estimator.image_text_model.mean_colour.reshape(1, 3, 1).astype(np.float64)
    images = pairs["image"].reshape(len(pairs), 3, 64).astype(np.float64)
    slopes = (weight[y] - weight[1 - y]).reshape(len(y), 3, 64)
    lead = (slopes * images).sum(axis=(1, 2))
    shares = -np.sort(-(slopes * (images - fill)).sum(axis=1), axis=1)
    after = lead[:, None] - np.cumsum(shares, axis=1)
    possible = (after < 0).any(axis=1)
    attack = DecouplingAttack(estimator, modalities=("image",), max_queries=300, verbose=False)
    attack.generate(pairs)
    for row, record in enumerate(attack.records):
        assert record.success == possible[row]
        if possible[row]:
            assert record.pixels == (after[row] < 0).argmax() + 1
    assert possible.sum() >= 20
