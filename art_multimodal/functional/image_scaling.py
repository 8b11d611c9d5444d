"""What can be hidden from whoever looks at a large picture, and is seen by whoever resizes it: the least change."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

#: Matrices of a resize, ``[h, H]`` and ``[w, W]``: a picture becomes ``down @ picture @ across.T``.
Matrices = tuple[Tensor, Tensor]


class Hidden(NamedTuple):
    """Pictures with others hidden in them.

    :param images: Shape ``[N, C, H, W]``, float64, in [0, 1].
    :param residual: Of each the largest difference between the resized one and what was to be seen, ``[N]``.
    :param iterations: How many were needed to stay in [0, 1]; 0 where the closed form does.
    """

    images: Tensor
    residual: Tensor
    iterations: int


def seen(images: Tensor, matrices: Matrices) -> Tensor:
    """Pictures ``[..., H, W]`` after a resize: ``[..., h, w]``.

    >>> from art_multimodal.functional.resizing import RESIZERS
    >>> down = RESIZERS["opencv_nearest"].matrix(4, 2)
    >>> seen(torch.arange(16.0, dtype=torch.float64).reshape(4, 4), (down, down)).tolist()
    [[0.0, 2.0], [8.0, 10.0]]
    """
    down, across = matrices
    return down @ images @ across.T


def least_change(difference: Tensor, matrices: Matrices) -> Tensor:
    """The change of least Euclidean norm whose resize is a difference.

    ``pinv(down) @ difference @ pinv(across).T``: the Moore-Penrose solution, as the pseudo-inverse of a Kronecker
    product is that of its factors. Where no change gives the difference (a resize that enlarges), it comes closest.

    >>> from art_multimodal.functional.resizing import RESIZERS
    >>> down = RESIZERS["opencv_nearest"].matrix(4, 2)
    >>> change = least_change(torch.ones(2, 2, dtype=torch.float64), (down, down))
    >>> change.shape, int((change != 0).sum())
    (torch.Size([4, 4]), 4)

    :param difference: Shape ``[..., h, w]``.
    :param matrices: Of the resize, float64.
    :return: Shape ``[..., H, W]``, float64.
    """
    down, across = map(torch.linalg.pinv, matrices)
    return down @ difference.to(down) @ across.T


def price(matrices: Matrices) -> float:
    """How large a change must be over the large picture, for each unit of difference in the small one.

    Root mean squares both, of differences that are white noise: ``|pinv(down)| * |pinv(across)| / sqrt(H * W)`` in
    Frobenius norms. About 1 where every pixel counts as much: nothing can be hidden. Far below 1 where few count.

    >>> from art_multimodal.functional.resizing import RESIZERS
    >>> down = RESIZERS["opencv_nearest"].matrix(32, 8)
    >>> round(price((down, down)), 3)
    0.25
    """
    down, across = matrices
    norms = [float(torch.linalg.matrix_norm(torch.linalg.pinv(one))) for one in (down, across)]
    return norms[0] * norms[1] / (down.shape[1] * across.shape[1]) ** 0.5


def share_seen(matrices: Matrices) -> float:
    """The share of the pixels of the large picture that the small one depends on.

    >>> from art_multimodal.functional.resizing import RESIZERS
    >>> [share_seen((RESIZERS[name].matrix(32, 8),) * 2) for name in ("opencv_nearest", "bicubic")]
    [0.0625, 1.0]
    """
    down, across = ((one != 0).any(dim=0).double().mean() for one in matrices)
    return float(down * across)


def hide(
    images: Tensor, targets: Tensor, matrices: Matrices, max_iter: int = 2000, tolerance: float = 0.1 / 255
) -> Hidden:
    """Change pictures as little as can be, so that others are seen after a resize.

    The change has the least Euclidean norm of all that keep to [0, 1] and give the targets. Without the box it is
    :func:`least_change`. Where that leaves the box, the dual of the quadratic programme is climbed, whose gradient is
    what is still missing after the resize, preconditioned by the pseudo-inverses and accelerated (Nesterov, restarted
    where it overshoots); each step is of length 1, since clipping never lengthens a difference. At its maximum the
    conditions of Karush, Kuhn and Tucker hold: what comes out is ``clip(images + down.T @ multipliers @ across)``.

    | Paper link: https://www.usenix.org/conference/usenixsecurity19/presentation/xiao (image-scaling attacks)

    >>> from art_multimodal.functional.resizing import RESIZERS
    >>> down = RESIZERS["opencv_linear"].matrix(32, 8)
    >>> hidden = hide(torch.full((1, 3, 32, 32), 0.5), torch.full((1, 3, 8, 8), 0.75), (down, down))
    >>> isinstance(hidden, Hidden), hidden.images.shape, bool(hidden.residual.max() < 1e-3)
    (True, torch.Size([1, 3, 32, 32]), True)

    :param images: Shape ``[N, C, H, W]`` in [0, 1].
    :param targets: Shape ``[N, C, h, w]``, what is to be seen, in [0, 1].
    :param matrices: Of the resize, float64.
    :param max_iter: Most steps towards the box.
    :param tolerance: Stop where no resized pixel is off by more. Where some target cannot be reached from within
        [0, 1] it never is, and the residual says by how much.
    """
    down, across = matrices
    down_inverse, across_inverse = torch.linalg.pinv(down), torch.linalg.pinv(across)
    clean, wanted = images.to(down), targets.to(down)

    def missing(found: Tensor) -> Tensor:
        return wanted - seen(found, matrices)

    def correction(found: Tensor) -> Tensor:
        return down_inverse @ missing(found) @ across_inverse.T

    unclipped = clean + correction(clean)
    ahead, momentum, iterations = unclipped, 1.0, 0
    best, least = unclipped.clamp(0, 1), missing(unclipped.clamp(0, 1)).abs().flatten(1).amax(dim=1)
    while iterations < max_iter and not bool((least <= tolerance).all()):
        iterations += 1
        step = correction(ahead.clamp(0, 1))
        following = ahead + step
        # Where the step points against the momentum, the momentum has done its work.
        uphill = bool((step * (following - unclipped)).sum() >= 0)
        faster = (1 + (1 + 4 * momentum**2) ** 0.5) / 2 if uphill else 1.0
        ahead = following + ((momentum - 1) / faster if uphill else 0.0) * (following - unclipped)
        unclipped, momentum = following, faster
        found = unclipped.clamp(0, 1)
        residual = missing(found).abs().flatten(1).amax(dim=1)
        closer = (residual < least)[:, None, None, None]
        best, least = torch.where(closer, found, best), torch.minimum(residual, least)
    return Hidden(best, least, iterations)
