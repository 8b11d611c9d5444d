"""Preprocessors of ART with gradients of their own, where ART lets gradients through unchanged.

Attacks that follow them are much stronger.
"""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from art.defences.preprocessor import JpegCompression, SpatialSmoothing
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from scipy.fft import dctn, idctn

#: From red, green and blue to brightness and two differences of colour (JFIF).
_COLOURS = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


class SpatialSmoothingWithGradient(SpatialSmoothing):
    """A median filter, with the gradient that a median has.

    Each output is one of the pixels in its window, so its gradient goes to that pixel. ART's version in torch has it,
    too, but needs kornia.

    >>> median = SpatialSmoothingWithGradient(3, channels_first=True, clip_values=(0.0, 1.0))
    >>> smooth, _ = median(images)
    >>> smooth.shape
    (8, 3, 32, 32)
    """

    def estimate_gradient(self, x: np.ndarray, grad: np.ndarray) -> np.ndarray:
        count, channels, height, width = x.shape
        before, after = self.window_size // 2, (self.window_size - 1) // 2
        pixels = np.pad(np.arange(height * width).reshape(height, width), (before, after), mode="symmetric")
        windows = sliding_window_view(pixels, (self.window_size, self.window_size)).reshape(height * width, -1)
        flat, behind = np.clip(x, 0, 1).reshape(count * channels, -1), grad.reshape(count * channels, -1)
        out, middle = np.zeros_like(behind), windows.shape[1] // 2
        # One at a time: all windows of a batch of photos do not fit into memory.
        for values, row, target in zip(flat, behind, out, strict=True):
            chosen = np.argpartition(values[windows], middle, axis=1)[:, middle]
            np.add.at(target, np.take_along_axis(windows, chosen[:, None], axis=1)[:, 0], row)
        return out.reshape(x.shape)


class JpegCompressionWithGradient(JpegCompression):
    """JPEG compression of images in [0, 1], ``(N, C, H, W)``, with the gradient of a smooth stand-in.

    It drops what the compression drops: coefficients are divided by their quantisation step, and rounding has the slope
    of ``round(x) + (x - round(x))^3``, next to none where a coefficient is rounded away; colour is averaged over four
    pixels.

    | Paper link: https://arxiv.org/abs/2309.06978 (compares such stand-ins; this one is by Shin and Song, 2017)

    >>> jpeg = JpegCompressionWithGradient((0.0, 1.0), quality=75, channels_first=True)
    >>> defended = ZeroShotClassifier(load_model("demo:digits"), digits.class_names, preprocessing_defences=jpeg)
    >>> bool(np.abs(defended.loss_gradient(images, np.eye(10)[labels])).max() > 0)
    True
    """

    def __call__(self, x: np.ndarray, y: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        # ART's looks for the smallest value, which no images have.
        return super().__call__(x, y) if len(x) else (x.copy(), y)

    def estimate_gradient(self, x: np.ndarray, grad: np.ndarray) -> np.ndarray:
        colour = x.shape[1] == 3
        to_planes, of_luma = _COLOURS if colour else np.eye(x.shape[1]), _steps(self.quality)
        planes = np.einsum("ij,njhw->nihw", to_planes, np.clip(x, 0, 1) * 255.0)
        behind = np.einsum("ji,njhw->nihw", np.linalg.inv(to_planes), grad.astype(np.float64))
        for plane in range(x.shape[1]):
            values, gradient = planes[:, plane], behind[:, plane]
            if colour and plane:
                behind[:, plane] = _of_halved(values, gradient, of_luma[1])
            else:
                behind[:, plane] = _of_rounding(values - 128, gradient, of_luma[0])
        return np.einsum("ji,njhw->nihw", to_planes, behind).astype(grad.dtype)


def _of_rounding(values: np.ndarray, gradient: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The gradient ``(N, H, W)`` in front of the rounding of coefficients."""
    height, width = values.shape[1:]
    coefficients = _in_blocks(_padded(values, 8, edge=True)) / steps
    through = _in_blocks(_padded(gradient, 8)) * _slope(coefficients)
    out = idctn(through, axes=(-2, -1), norm="ortho").swapaxes(-3, -2)
    return out.reshape(len(values), out.shape[1] * 8, -1)[:, :height, :width]


def _of_halved(values: np.ndarray, gradient: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The same of a plane at half of the resolution."""
    height, width = values.shape[1:]
    fine = _padded(values, 2, edge=True), _padded(gradient, 2)
    quarters = [plane.reshape(len(plane), plane.shape[1] // 2, 2, -1, 2) for plane in fine]
    coarse = _of_rounding(quarters[0].mean(axis=(2, 4)), quarters[1].sum(axis=(2, 4)), steps)
    return np.repeat(np.repeat(coarse / 4, 2, axis=1), 2, axis=2)[:, :height, :width]


def _slope(coefficients: np.ndarray) -> np.ndarray:
    """Of rounding."""
    return 3 * (coefficients - np.rint(coefficients)) ** 2


def _padded(plane: np.ndarray, multiple: int, edge: bool = False) -> np.ndarray:
    """Rows and columns behind the last ones: copies of these, or zeros."""
    widths = [(0, 0), *((0, -size % multiple) for size in plane.shape[1:])]
    return np.pad(plane, widths, mode="edge" if edge else "constant")


def _in_blocks(plane: np.ndarray) -> np.ndarray:
    """Cosine coefficients of 8 by 8 pixels, ``(N, H/8, W/8, 8, 8)``."""
    count, height, width = plane.shape
    blocks = plane.reshape(count, height // 8, 8, width // 8, 8).swapaxes(2, 3)
    return dctn(blocks, axes=(-2, -1), norm="ortho")


@cache
def _steps(quality: int) -> tuple[np.ndarray, np.ndarray]:
    """Quantisation steps of brightness and of colour, ``(8, 8)`` each, as Pillow writes them."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, format="jpeg", quality=quality)
    written = Image.open(stream, formats=("JPEG",))
    assert isinstance(written, JpegImageFile)
    luma, colour = (np.array(written.quantization[number], dtype=np.float64).reshape(8, 8) for number in (0, 1))
    return luma, colour
