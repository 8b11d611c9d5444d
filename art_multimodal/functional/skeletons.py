"""Skeletons ``[N, T, J, D]``, joints in frames: their bones, their motion, and how they are varied in training.

Bones and motion are linear images of the joints: whoever moves a joint by ``eps`` moves them by at most ``2 eps``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from art_multimodal.errors import InputError

#: Which share of the joints is hidden or turned: 15 of 25.
_CHANGED_JOINTS = 0.6


def bones(joints: Tensor, parents: Sequence[int]) -> Tensor:
    """Each joint relative to its parent, ``b_v = x_v - x_parent(v)``; zero for a root, which is its own parent.

    Summed along the chain from a root, bones are the joint relative to that root.

    >>> hip_knee_foot = torch.tensor([[0.0, 0.0], [0.0, -1.0], [1.0, -2.0]])
    >>> bones(hip_knee_foot, parents=(0, 0, 1)).tolist()
    [[0.0, 0.0], [0.0, -1.0], [1.0, -1.0]]

    :param joints: Shape ``[..., J, D]``.
    :param parents: Of each joint the index of its parent; see :func:`check_parents`.
    """
    return joints - joints[..., list(parents), :]


def motion(joints: Tensor, frames: Tensor | None = None) -> Tensor:
    """Each joint's way to the next frame, ``m_t = x_(t+1) - x_t``; zero in the last frame.

    Summed over the frames before, it is the joint relative to frame 0.

    >>> joint = torch.tensor([0.0, 1.0, 4.0]).reshape(1, 3, 1, 1)
    >>> motion(joint).flatten().tolist()
    [1.0, 3.0, 0.0]

    :param joints: Shape ``[N, T, J, D]``.
    :param frames: Which frames there are, booleans ``[N, T]``, from the first on; without it all. There is no way into
        a frame that is not there.
    """
    ways = joints[:, 1:] - joints[:, :-1]
    if frames is not None:
        ways = torch.where(frames[:, 1:, None, None], ways, 0.0)
    return torch.cat([ways, torch.zeros_like(joints[:, :1])], dim=1)


def check_parents(parents: Sequence[int], joints: int) -> tuple[int, ...]:
    """Return the parents of joints, checked.

    >>> check_parents((0, 0, 1), joints=3)
    (0, 0, 1)
    >>> check_parents((1, 2, 0), joints=3)
    Traceback (most recent call last):
        ...
    art_multimodal.errors.InputError: The parents of joint 0 run in a circle and reach no root. A root is its ...

    :param parents: Of each joint the index of its parent; a root is its own. Several roots are several bodies.
    :param joints: How many there are.
    :raises InputError: If they are not as many, name other joints, or run in a circle.
    """
    found = tuple(int(parent) for parent in parents)
    if len(found) != joints:
        raise InputError(f"parents must name the parent of each of the {joints} joints; there are {len(found)}.")
    if wrong := [parent for parent in found if not 0 <= parent < joints]:
        raise InputError(f"The parent of a joint is a joint from 0 to {joints - 1}, not {wrong[0]}. A root is its own.")
    # Each joint is passed once: a file may name very many.
    reach_a_root = {joint for joint, parent in enumerate(found) if joint == parent}
    for start in range(joints):
        way: dict[int, None] = {}
        at = start
        while at not in reach_a_root and at not in way:
            way[at] = None
            at = found[at]
        if at in way:
            raise InputError(
                f"The parents of joint {start} run in a circle and reach no root. A root is its own parent."
            )
        reach_a_root.update(way)
    return found


# --- variations


def cropped(
    joints: Tensor,
    generator: Generator,
    shares: tuple[float, float] = (0.1, 1.0),
    lengths: Tensor | None = None,
) -> Tensor:
    """A stretch of each sample, drawn, slowed down to as many frames as there were: ``[N, T, J, D]``.

    Frames in between are interpolated linearly, and of the stretch the first and the last one are kept. All frames of
    the result are there.

    >>> cropped(torch.zeros(2, 16, 13, 3), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 16, 13, 3])

    :param joints: Shape ``[N, T, J, D]``.
    :param generator: Draws for each sample how long the stretch is and where it begins; on the CPU.
    :param shares: Smallest and largest share of the frames in a stretch, which has at least one.
    :param lengths: How many frames each sample has, ``[N]``; without it all. A sample of none is zero.
    :raises InputError: If the shares are not between 0 and 1, in order.
    """
    low, high = shares
    if not 0 < low <= high <= 1:
        raise InputError(f"shares must be greater than 0, in order, and at most 1, not {low} and {high}.")
    count, steps = joints.shape[:2]
    drawn = torch.rand(2, count, generator=generator, dtype=torch.float64)
    of = torch.full((count,), steps) if lengths is None else lengths.cpu()
    long = (of * (low + (high - low) * drawn[0])).round().clamp(min=1)
    first = (drawn[1] * (of - long + 1)).floor().clamp(min=0)
    place = first[:, None] + (long[:, None] - 1) * torch.linspace(0, 1, steps, dtype=torch.float64)
    return _between(joints, place.to(joints.device))


def pose_varied(joints: Tensor, generator: Generator) -> Tensor:
    """Each sample sheared, or some of its joints hidden or turned: ``[N, T, J, D]``.

    Half of the samples are sheared: all coordinates are multiplied by a matrix with a diagonal of 1 and other entries
    from U(-1, 1). Of the others 60 % of the joints change, 15 of 25, in all frames: they become zero, or, half the
    time, are multiplied by a matrix with entries from U(-1, 1).

    >>> pose_varied(torch.zeros(2, 16, 13, 3), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 16, 13, 3])

    :param joints: Shape ``[N, T, J, D]``.
    :param generator: Draws for each sample; on the CPU.
    """
    count, _, number, width = joints.shape
    kind = torch.rand(count, 2, generator=generator) < 0.5
    matrices = 2 * torch.rand(count, width, width, generator=generator, dtype=torch.float64) - 1
    order = torch.rand(count, number, generator=generator).argsort(dim=1).argsort(dim=1)
    changed = (order < round(_CHANGED_JOINTS * number)).to(joints.device)
    kind, matrices = kind.to(joints.device), matrices.to(joints)
    one = torch.eye(width, dtype=torch.bool, device=joints.device)
    sheared = _multiplied(joints, torch.where(one, 1.0, matrices))
    turned = torch.where(kind[:, 1, None, None, None], _multiplied(joints, matrices), 0.0)
    partly = torch.where(changed[:, None, :, None], turned, joints)
    return torch.where(kind[:, 0, None, None, None], sheared, partly)


def varied(joints: Tensor, generator: Generator, lengths: Tensor | None = None) -> Tensor:
    """A variation of each sample as UmURL draws them: a stretch of it, and another pose (arXiv:2311.03106).

    >>> varied(torch.zeros(2, 16, 13, 3), torch.Generator().manual_seed(0), lengths=torch.tensor([16, 9])).shape
    torch.Size([2, 16, 13, 3])

    :param joints: Shape ``[N, T, J, D]``.
    :param generator: Draws for each sample; on the CPU.
    :param lengths: How many frames each sample has, ``[N]``; without it all. Of the result all are there.
    """
    return pose_varied(cropped(joints, generator, lengths=lengths), generator)


def _multiplied(joints: Tensor, matrices: Tensor) -> Tensor:
    """Coordinates times a matrix for each sample, ``[N, D, D]``."""
    return torch.einsum("ntjd,nde->ntje", joints, matrices)


def _between(joints: Tensor, place: Tensor) -> Tensor:
    """Frames at places ``[N, T]`` between frames, interpolated linearly."""
    rows = torch.arange(len(joints), device=joints.device)[:, None]
    before = place.floor().long()
    after = place.ceil().long()
    share = (place - before).to(joints.dtype)[:, :, None, None]
    return joints[rows, before] * (1 - share) + joints[rows, after] * share
