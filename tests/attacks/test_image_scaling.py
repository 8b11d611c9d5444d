"""The image-scaling attack against brute force: least squares, a quadratic programme, and the model itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import LinearConstraint, minimize
from tiny import TinyEncoder

from art_multimodal import InputError, ZeroShotClassifier
from art_multimodal.attacks.evasion import ImageScalingAttack
from art_multimodal.functional.image_scaling import hide, least_change, price, seen, share_seen
from art_multimodal.functional.resizing import RESIZERS
from art_multimodal.models.resized import with_resize

CLASSES = ("cat", "dog", "bird", "fish")


def matrices(name: str, before: tuple[int, int], after: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    resizer = RESIZERS[name]
    return resizer.matrix(before[0], after[0]), resizer.matrix(before[1], after[1])


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", ["bicubic", "opencv_linear", "torch_bicubic", "opencv_area", "torch_nearest"])
@pytest.mark.parametrize(("before", "after"), [((9, 7), (3, 2)), ((8, 8), (4, 3)), ((3, 4), (5, 6))])
def test_the_closed_form_is_the_least_norm_solution(name, before, after) -> None:
    both = matrices(name, before, after)
    difference = drawn(*after) - 0.5
    # Of a picture written row by row the resize is a Kronecker product; lstsq gives the least-norm solution of it.
    whole = np.kron(both[0].numpy(), both[1].numpy())
    expected = np.linalg.lstsq(whole, difference.numpy().ravel(), rcond=None)[0].reshape(before)
    np.testing.assert_allclose(least_change(difference, both), expected, atol=1e-10)


def test_the_price_is_what_white_noise_costs() -> None:
    both = matrices("torch_bicubic", (24, 32), (6, 8))
    noise = torch.randn(4000, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = float(least_change(noise, both).square().mean().sqrt())
    # 192 000 normal numbers: their root mean square is off by some 0.2 %.
    assert found == pytest.approx(price(both), rel=0.01)


def test_bicubic_at_eight_times_is_cheap_and_antialiasing_is_not() -> None:
    cubic = matrices("torch_bicubic", (512, 512), (64, 64))
    # Four taps of a row of eight, at half distances: the weights are -3/32 and 19/32, twice each, and never overlap.
    squares = 2 * ((3 / 32) ** 2 + (19 / 32) ** 2)
    assert price(cubic) == pytest.approx(1 / (8 * squares), rel=1e-9) and price(cubic) == pytest.approx(0.173, abs=5e-4)
    assert share_seen(cubic) == 0.25
    for name in ("bicubic", "torch_bicubic_antialias", "bilinear", "lanczos", "opencv_area", "torch_area"):
        other = matrices(name, (512, 512), (64, 64))
        assert price(other) > 1 - 1e-9 and share_seen(other) == 1


@pytest.mark.parametrize(("name", "after"), [("torch_bicubic", 3), ("bicubic", 2), ("opencv_linear", 3)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_inside_the_box_it_is_the_quadratic_programme(name, after, seed) -> None:
    both = matrices(name, (6, 6), (after, after))
    # Far from the middle, so that the closed form leaves the box; reachable, for it is the resize of a picture in it.
    clean = drawn(1, 1, 6, 6, seed=seed).round()
    wanted = seen(drawn(1, 1, 6, 6, seed=seed + 10), both)
    unbounded = clean + least_change(wanted - seen(clean, both), both)
    assert not ((unbounded >= 0) & (unbounded <= 1)).all()
    found = hide(clean, wanted, both, max_iter=50_000, tolerance=1e-9)
    assert found.residual.max() <= 1e-9 and found.images.min() >= 0 and found.images.max() <= 1
    whole, start = np.kron(both[0].numpy(), both[1].numpy()), clean.numpy().ravel()
    best = minimize(
        lambda x: ((x - start) ** 2).sum(),
        found.images.numpy().ravel(),
        jac=lambda x: 2 * (x - start),
        bounds=[(0, 1)] * 36,
        constraints=LinearConstraint(whole, *[wanted.numpy().ravel()] * 2),
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    least = float((found.images - clean).square().sum())
    assert least == pytest.approx(best.fun, abs=1e-6)


def test_what_cannot_be_reached_is_said() -> None:
    both = matrices("torch_bicubic", (8, 8), (4, 4))
    # Alternating black and white pixels beyond what the overlapping taps allow from within [0, 1].
    wanted = torch.full((1, 1, 4, 4), 1.05, dtype=torch.float64)
    found = hide(drawn(1, 1, 8, 8), wanted, both, max_iter=50)
    assert found.iterations == 50 and found.residual.item() > 0.01
    assert found.images.min() >= 0 and found.images.max() <= 1


def classifier(resize: str | None = None) -> ZeroShotClassifier:
    model = TinyEncoder().eval()
    return ZeroShotClassifier(with_resize(model, resize) if resize else model, CLASSES, device_type="cpu")


@pytest.mark.parametrize("size", [(64, 64), (64, 80), (40, 33)])
@pytest.mark.parametrize("resize", ["opencv_cubic", "torch_bilinear", "torch_nearest"])
def test_the_model_sees_the_target(resize: str, size: tuple[int, int]) -> None:
    victim = classifier(resize)
    x = drawn(3, 3, *size).numpy().astype(np.float32)
    targets = (0.2 + 0.6 * drawn(3, 3, 8, 8, seed=1)).numpy().astype(np.float32)
    attack = ImageScalingAttack(victim, verbose=False)
    found = attack.generate(x, targets=targets)
    assert found.dtype == np.float32 and found.shape == x.shape and 0 <= found.min() <= found.max() <= 1
    np.testing.assert_allclose(found * 255, np.round(found * 255), atol=1e-3)
    # Rounding moves each pixel by half a step at most, and the sizes of the weights of a resized one add up to 2.
    inside = victim.image_text_model.preprocess.resize(torch.from_numpy(found)).numpy()
    assert np.abs(inside - targets).max() <= 1.2 / 255
    for record in attack.records:
        assert record.residual <= 1.2 / 255 and record.closed_form <= record.change + 0.3 / 255
    # What is said of white noise holds of these differences, which are nearly that.
    assert attack.records[0].closed_form == pytest.approx(attack.price(*size) * attack.records[0].difference, rel=0.2)


def test_it_does_not_depend_on_what_stands_beside() -> None:
    x, targets = drawn(3, 3, 32, 32).numpy(), drawn(1, 3, 8, 8, seed=1).numpy()
    attack = ImageScalingAttack(classifier("opencv_cubic"), verbose=False)
    together = attack.generate(x, targets=targets)
    np.testing.assert_array_equal(together[1:2], attack.generate(x[1:2], targets=targets))


def test_what_is_refused() -> None:
    attack = ImageScalingAttack(classifier("opencv_cubic"), verbose=False)
    x = drawn(2, 3, 32, 32).numpy()
    for wrong, kwargs, said in (
        (x, {}, "targets="),
        (x, {"targets": x}, "8 x 8 pixels"),
        (x, {"targets": drawn(3, 3, 8, 8).numpy()}, "give one, or 2"),
        (x[..., :8, :8], {"targets": drawn(1, 3, 8, 8).numpy()}, "nothing is resized"),
    ):
        with pytest.raises(InputError, match=said):
            attack.generate(wrong, **kwargs)
    for name, value in (("max_iter", -1), ("tolerance", 0.0)):
        with pytest.raises(ValueError, match=name):
            ImageScalingAttack(classifier(), **{name: value})
