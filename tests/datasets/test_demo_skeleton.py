"""Generated figures: rigid limbs, values in range, and the same each time."""

from __future__ import annotations

import numpy as np
import pytest

from art_multimodal import InputError
from art_multimodal.datasets import open_data
from art_multimodal.demo import skeleton
from art_multimodal.demo.skeleton import ACTIONS, FRAMES, JOINTS, PARENTS, draw
from art_multimodal.demo.skeleton_data import SPLITS, SkeletonData


@pytest.fixture(scope="module")
def joints() -> np.ndarray:
    """Figures of all actions."""
    return draw(np.arange(300) % len(ACTIONS), np.random.default_rng(5)).astype(np.float64)


def test_joints_hang_together_as_a_tree() -> None:
    assert len(PARENTS) == len(JOINTS) == 13 and PARENTS[0] == 0
    for joint, parent in enumerate(PARENTS[1:], start=1):
        assert parent < joint
    sides = [(JOINTS.index(name), JOINTS.index(name.replace("left", "right"))) for name in JOINTS if "left" in name]
    mirrored = dict(sides)
    for left, right in sides:
        assert mirrored.get(PARENTS[left], PARENTS[left]) == PARENTS[right]


def test_bones_keep_their_lengths(joints) -> None:
    bones = np.linalg.norm(joints - joints[:, :, list(PARENTS)], axis=3)
    assert (bones[:, :, 0] == 0).all() and bones[:, :, 1:].min() > 0.05
    np.testing.assert_allclose(bones, np.broadcast_to(bones[:, :1], bones.shape), atol=1e-6)
    # Left and right limbs of a figure are as long as each other, and those of two figures are not.
    for name in ("elbow", "hand", "knee", "foot"):
        left, right = (bones[:, 0, JOINTS.index(f"{side} {name}")] for side in ("left", "right"))
        np.testing.assert_allclose(left, right, atol=1e-6)
        assert left.std() > 0.005


def test_all_fits_whatever_is_drawn(joints) -> None:
    (modality,) = SkeletonData().modalities.values()
    assert modality.shape == (FRAMES, 13, 3) and modality.kind == "skeleton" and not modality.variable
    assert np.abs(joints).max() < 1
    # An arm stretched up, and a leg down: no pose reaches farther, however long the limbs are drawn.
    upwards = np.hypot(0.34 + 2 * 0.17, 0.11) * 1.15 + 0.06 * 1.15
    downwards = (2 * 0.28 + 0.06) * 1.15
    assert max(upwards, downwards) < 1


def test_squatting_the_feet_stay_on_the_ground(monkeypatch) -> None:
    monkeypatch.setattr(skeleton, "_camera", lambda yaw, tilt: np.broadcast_to(np.eye(3), (len(yaw), 3, 3)))
    found = draw(np.full(50, ACTIONS.index("squat")), np.random.default_rng(0)).astype(np.float64)[..., 1]
    feet = found[:, :, [JOINTS.index("left foot"), JOINTS.index("right foot")]]
    np.testing.assert_allclose(feet, np.broadcast_to(feet[:, :1], feet.shape), atol=1e-6)
    assert np.ptp(found[:, :, JOINTS.index("head")], axis=1).min() > 0.05


@pytest.mark.parametrize("split", SPLITS)
def test_splits_repeat_and_their_labels_take_turns(split: str) -> None:
    data = SkeletonData(split)
    assert np.array_equal(data.samples()["joint"], SkeletonData(split).samples()["joint"])
    assert len(data) == SPLITS[split][1] and np.ptp(np.bincount(data.labels)) == 0
    (modality,) = data.modalities.values()
    assert modality.check(data.samples()["joint"]) is not None
    few = data.samples(np.array([1]))
    few["joint"] = 0
    assert data.samples(slice(1, 2))["joint"].any()


def test_actions_can_be_told_from_figures_that_were_not_seen() -> None:
    train, test = (SkeletonData(split) for split in ("train", "test"))
    one, other = (data.samples()["joint"].reshape(len(data), -1).astype(np.float64) for data in (train, test))
    distances = (other**2).sum(axis=1)[:, None] + (one**2).sum(axis=1) - 2 * other @ one.T
    assert (train.labels[distances.argmin(axis=1)] == test.labels).mean() > 0.9


def test_names() -> None:
    assert isinstance(open_data("demo:skeleton"), SkeletonData)
    with pytest.raises(InputError, match="split of demo:skeleton"):
        SkeletonData("x")
