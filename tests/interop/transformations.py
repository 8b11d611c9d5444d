"""Rows of preprocessors that transform images, at random or to another size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from art.preprocessing.expectation_over_transformation import (
    EoTBrightnessPyTorch,
    EoTContrastPyTorch,
    EoTGaussianNoisePyTorch,
    EoTImageCenterCropPyTorch,
    EoTImageRotationPyTorch,
    EoTShotNoisePyTorch,
    EoTZoomBlurPyTorch,
)
from interop.defences import BOX, at_prediction, defended, seed
from interop.row import Broken, Row, load, named
from interop.subjects import SIDE, Subject

#: Importing anything from here imports OpenCV.
IMAGE = "art.preprocessing.image."
NATURAL = "preprocessing/expectation_over_transformation/natural_corruptions/"


def at_random(kind: type, **settings: Any) -> Row:
    """A row of a random transformation: one at prediction, and the mean gradient of several in an attack."""

    def make(samples: int = 1) -> Any:
        return kind(nb_samples=samples, clip_values=BOX, **settings)

    name = kind.__name__
    row = at_prediction(name, kind, lambda: [make()])

    def run(subject: Subject) -> str:
        x, y = subject.x[:4], subject.y[:4]
        classifier = subject.classifier(preprocessing_defences=make(3))
        seed()
        gradient = classifier.loss_gradient(x, y)
        seed()
        images = torch.from_numpy(x).requires_grad_()
        logits = subject.classifier().model(make(3).forward(images)[0])
        targets = torch.from_numpy(subject.labels[:4]).repeat_interleave(3)
        torch.nn.functional.cross_entropy(logits, targets).backward()
        expected = images.grad.numpy()
        np.testing.assert_allclose(gradient, expected, atol=1e-3 * np.abs(expected).max())
        return f"{row.run(subject)}; gradients are means over the samples"

    return Row(
        name, row.family, row.covers, run, note="Give `nb_samples=1` where answers are counted: it multiplies rows."
    )


def constant_stays(subject: Subject) -> str:
    """A blur leaves an image of one colour as it is."""
    colour = np.array([0.2, 0.5, 0.8], dtype=np.float32)[None, :, None, None]
    images = np.broadcast_to(colour, (2, 3, SIDE, SIDE)).copy()
    blur = EoTZoomBlurPyTorch(nb_samples=1, clip_values=BOX, zoom=(2.0, 2.5))
    expected = subject.classifier().predict(images)
    scores = defended(subject, images, preprocessing_defences=[blur])
    np.testing.assert_allclose(scores, expected, atol=1e-3)
    return "leaves one colour alone"


def other_size(name: str, place: str, *size: int, differentiable: bool = False) -> Row:
    """A row of a preprocessor that makes images the size that a model takes.

    :param size: What it is given; without, it pads.
    """
    covers = f"{IMAGE}{place}.{name}"

    def run(subject: Subject) -> str:
        if size:
            images, expected = subject.x.repeat(2, axis=2).repeat(2, axis=3), subject.x
        else:
            images = np.ascontiguousarray(subject.x[..., 2:10])
            expected = np.pad(images, ((0, 0), (0, 0), (0, 0), (2, 2)))
        defence = load(covers)(*size, channels_first=True, apply_predict=True)
        scores = defended(subject, images, preprocessing_defences=[defence])
        np.testing.assert_allclose(scores, subject.classifier().predict(expected), atol=1e-4)
        if differentiable:
            gradient = subject.classifier(preprocessing_defences=[defence]).loss_gradient(images, subject.y)
            assert gradient.shape == images.shape
            assert np.abs(gradient).max() > 0
        return f"{images.shape[2]}x{images.shape[3]} → {SIDE}x{SIDE}"

    return Row(name, "preprocessors", (covers,), run, needs=("cv2",))


def channels_last(kind: type, run: Callable[[Subject], str], where: str, raises: type[Exception]) -> Row:
    broken = Broken(f"{where}, and a classifier in torch has channels first", raises, "GaussianAugmentation")
    return Row(kind.__name__, "preprocessors", named(kind), run, broken=broken)


ROWS = [
    at_random(EoTImageCenterCropPyTorch, size=3),
    at_random(EoTImageRotationPyTorch, angles=30.0),
    at_random(EoTBrightnessPyTorch, delta=0.2),
    at_random(EoTGaussianNoisePyTorch, std=(0.02, 0.05)),
    at_random(EoTShotNoisePyTorch, lam=(0.05, 0.1)),
    channels_last(
        EoTContrastPyTorch,
        at_prediction(
            "contrast",
            EoTContrastPyTorch,
            lambda: [EoTContrastPyTorch(nb_samples=1, clip_values=BOX, contrast_factor=(0.5, 0.8))],
        ).run,
        f"{NATURAL}contrast/pytorch.py:89 takes channels last only",
        ValueError,
    ),
    channels_last(
        EoTZoomBlurPyTorch,
        constant_stays,
        f"{NATURAL}zoom_blur/pytorch.py:89 takes channels last only, and mixes colours and rows",
        AssertionError,
    ),
    other_size("ImageResize", "image_resize.numpy", SIDE, SIDE),
    other_size("ImageResizePyTorch", "image_resize.pytorch", SIDE, SIDE, differentiable=True),
    other_size("ImageSquarePad", "image_square_pad.numpy"),
    other_size("ImageSquarePadPyTorch", "image_square_pad.pytorch", differentiable=True),
]
