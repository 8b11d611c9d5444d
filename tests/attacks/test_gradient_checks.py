"""Models that hide their gradients are found out, each by its own mask; honest ones are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from art.defences.preprocessor import FeatureSqueezing
from art.defences.preprocessor.preprocessor import Preprocessor
from tiny import TinyEncoder, TinyFusion
from torch import Tensor, nn

from art_multimodal import FusionClassifier, ZeroShotClassifier, image_text_pairs
from art_multimodal.attacks.gradient_checks import (
    CHECKED_SAMPLES,
    STEP_SHARES,
    GradientChecks,
    check_gradients,
    suspicions,
)
from art_multimodal.evaluations.audit.subject import counted_queries
from art_multimodal.evaluations.suite import ATTACKS, Budget
from art_multimodal.evaluations.suite.looking import LOOK
from art_multimodal.functional.losses import margin_loss

EPS = 8 / 255
CLASSES = ("cat", "dog", "bird", "fish")
HONEST = GradientChecks(checked=CHECKED_SAMPLES)


class Masked(TinyEncoder):
    """A tiny model behind a mask on its pixels."""

    def __init__(self, mask: nn.Module) -> None:
        super().__init__()
        self.mask = mask

    def image_tower(self, pixels: Tensor) -> Tensor:
        return super().image_tower(self.mask(pixels))


class Rounded(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return torch.round(pixels * 20) / 20


class Noisy(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return pixels + 0.05 * torch.randn_like(pixels)


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(context, pixels: Tensor) -> Tensor:
        return pixels.clone()

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        return -gradient


class WrongWay(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return Reversed.apply(pixels)


class Shattered(nn.Module):
    """Ripples too small to matter to an answer, and steeper than all else: the gradient is that of the ripples."""

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels + 1e-3 * torch.sin(1e6 * pixels)


class BrokenBackward(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        # The square root's gradient at 0 is infinite, and 0 times infinity is NaN.
        return pixels + 0 * (pixels - pixels.detach()).abs().sqrt()


class NoGradient(Preprocessor):
    """A quantiser in numpy that says, as is true, that it has no gradient."""

    apply_fit, apply_predict = False, True

    def __init__(self) -> None:
        super().__init__(is_fitted=True, apply_fit=False, apply_predict=True)

    def __call__(self, x: np.ndarray, y: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        return np.round(x * 31).astype(np.float32) / np.float32(31), y

    def estimate_gradient(self, x: np.ndarray, grad: np.ndarray) -> np.ndarray:
        return np.zeros_like(grad)


def classifier(model: TinyEncoder, defence: Preprocessor | None = None) -> ZeroShotClassifier:
    return ZeroShotClassifier(model.eval(), CLASSES, preprocessing_defences=defence, device_type="cpu")


def samples(estimator: ZeroShotClassifier, count: int = 20) -> tuple[np.ndarray, np.ndarray]:
    images = np.random.default_rng(3).random((count, 3, 8, 8), dtype=np.float32)
    return images, estimator.predict_labels(images)


def looked_at(estimator: ZeroShotClassifier, norm: str = "inf", eps: float = EPS) -> GradientChecks:
    return check_gradients(estimator, *samples(estimator), norm, eps)


@pytest.mark.parametrize(
    ("mask", "count"),
    [
        (Rounded(), "gradient_zero"),
        (Noisy(), "random"),
        (WrongWay(), "gradient_no_guide"),
        (BrokenBackward(), "gradient_not_finite"),
    ],
)
def test_a_mask_in_the_model(mask, count) -> None:
    seen = looked_at(classifier(Masked(mask)))
    assert seen.checked == CHECKED_SAMPLES
    assert getattr(seen, count) >= 5
    assert any(str(getattr(seen, count)) in sentence for sentence in suspicions(seen.flags(), 20))


def test_a_shattered_gradient() -> None:
    estimator = classifier(Masked(Shattered()))
    images, labels = samples(estimator, 64)
    found = [
        check_gradients(estimator, images[start : start + 8], labels[start : start + 8], "inf", EPS).gradient_no_guide
        for start in range(0, 64, 8)
    ]
    # It points anywhere, so it wins by chance now and then.
    assert sum(found) >= 32


def test_a_mask_in_front_of_the_model() -> None:
    estimator = classifier(TinyEncoder(), NoGradient())
    assert looked_at(estimator).gradient_zero == CHECKED_SAMPLES
    # ART lets gradients through its own quantiser as if it were not there: a guide good enough to follow.
    assert looked_at(classifier(TinyEncoder(), FeatureSqueezing(clip_values=(0, 1), bit_depth=5))) == HONEST


@pytest.mark.parametrize(("norm", "eps"), [("inf", EPS), ("inf", 0.3), ("inf", 0.1 / 255), ("2", 0.5)])
def test_an_honest_model(norm, eps) -> None:
    assert looked_at(classifier(TinyEncoder()), norm, eps) == HONEST
    assert suspicions(HONEST.flags(), 20) == []


def test_the_demo_model_is_honest(digits_classifier, digits_images) -> None:
    images, labels = digits_images
    sums: dict[str, int] = {}
    for start in range(0, 200, 25):
        rows = slice(start, start + 25)
        for flag, number in check_gradients(digits_classifier, images[rows], labels[rows], "inf", EPS).flags().items():
            sums[flag] = sums.get(flag, 0) + number
    assert sums["checked"] == 64
    assert suspicions(sums, 200) == []


def test_on_pairs() -> None:
    model = TinyFusion().eval()
    estimator = FusionClassifier(model, device_type="cpu")
    pairs = image_text_pairs(samples_of_pairs(), [f"text {row % 3}" for row in range(10)])
    labels = estimator.predict_labels(pairs)
    given = pairs.copy()
    assert check_gradients(estimator, pairs, labels, "inf", EPS) == HONEST
    np.testing.assert_array_equal(pairs["image"], given["image"])
    tower = model.image_tower
    model.image_tower = lambda pixels: tower(Reversed.apply(pixels))  # type: ignore[method-assign]
    assert check_gradients(estimator, pairs, labels, "inf", EPS).gradient_no_guide == CHECKED_SAMPLES


def samples_of_pairs() -> np.ndarray:
    return np.random.default_rng(5).random((10, 3, 8, 8), dtype=np.float32)


def test_few_samples_and_none() -> None:
    estimator = classifier(TinyEncoder())
    images, labels = samples(estimator)
    assert check_gradients(estimator, images[:0], labels[:0], "inf", EPS) == GradientChecks()
    assert check_gradients(estimator, images[:1], labels[:1], "inf", EPS).checked == 1
    assert check_gradients(estimator, images, labels, "inf", 0.0) == HONEST


def test_no_trace_and_the_same_again() -> None:
    estimator = classifier(Masked(Noisy()))
    images, labels = samples(estimator)
    before = torch.get_rng_state()
    first = check_gradients(estimator, images, labels, "inf", EPS, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert check_gradients(estimator, images, labels, "inf", EPS, seed=3) == first


def test_square_finds_what_hidden_gradients_kept_back() -> None:
    """Behind a wrong gradient both descents end where they began, and random search does not care."""
    budget = Budget("inf", 0.05, 0.02, 10, 300, 20)
    hidden, honest = classifier(Masked(WrongWay())), classifier(TinyEncoder())
    images, labels = samples(honest)
    flags = ATTACKS["worst_image"].run(hidden, images, labels, budget, 0).flags
    assert flags["square_beats_gradients"] >= 0.2 * flags["left_by_gradients"] > 0
    assert any("square" in sentence and "hidden" in sentence for sentence in suspicions(flags, 20))
    flags = ATTACKS["worst_image"].run(honest, images, labels, budget, 0).flags
    assert suspicions(flags, 20) == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"checked": 100, "random": 1}, "1 of 100 inputs otherwise"),
        ({"checked": 100, "gradient_zero": 4}, None),
        ({"checked": 100, "gradient_zero": 5}, "zero for 5 of 100"),
        ({"checked": 100, "gradient_not_finite": 1}, "NaN or infinite for 1 of 100"),
        ({"checked": 100, "gradient_no_guide": 9}, None),
        ({"checked": 100, "gradient_no_guide": 10}, "For 10 of 100"),
        ({"left_by_gradients": 2, "square_beats_gradients": 1}, None),
        ({"left_by_gradients": 40, "square_beats_gradients": 2}, "on 2 of 40"),
        ({"left_by_gradients": 41, "square_beats_gradients": 2}, None),
        ({"left_by_gradients": 0, "square_beats_gradients": 0, "checked": 0}, None),
        ({"not_tried_by:square": 3}, "square could not be run on 3 of 50"),
        ({}, None),
    ],
)
def test_what_is_suspicious(flags, said) -> None:
    sentences = suspicions(flags, 50)
    assert len(sentences) == (said is not None)
    assert said is None or said in sentences[0]


def test_what_a_look_costs_is_known_exactly() -> None:
    """Two gradients, two answers, and of each length a step along the gradient and three or eight random ones."""
    estimator = classifier(TinyEncoder())
    images, labels = samples(estimator)
    with counted_queries(estimator.dual_encoder) as count:
        assert check_gradients(estimator, images, labels, "inf", EPS) == HONEST
    # The gradient is a guide for the longer steps, so the shorter ones are not tried; and it is far better than chance
    # for some samples, of which five directions are left out.
    unclear, rest = divmod(count["queries"] - 8 * CHECKED_SAMPLES, 5)
    assert rest == 0 and unclear < CHECKED_SAMPLES and count["gradients"] == 2 * CHECKED_SAMPLES
    lost = classifier(Masked(WrongWay()))
    images, labels = samples(lost)
    with counted_queries(lost.dual_encoder) as count:
        unguided = check_gradients(lost, images, labels, "inf", EPS).gradient_no_guide
    again, rest = divmod(count["queries"] - 13 * CHECKED_SAMPLES, 9)
    assert rest == 0 and unguided <= again <= CHECKED_SAMPLES and unguided > 1
    assert count["queries"] <= LOOK.forward * CHECKED_SAMPLES and count["gradients"] == LOOK.backward * CHECKED_SAMPLES


def asked_one_by_one(estimator: ZeroShotClassifier, x: np.ndarray, y: np.ndarray, seed: int) -> int:
    """For how many samples the gradient is no guide, where every direction is asked about by itself."""
    generator = np.random.default_rng(seed)
    rows = np.sort(generator.permutation(len(x))[:CHECKED_SAMPLES])
    x, y = x[rows], y[rows]
    images = torch.from_numpy(x).requires_grad_()
    gradient = torch.autograd.grad(margin_loss(estimator.model(images), torch.from_numpy(y)).sum(), images)[0].numpy()
    left = np.arange(len(x))
    for share in STEP_SHARES:
        margins = []
        for direction in (gradient[left], *generator.standard_normal((8, *x[left].shape), dtype=np.float32)):
            scores = estimator.predict(np.clip(x[left] + np.float32(share * EPS) * np.sign(direction), 0, 1))
            others = np.where(np.eye(len(CLASSES), dtype=bool)[y[left]], -np.inf, scores).max(axis=1)
            margins.append(others - scores[np.arange(len(left)), y[left]])
        left = left[margins[0] <= np.max(margins[1:], axis=0)]
        if not len(left):
            break
    return len(left)


@pytest.mark.parametrize("mask", [nn.Identity(), WrongWay(), Shattered()])
def test_leaving_directions_out_changes_no_verdict(mask) -> None:
    estimator = classifier(Masked(mask))
    images, labels = samples(estimator, 60)
    for start in range(0, 60, 12):
        x, y = images[start : start + 12], labels[start : start + 12]
        seen = check_gradients(estimator, x, y, "inf", EPS, seed=start, batch_size=20)
        assert seen.gradient_no_guide == asked_one_by_one(estimator, x, y, start)


def test_a_model_that_does_not_move_has_no_guide_whatever_rounding_says() -> None:
    """Of a gradient that is there, on scores that are the same everywhere, no step is better than another."""

    class Flat(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            # As far as a float32 sees: the gradient is that of the pixels.
            return pixels.detach().round() + pixels - pixels.detach()

    estimator = classifier(Masked(Flat()))
    images = np.full((4, 3, 8, 8), 0.25, dtype=np.float32)
    assert check_gradients(estimator, images, estimator.predict_labels(images), "inf", EPS).gradient_no_guide == 4
