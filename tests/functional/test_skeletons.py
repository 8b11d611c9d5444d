"""Views and variations of skeletons, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from art_multimodal.errors import InputError
from art_multimodal.functional.fusion_objectives import spread, unified_stream
from art_multimodal.functional.skeletons import bones, check_parents, cropped, motion, pose_varied, varied

#: A root, a chain of three, two arms on its end; and a second body of two joints.
PARENTS = (0, 0, 1, 2, 2, 5, 5)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- views


def test_bones_along_a_chain_are_the_joint_relative_to_its_root() -> None:
    joints = drawn(2, 4, 7, 3)
    found = bones(joints, PARENTS)
    roots = {joint: 5 if joint > 4 else 0 for joint in range(7)}
    for joint in range(7):
        at, total = joint, torch.zeros(2, 4, 3, dtype=torch.float64)
        while True:
            total = total + found[:, :, at]
            if at == PARENTS[at]:
                break
            at = PARENTS[at]
        torch.testing.assert_close(total, joints[:, :, joint] - joints[:, :, roots[joint]], atol=1e-12, rtol=0)
    assert not found[:, :, [0, 5]].any()


def test_motion_summed_up_is_the_joint_relative_to_frame_0() -> None:
    joints = drawn(3, 5, 2, 3)
    found = motion(joints)
    assert not found[:, -1].any()
    torch.testing.assert_close(found.cumsum(dim=1)[:, :-1], joints[:, 1:] - joints[:, :1], atol=1e-12, rtol=0)
    # Behind its length a skeleton is zero, and that is no motion.
    frames = torch.arange(5) < torch.tensor([5, 3, 0])[:, None]
    cut = torch.where(frames[:, :, None, None], joints, 0.0)
    moved = motion(cut, frames)
    assert not moved[1, 2:].any() and not moved[2].any()
    torch.testing.assert_close(moved[1, :2], found[1, :2])
    torch.testing.assert_close(moved[0], found[0])


def test_views_move_twice_as_far_at_most() -> None:
    change = drawn(4, 6, 7, 3).sign() * 0.1
    for image in (bones(change, PARENTS), motion(change)):
        assert image.abs().max() == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("parents", "said"),
    [
        ((0, 0), "each of the 3 joints; there are 2"),
        ((0, 0, 3), "from 0 to 2, not 3"),
        ((0, -1, 0), "not -1"),
        ((1, 0, 2), "joint 0 run in a circle"),
        ((0, 2, 1), "joint 1 run in a circle"),
    ],
)
def test_parents_that_are_none(parents: tuple, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_parents(parents, 3)
    assert check_parents([0, 0, 1], 3) == (0, 0, 1)
    # A chain, from its end: as far from the root as can be.
    chain = (*range(1, 50), 49)
    assert check_parents(chain, 50) == chain
    # A file may name very many, and would be looked at for hours if each way were gone to its end.
    long = (*range(1, 200_000), 199_999)
    assert check_parents(long, 200_000) == long


# --- variations


def test_a_stretch_is_slowed_down_to_as_many_frames() -> None:
    """Frames that lie on a line stay on one, from the first to the last of the stretch."""
    steps, count = 40, 300
    joints = torch.arange(steps, dtype=torch.float64)[None, :, None, None].expand(count, -1, 2, 3)
    found = cropped(joints, generator())
    first, last = found[:, 0, 0, 0], found[:, -1, 0, 0]
    assert (first == first.round()).all() and (last == last.round()).all()
    even = first[:, None] + (last - first)[:, None] * torch.linspace(0, 1, steps, dtype=torch.float64)
    torch.testing.assert_close(found, even[:, :, None, None].expand_as(found), atol=1e-9, rtol=0)
    long = last - first + 1
    assert long.min() >= 4 and long.max() <= 40 and first.min() >= 0 and last.max() <= 39
    # Uniform: of a uniform share in [.1, 1] the mean is .55, with a standard error of .26 / sqrt(300).
    assert abs(float(long.mean()) / steps - 0.55) < 5 * 0.26 / math.sqrt(count)
    torch.testing.assert_close(cropped(joints, generator(), (1.0, 1.0)), joints)
    assert torch.equal(cropped(joints, generator(3)), cropped(joints, generator(3)))


def test_a_stretch_lies_within_a_length() -> None:
    joints = torch.arange(10.0)[None, :, None, None].expand(50, -1, 1, 1).clone()
    lengths = torch.arange(50) % 5
    joints[torch.arange(10) >= lengths[:, None]] = 0
    found = cropped(joints, generator(), lengths=lengths)[:, :, 0, 0]
    assert (found.max(dim=1).values <= (lengths - 1).clamp(min=0)).all() and (found >= 0).all()
    assert (found[lengths == 4].max(dim=1).values > 0).any()


@pytest.mark.parametrize("shares", [(0.0, 1.0), (0.5, 0.4), (0.5, 1.1)])
def test_shares_that_are_none(shares: tuple) -> None:
    with pytest.raises(InputError, match="shares must be"):
        cropped(drawn(1, 3, 2, 3), generator(), shares)


def test_poses_are_sheared_hidden_or_turned() -> None:
    count = 400
    joints = drawn(count, 2, 25, 3) + 3
    found = pose_varied(joints, generator())
    same = (found == joints).all(dim=3).all(dim=1)
    hidden = (found == 0).all(dim=3).all(dim=1)
    kinds = {"sheared": ~same.any(dim=1), "hidden": hidden.any(dim=1)}
    kinds["turned"] = ~kinds["sheared"] & ~kinds["hidden"]
    for name, share in (("sheared", 0.5), ("hidden", 0.25), ("turned", 0.25)):
        assert abs(float(kinds[name].double().mean()) - share) < 5 * math.sqrt(share * (1 - share) / count), name
    for rows in (kinds["hidden"], kinds["turned"]):
        assert (same[rows].sum(dim=1) == 10).all()
    assert (hidden[kinds["hidden"]].sum(dim=1) == 15).all()
    # One matrix for each sample: what changed is a linear image of what was.
    for name in ("sheared", "turned"):
        for row in torch.nonzero(kinds[name])[:20, 0]:
            changed = ~same[row]
            before, after = (of[row][:, changed].reshape(-1, 3) for of in (joints, found))
            matrix = torch.linalg.lstsq(before, after).solution
            torch.testing.assert_close(before @ matrix, after, atol=1e-9, rtol=0)
            assert matrix.abs().max() <= 1 + 1e-9
            if name == "sheared":
                torch.testing.assert_close(matrix.diagonal(), torch.ones(3, dtype=torch.float64), atol=1e-9, rtol=0)


def test_a_variation_is_both() -> None:
    joints = drawn(6, 8, 7, 3)
    made = generator(2)
    expected = pose_varied(cropped(joints, made), made)
    assert torch.equal(varied(joints, generator(2)), expected)
    assert varied(joints.float(), generator(2)).dtype == torch.float32


# --- the objective


def test_a_spread_of_nothing_and_of_enough() -> None:
    """VC(0) = 5 (1 - 0.01), and 0 where coordinates are independent and vary by more than 1."""
    assert spread(torch.zeros(4, 3, dtype=torch.float64)).item() == pytest.approx(4.95)
    white = 2 * torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    assert spread(white).item() == 0
    assert spread(white + 7).item() == pytest.approx(0, abs=1e-12)


def test_what_one_stream_minimises_by_hand() -> None:
    alone = {"joint": drawn(6, 4), "bone": drawn(6, 4, seed=1), "motion": drawn(6, 4, seed=2)}
    fused = {name: drawn(6, 4, seed=3 + number) for number, name in enumerate(alone)}
    centre = sum(alone.values()) / 3

    def vc(z: Tensor) -> float:
        total = 0.0
        covariance = torch.cov(z.T)
        for i in range(4):
            total += 5 * max(0.0, 1 - math.sqrt(float(covariance[i, i]) + 1e-4)) / 4
            total += sum(float(covariance[i, j]) ** 2 for j in range(4) if j != i) / 4
        return total

    expected = 0.0
    for name, z in alone.items():
        expected += 5 * float(((z - fused[name]) ** 2).mean() + ((z - centre) ** 2).mean()) + vc(z) + vc(fused[name])
    assert unified_stream(alone, fused).item() == pytest.approx(expected, abs=1e-10)
    # Where all say the same, the spread alone is left.
    same = dict.fromkeys(alone, alone["joint"])
    assert unified_stream(same, same).item() == pytest.approx(6 * spread(alone["joint"]).item())
    # By name, in any order.
    turned = {name: fused[name] for name in reversed(fused)}
    assert unified_stream(alone, turned).item() == pytest.approx(expected, abs=1e-10)
