"""``demo:skeleton``: generated figures of 13 joints that do one of six things, seen by a camera somewhere around."""

from __future__ import annotations

import numpy as np

from art_multimodal.modalities import Modality, skeleton

FRAMES = 32
ACTIONS = ("walk", "wave", "squat", "jumping jack", "punch", "kick")
JOINTS = (
    "pelvis",
    "neck",
    "head",
    "left shoulder",
    "left elbow",
    "left hand",
    "right shoulder",
    "right elbow",
    "right hand",
    "left knee",
    "left foot",
    "right knee",
    "right foot",
)
#: Of each joint the one that it hangs from; the pelvis, the root, is its own: ``x - x[..., PARENTS, :]`` are the bones.
PARENTS = (0, 0, 1, 1, 3, 4, 1, 6, 7, 0, 9, 0, 11)

#: Lengths of the bones, in shares of the largest figure that fits: torso, neck, half the shoulders, arm, thigh and leg.
_TORSO, _NECK, _SHOULDER, _UPPER, _LOWER, _THIGH, _SHANK = 0.34, 0.14, 0.11, 0.17, 0.17, 0.28, 0.28
#: How far legs are spread, in radians.
_STANCE = 0.12
#: Angles of a pose: of each arm and leg forwards and sideways, and how far elbow or knee is bent; and the lean.
_LIMBS = ("left arm", "right arm", "left leg", "right leg")


def modality() -> Modality:
    """What a sample consists of: ``joint``, 32 frames of 13 joints in three coordinates, all in [-1, 1].

    The origin is where the pelvis stands before the figure moves, y points up, and z to the camera.
    """
    return skeleton("joint", FRAMES, len(JOINTS), variable=False)


