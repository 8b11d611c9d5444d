"""Modalities that are pictures: numbers to colours."""

from __future__ import annotations

import numpy as np

from art_multimodal.modalities.modality import Modality

#: Frames of a video that are shown, side by side.
_FRAMES = 6
#: From dark to light, as dark and light as numbers are: what is loud in a spectrogram is bright.
_SHADES = np.array([(0, 0, 4), (81, 18, 124), (183, 55, 121), (252, 137, 97), (252, 253, 191)]) / 255


def as_picture(modality: Modality, values: np.ndarray, length: int) -> np.ndarray | None:
    """A sample as colours ``(H, W, 3)`` in [0, 1]; ``None`` where it is no picture.

    :param values: Of one sample, ``(*shape)``.
    :param length: Steps of a sequence.
    """
    draw = _PICTURES.get(modality.kind)
    return None if draw is None else draw(_in_range(modality, values), max(1, length))


def change_of(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The difference of two pictures, stretched around grey to the full range."""
    change = after - before
    return 0.5 + change / (2 * (float(np.abs(change).max()) or 1.0))


def _in_range(modality: Modality, values: np.ndarray) -> np.ndarray:
    """Numbers as shares of their range."""
    low, high = (np.asarray(bound, dtype=np.float64) for bound in modality.clip_values)
    shares = (values - low) / (high - low)
    return np.nan_to_num(np.clip(shares, 0, 1))


def _image(shares: np.ndarray, length: int) -> np.ndarray:
    """One channel is grey; of more than three the first three are shown."""
    colours = shares[:3] if len(shares) >= 3 else np.repeat(shares[:1], 3, axis=0)
    return colours.transpose(1, 2, 0)


def _spectrogram(shares: np.ndarray, length: int) -> np.ndarray:
    """Time goes across, and low frequencies are at the bottom."""
    place = shares[:length].T[::-1] * (len(_SHADES) - 1)
    below = np.minimum(place.astype(int), len(_SHADES) - 2)
    part = (place - below)[..., None]
    return (1 - part) * _SHADES[below] + part * _SHADES[below + 1]


def _video(shares: np.ndarray, length: int) -> np.ndarray:
    """Frames from the whole length, side by side."""
    chosen = np.unique(np.linspace(0, length - 1, _FRAMES).round().astype(int))
    frames = [_image(shares[frame], length) for frame in chosen]
    gap = np.ones((frames[0].shape[0], 1, 3))
    return np.concatenate([part for frame in frames for part in (frame, gap)][:-1], axis=1)


_PICTURES = {"image": _image, "spectrogram": _spectrogram, "video": _video}
