"""Embeddings that are averaged over Gaussian noise: what stays of a cosine, and of a class.

``F(x) = E f(x + sigma e)`` is the mean of unit vectors over standard normal ``e``. For every unit vector ``u`` and
every ``x'`` within ``eps`` of ``x`` in l2, by Neyman and Pearson on ``(1 + <u, f>) / 2``::

    <u, F(x')>  >=  2 Phi(Phi^-1((1 + <u, F(x)>) / 2) - eps / sigma) - 1

Encoders that are half-spaces along ``u`` reach it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from art_multimodal.errors import InputError
from art_multimodal.functional.certificates.checks import positive
from art_multimodal.functional.certificates.hybrid import gaussian_distance, hybrid_lower
from art_multimodal.shown import brief


def cosine_lower(norm: Any, eps: float, sigma: float) -> Any:
    """Lower bound of the cosine between the averaged embeddings of a clean and of an attacked input.

    >>> round(cosine_lower(0.9, 0.25, 0.5), 4), cosine_lower(0.3, 0.5, 0.5)
    (0.7477, -1.0)

    :param norm: Length of the clean averaged embedding, or a lower bound of it, from 0 to 1; a number or an array.
    :param eps: l2 radius of the ball in which the attacker moves the input.
    :param sigma: Standard deviation of the noise, in the units of ``eps``.
    :return: From 0 to 1; -1 where nothing is known, as dividing a negative product by a length could lower it further.
    :raises InputError: If a norm is not between 0 and 1, ``eps`` is negative, or ``sigma`` is not above 0.
    """
    lengths = np.asarray(norm, dtype=float)
    if not ((lengths >= 0) & (lengths <= 1)).all():
        raise InputError(f"Means of unit vectors have lengths from 0 to 1, not {brief(norm)}.")
    lower = 2 * hybrid_lower((1 + lengths) / 2, 1.0, gaussian_distance(eps, sigma)) - 1
    kept = np.where(np.asarray(lower) >= 0, lower, -1.0)
    return float(kept) if kept.ndim == 0 else kept


def class_radius(margins: Any, sigma: float, clip: float = 1.0) -> Any:
    """Below which l2 distance an averaged zero-shot classifier stays with its class; 0 if it is not ahead.

    With ``u_l`` of :func:`class_directions`, every draw is scored by ``<u_l, f>``, clipped to ``[-clip, clip]``, and
    class y is ahead of l while the mean score is positive. Clipping is part of the model: towards 0 it is the vote of
    hard labels. The radius is the least over l of ``sigma Phi^-1((m_l + clip) / (2 clip))``.

    >>> round(class_radius([0.4, 0.2], sigma=0.5), 4), round(class_radius([0.2], sigma=0.5, clip=0.25), 4)
    (0.1267, 0.6408)

    :param margins: Mean clipped scores ``m_l`` against every other class, or lower bounds of them, ``[..., L]``.
        Rescaled to ``(m + clip) / (2 clip)``, draws are what
        :func:`~art_multimodal.functional.certificates.confidence.betting_lower` takes.
    :param sigma: Standard deviation of the noise.
    :param clip: Most that a score counts, above 0 and up to 1.
    :return: ``[...]``, a float for a single list.
    :raises InputError: If margins exceed ``clip``, or another number is outside its range.
    """
    from scipy.special import ndtri

    means, sigma, clip = np.asarray(margins, dtype=float), positive("sigma", sigma), positive("clip", clip, most=1.0)
    if means.ndim < 1 or not means.shape[-1] or not (np.abs(means) <= clip * (1 + 1e-12)).all():
        raise InputError(f"Mean scores against other classes must lie from {-clip:g} to {clip:g}, [..., L].")
    radii = sigma * np.maximum(-ndtri(np.clip((clip - means) / (2 * clip), 0, 1)), 0).min(axis=-1)
    return float(radii) if radii.ndim == 0 else radii


def class_directions(prompts: np.ndarray, label: int) -> np.ndarray:
    """Unit vectors from the prompt of every other class to that of one class.

    >>> class_directions(np.eye(3), label=0).shape
    (2, 3)

    :param prompts: Embeddings of the classes, ``[K, D]``.
    :param label: Index of the class.
    :return: ``[K - 1, D]``, in the order of the other classes.
    :raises InputError: If there is no such class, or another one has the same prompt.
    """
    rows = np.asarray(prompts, dtype=float)
    if rows.ndim != 2 or not 0 <= label < len(rows):
        raise InputError(f"There is no class {label} among prompts of shape {rows.shape}.")
    away = rows[label] - np.delete(rows, label, axis=0)
    lengths = np.linalg.norm(away, axis=1, keepdims=True)
    if not lengths.all():
        raise InputError(f"Another class has the prompt of class {label}: no direction tells them apart.")
    return away / lengths