def draw(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw figures, ``float32`` ``(N, FRAMES, 13, 3)``, which differ in limbs, speed, phase, vigour and camera.

    :param labels: Indices into :data:`ACTIONS`, ``(N,)``.
    """
    count = len(labels)
    lengths = rng.uniform(0.85, 1.15, (count, 7))
    cycles = rng.uniform(1.0, 2.5, (count, 1))
    phase = rng.uniform(0, 2 * np.pi, (count, 1))
    vigour = rng.uniform(0.8, 1.2, (count, 1))
    mirrored = rng.random(count) < 0.5
    yaw, tilt = rng.uniform(-np.pi, np.pi, count), rng.uniform(-0.25, 0.25, count)
    time = phase + 2 * np.pi * cycles * np.arange(FRAMES) / FRAMES
    angles = np.zeros((count, FRAMES, len(_LIMBS), 3))
    lift = np.zeros((count, FRAMES))
    for label, action in enumerate(ACTIONS):
        rows = np.flatnonzero(labels == label)
        angles[rows], lift[rows] = _pose(action, time[rows], vigour[rows])
    lift *= (lengths[:, 5:] @ [_THIGH, _SHANK] / (_THIGH + _SHANK))[:, None]
    angles[mirrored] = angles[mirrored][:, :, [1, 0, 3, 2]]
    joints = _joints(angles, lift, lengths)
    return (joints @ _camera(yaw, tilt)[:, None]).astype(np.float32)


def _pose(action: str, time: np.ndarray, vigour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angles of the limbs (forwards, sideways, bent) in radians, ``(N, T, 4, 3)``, and the height of the pelvis."""
    swing, up = vigour * np.sin(time), vigour * (1 - np.cos(time)) / 2
    angles = np.zeros((*time.shape, len(_LIMBS), 3))
    angles[:, :, 2:, 1] = _STANCE
    left_arm, right_arm, left_leg, right_leg = (angles[:, :, limb] for limb in range(len(_LIMBS)))
    lift = np.zeros_like(time)
    if action == "walk":
        left_arm[..., 0], right_arm[..., 0] = -0.5 * swing, 0.5 * swing
        left_leg[..., 0], right_leg[..., 0] = 0.5 * swing, -0.5 * swing
        left_leg[..., 2], right_leg[..., 2] = 0.4 * (vigour - swing), 0.4 * (vigour + swing)
        lift = 0.01 * np.cos(2 * time)
    elif action == "wave":
        left_arm[..., 1], left_arm[..., 2] = 2.4 + 0.3 * swing, 0.5 + 0.5 * swing
    elif action == "squat":
        for leg in (left_leg, right_leg):
            leg[..., 0], leg[..., 2] = 1.0 * up, 2.0 * up
        left_arm[..., 0] = right_arm[..., 0] = 1.3 * up
        # The feet stay on the ground, and the pelvis comes down.
        lift = (_THIGH + _SHANK) * np.cos(_STANCE) * (np.cos(1.0 * up) - 1)
    elif action == "jumping jack":
        left_arm[..., 1] = right_arm[..., 1] = 0.2 + 2.1 * up
        left_leg[..., 1] = right_leg[..., 1] = _STANCE + 0.45 * up
        lift = 0.06 * np.sin(time) ** 2
    elif action == "punch":
        left_arm[..., 0], left_arm[..., 2] = 0.4 + 1.1 * up, 1.8 - 1.4 * up
        right_arm[..., 0], right_arm[..., 2] = 0.6, 1.9
    else:
        left_leg[..., 0], left_leg[..., 2] = 1.3 * up - 0.2, 0.7 * (1.2 - up)
        left_arm[..., 0], right_arm[..., 0] = -0.4 * up, 0.4 * up
    return angles, lift


def _joints(angles: np.ndarray, lift: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Places of the joints ``(N, T, 13, 3)``, from the pelvis outwards; x is to the figure's left, z forwards."""
    torso, neck, shoulder, upper, lower, thigh, shank = (
        lengths * [_TORSO, _NECK, _SHOULDER, _UPPER, _LOWER, _THIGH, _SHANK]
    ).T[:, :, None, None]
    up, left = np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0])
    pelvis = lift[..., None] * up
    top = pelvis + torso * up
    found = [pelvis, top, top + neck * up]
    for side, limb in ((1, 0), (-1, 1)):
        start = top + side * shoulder * left
        middle = start + upper * _hanging(angles[:, :, limb], side, 0)
        found += [start, middle, middle + lower * _hanging(angles[:, :, limb], side, 1)]
    for side, limb in ((1, 2), (-1, 3)):
        middle = pelvis + thigh * _hanging(angles[:, :, limb], side, 0)
        found += [middle, middle + shank * _hanging(angles[:, :, limb], side, -1)]
    return np.stack(found, axis=2)


def _hanging(angles: np.ndarray, side: int, bent: int) -> np.ndarray:
    """Direction of a part of a limb ``(N, T, 3)``, which hangs down where all angles are 0.

    :param angles: Forwards, sideways, bent; ``(N, T, 3)``.
    :param side: 1 for the left, -1 for the right: sideways is outwards.
    :param bent: Whether the bend counts forwards (1, the forearm), backwards (-1, the shank), or not (0).
    """
    forwards, sideways = angles[..., 0] + bent * angles[..., 2], angles[..., 1]
    return np.stack(
        [side * np.sin(sideways), -np.cos(sideways) * np.cos(forwards), np.cos(sideways) * np.sin(forwards)], axis=-1
    )


def _camera(yaw: np.ndarray, tilt: np.ndarray) -> np.ndarray:
    """Rotations ``(N, 3, 3)`` that are multiplied from the right: about the vertical, then up or down."""
    zero, one = np.zeros_like(yaw), np.ones_like(yaw)
    about = np.array(
        [[np.cos(yaw), zero, -np.sin(yaw)], [zero, one, zero], [np.sin(yaw), zero, np.cos(yaw)]]
    ).transpose(2, 0, 1)
    down = np.array(
        [[one, zero, zero], [zero, np.cos(tilt), np.sin(tilt)], [zero, -np.sin(tilt), np.cos(tilt)]]
    ).transpose(2, 0, 1)
    return about @ down
