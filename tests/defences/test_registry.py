"""Defences by name: what is accepted, what is built, and that gradients pass them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from art.defences.preprocessor import FeatureSqueezing, JpegCompression, SpatialSmoothing
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch

from art_multimodal import InputError
from art_multimodal.defences import with_gradient
from art_multimodal.defences.registry import DEFENCES, parse_defence
from art_multimodal.defences.with_gradient import JpegCompressionWithGradient, SpatialSmoothingWithGradient
from art_multimodal.estimators.straight_through import straight_through

IMAGES = np.random.default_rng(0).random((2, 3, 8, 8)).astype(np.float32)


@pytest.mark.parametrize("name", [name for name, entry in DEFENCES.items() if not entry.test_time])
def test_a_defence_is_what_it_says_and_is_written_in_full(name: str) -> None:
    defence = parse_defence(name)
    assert parse_defence(defence.spec) == defence
    preprocessor = defence.build(["photo"])
    if defence.entry.modality == "text":
        assert preprocessor.repair(["a photo"]) == ["a photo"]
        assert preprocessor(IMAGES)[0] is IMAGES
        return
    after = preprocessor(IMAGES)[0]
    assert after.shape == IMAGES.shape and after.min() >= 0 and after.max() <= 1
    assert not np.array_equal(after, IMAGES)
    assert defence.entry.random != np.array_equal(after, preprocessor(IMAGES)[0])


@pytest.mark.parametrize(
    ("spec", "art"),
    [
        ("jpeg:quality=20", JpegCompression(clip_values=(0, 1), quality=20, channels_first=True)),
        ("spatial_smoothing: window_size = 4", SpatialSmoothing(window_size=4, channels_first=True)),
        ("feature_squeezing:bit_depth=2", FeatureSqueezing(clip_values=(0, 1), bit_depth=2)),
    ],
)
def test_options_reach_arts_preprocessors(spec: str, art) -> None:
    np.testing.assert_array_equal(parse_defence(spec).build()(IMAGES)[0], art(IMAGES)[0])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "",
            "Unknown defence ''. Known: coarse_grid, dbd, et3, feature_squeezing, gaussian_augmentation, jpeg",
        ),
        ("JPEG", "Unknown defence 'JPEG'. Did you mean jpeg"),
        ("jpeg:", "not of the form NAME:OPTION=VALUE, such as jpeg:quality=50"),
        ("jpeg:75", "not of the form"),
        ("jpeg:quality=", "not of the form"),
        ("jpeg:quality=75,", "not of the form"),
        ("jpeg:quality=75,quality=80", "quality of jpeg is given twice"),
        ("jpeg:level=3", "jpeg has no option 'level'. Its options: quality."),
        ("jpeg:quality=7.5", "quality of jpeg must be a whole number from 1 to 95, not '7.5'"),
        ("jpeg:quality=0", "must be a number from 1 to 95, not 0"),
        ("spatial_smoothing:window_size=1", "from 2 to 15, not 1"),
        ("gaussian_augmentation:sigma=nan", "must be a number from 1e-06 to 10, not nan"),
        ("gaussian_augmentation:sigma=-1", "must be a number from 1e-06 to 10, not -1"),
        ("unicode:form=NFC", "unicode has no options; 'form' was given"),
    ],
)
def test_what_is_refused(spec: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_defence(spec)
    assert message in str(error.value)


def test_words_of_a_file(tmp_path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("\ufeffgrün\nrot")
    repair = parse_defence(f"spelling:vocabulary={path}").build(["blau"]).repair
    assert repair(["gün rto blaau photto"]) == ["grün rot blau photto"]
    for text, message in ((b" \n", "is empty"), (b"\xff\xfe\x00", "cannot be read as a UTF-8 text file")):
        path.write_bytes(text)
        with pytest.raises(InputError, match=message):
            parse_defence(f"spelling:vocabulary={path}").build()


@pytest.mark.parametrize("window_size", [2, 3, 4, 5, 9])
def test_the_gradient_of_a_median_is_that_of_finite_differences(window_size: int) -> None:
    defence = SpatialSmoothingWithGradient(window_size=window_size, channels_first=True, clip_values=(0.0, 1.0))
    images, behind = IMAGES[:1, :2, :5, :7].astype(np.float64), np.random.default_rng(1).normal(size=(1, 2, 5, 7))
    step = 1e-7
    differences = np.zeros_like(images)
    for place in np.ndindex(images.shape):
        more, less = images.copy(), images.copy()
        more[place] += step
        less[place] -= step
        differences[place] = ((defence(more)[0] - defence(less)[0]) * behind).sum() / (2 * step)
    np.testing.assert_allclose(defence.estimate_gradient(images, behind), differences, atol=1e-6)


def test_the_gradient_of_jpeg_knows_what_the_compression_drops(monkeypatch) -> None:
    jpeg = JpegCompressionWithGradient(clip_values=(0, 1), quality=50, channels_first=True)
    # Annex K of the standard, which is quality 50.
    assert with_gradient._steps(50)[0][0].tolist() == [16, 11, 10, 16, 24, 40, 51, 61]
    rng = np.random.default_rng(2)
    images = 0.1 + 0.8 * rng.random((4, 3, 18, 26)).astype(np.float32)
    predicted, unchanged, actual = [], [], []
    for _ in range(30):
        step = (rng.choice([-8, 8], size=images.shape) / 255).astype(np.float32)
        behind = rng.normal(size=images.shape).astype(np.float32)
        change = jpeg(images + step)[0] - jpeg(images)[0]
        found = jpeg.estimate_gradient(images, behind)
        assert found.dtype == np.float32 and found.shape == images.shape
        for values, product in ((predicted, found * step), (unchanged, behind * step), (actual, behind * change)):
            values.extend(product.sum(axis=(1, 2, 3)))
    assert np.corrcoef(predicted, actual)[0, 1] > 0.4 > 0.3 > np.corrcoef(unchanged, actual)[0, 1]
    # Without rounding only the fineness of colours is lost; of one channel nothing.
    monkeypatch.setattr(with_gradient, "_slope", np.ones_like)
    coarse = np.repeat(np.repeat(rng.normal(size=(4, 3, 9, 13)), 2, axis=2), 2, axis=3)
    np.testing.assert_allclose(jpeg.estimate_gradient(images, coarse), coarse, atol=1e-9)
    grey = rng.normal(size=(4, 1, 18, 26))
    np.testing.assert_allclose(jpeg.estimate_gradient(images[:, :1], grey), grey, atol=1e-9)
    fine = rng.normal(size=images.shape)
    assert np.abs(jpeg.estimate_gradient(images, fine) - fine).max() > 0.1


class Squares(PreprocessorPyTorch):
    """Differentiable."""

    def __init__(self) -> None:
        super().__init__(is_fitted=True, apply_fit=False, apply_predict=True)

    def forward(self, x, y=None):
        return x**2, y


class Rounded(Squares):
    """Says itself what it is to be differentiated as."""

    def forward(self, x, y=None):
        return torch.round(x), y

    def estimate_forward(self, x, y=None):
        return 3 * x


def value_and_gradient(preprocessor, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    images = images.clone().requires_grad_()
    after = straight_through(preprocessor)(images)
    return after.detach(), torch.autograd.grad(
        (after * torch.arange(after.numel()).reshape(after.shape)).sum(), images
    )[0]


def test_gradients_are_exact_where_there_are_any_and_straight_through_elsewhere() -> None:
    images = torch.from_numpy(IMAGES)
    behind = torch.arange(images.numel(), dtype=torch.float32).reshape(images.shape)
    squeezing = parse_defence("feature_squeezing").build()
    jpeg = parse_defence("jpeg").build()
    of_jpeg = torch.from_numpy(jpeg.estimate_gradient(IMAGES, behind.numpy()))
    for preprocessor, value, gradient in (
        (Squares(), images**2, 2 * images * behind),
        (Rounded(), images.round(), 3 * behind),
        (squeezing, torch.from_numpy(squeezing(IMAGES)[0]).float(), behind),
        (jpeg, torch.from_numpy(jpeg(IMAGES)[0]), of_jpeg),
    ):
        after, found = value_and_gradient(preprocessor, images)
        torch.testing.assert_close(after, value)
        torch.testing.assert_close(found, gradient)


def test_images_that_leave_the_box_on_an_attacks_way_and_other_dtypes() -> None:
    jpeg = parse_defence("jpeg").build()
    images = torch.from_numpy(IMAGES)
    outside = images * 1.4 - 0.2
    torch.testing.assert_close(straight_through(jpeg)(outside), straight_through(jpeg)(outside.clip(0, 1)))
    assert straight_through(jpeg)(images.double()).dtype == torch.float64
    assert straight_through(jpeg)(images.bfloat16()).dtype == torch.bfloat16
    before = images.clone()
    straight_through(parse_defence("gaussian_augmentation").build())(images)
    torch.testing.assert_close(images, before)


def test_the_examples_of_the_page_run(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "defences.md").read_text(encoding="utf-8")
    audit, estimator = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(audit, {})
    adaptive, naive = map(float, capsys.readouterr().out.split())
    assert adaptive < naive
    names: dict = {}
    exec(estimator, names)
    assert names["classifier"].predict(IMAGES).shape == (2, 2)
    for name in DEFENCES:
        assert f"`{name}`" in page
