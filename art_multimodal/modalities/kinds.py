"""The kinds of modalities: images, sequences, tables and what else sensors give. Each is a few lines on the base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from art_multimodal.modalities.modality import Modality, Values
from art_multimodal.modalities.registry import register


@register
class Image(Modality):
    """Pixels ``(C, H, W)``; a point is a pixel with all of its channels.

    >>> from art_multimodal.modalities import image
    >>> isinstance(image("rgb"), Image), isinstance(image("rgb"), Skeleton)
    (True, False)
    """

    kind: ClassVar[str] = "image"
    point: ClassVar[str] = "pixel"
    colour: ClassVar[str] = "#2c6fbb"

    def _hint(self, shape: Sequence[int]) -> str:
        if len(shape) == 3 and shape[2] == self.shape[0]:
            return " The channels seem to come last: use x.transpose(0, 3, 1, 2)."
        return ""


@register
class FeatureSequence(Modality):
    """Time steps ``(T, F)``; a point is a step with all of its features.

    >>> from art_multimodal.modalities import sequence
    >>> type(sequence("audio", steps=10, width=4)) is FeatureSequence
    True
    """

    kind: ClassVar[str] = "sequence"
    point: ClassVar[str] = "time step"
    over_time: ClassVar[bool] = True
    colour: ClassVar[str] = "#b5661f"


@register
class Spectrogram(Modality):
    """Frequencies over time, ``(T, F)`` with time first; a point is one frequency at one time.

    >>> from art_multimodal.modalities import spectrogram
    >>> isinstance(spectrogram("audio", steps=100, frequencies=40), Spectrogram)
    True
    """

    kind: ClassVar[str] = "spectrogram"
    point: ClassVar[str] = "bin"
    over_time: ClassVar[bool] = True
    colour: ClassVar[str] = "#8a4fa3"


@register
class Video(Modality):
    """Frames ``(T, C, H, W)``; a point is a pixel of a frame.

    >>> from art_multimodal.modalities import video
    >>> isinstance(video("clip", frames=16, channels=3, height=8, width=8), Video)
    True
    """

    kind: ClassVar[str] = "video"
    point: ClassVar[str] = "pixel"
    over_time: ClassVar[bool] = True
    colour: ClassVar[str] = "#1f8a8a"


@register
class Skeleton(Modality):
    """Joints in frames, ``(T, J, D)``; a point is a joint in a frame.

    >>> from art_multimodal.modalities import skeleton
    >>> isinstance(skeleton("joint", frames=32, joints=13), Skeleton)
    True
    """

    kind: ClassVar[str] = "skeleton"
    point: ClassVar[str] = "joint"
    over_time: ClassVar[bool] = True
    colour: ClassVar[str] = "#a33f5f"


@register
class PointCloud(Modality):
    """Points in space, ``(P, D)``.

    >>> from art_multimodal.modalities import point_cloud
    >>> isinstance(point_cloud("lidar", points=100), PointCloud)
    True
    """

    kind: ClassVar[str] = "point cloud"
    point: ClassVar[str] = "point"
    colour: ClassVar[str] = "#5a7d2a"


@register
class Table(Modality):
    """Columns ``(D,)`` of numbers; a point is a column.

    >>> [name for name, one in sensors.modalities.items() if isinstance(one, Table)]
    ['fou', 'kar']
    """

    kind: ClassVar[str] = "table"
    point: ClassVar[str] = "column"
    colour: ClassVar[str] = "#3d7a4b"


def image(
    name: str = "image",
    channels: int = 3,
    height: int | None = None,
    width: int | None = None,
    clip_values: tuple[Values, Values] = (0.0, 1.0),
    fill: Values = 0.5,
) -> Image:
    """Describe images of any number of channels.

    >>> depth = image("depth", channels=1, height=8, width=8)
    >>> depth.name, depth.shape, depth.point_axes
    ('depth', (1, 8, 8), (1, 2))

    :param name: Name of the field.
    :param channels: 3 for colours, 1 for depth or heat.
    :param height: In pixels; ``None`` where the model takes any.
    :param width: In pixels; ``None`` where the model takes any.
    :param clip_values: Smallest and largest value.
    :param fill: What a removed pixel becomes: a number, or one for each channel ``(C, 1, 1)``.
    :raises InputError: If these do not fit together.
    """
    return Image(name, (channels, height, width), (1, 2), clip_values, fill=fill)


def sequence(
    name: str,
    steps: int,
    width: int,
    clip_values: tuple[Values, Values] = (-1.0, 1.0),
    fill: Values = 0.0,
    variable: bool = True,
) -> FeatureSequence:
    """Describe a sequence of feature vectors, such as audio features or readings of a sensor.

    >>> from art_multimodal import samples
    >>> gyroscope = sequence("gyroscope", steps=50, width=3)
    >>> some = samples(gyroscope=[np.zeros((50, 3)), np.zeros((20, 3))])
    >>> gyroscope.lengths(some["gyroscope"]).tolist()
    [50, 20]

    :param name: Name of the field.
    :param steps: Largest number of time steps.
    :param width: Features of a time step.
    :param clip_values: Smallest and largest value, numbers or arrays ``(steps, width)`` or ``(width,)``.
    :param fill: What a removed time step becomes.
    :param variable: Whether each sample has a length of its own.
    :raises InputError: If these do not fit together.
    """
    return FeatureSequence(name, (steps, width), (0,), clip_values, variable=variable, fill=fill)


def spectrogram(
    name: str,
    steps: int,
    frequencies: int,
    clip_values: tuple[Values, Values] = (0.0, 1.0),
    fill: Values = 0.0,
    variable: bool = True,
) -> Spectrogram:
    """Describe frequencies over time.

    >>> audio = spectrogram("audio", steps=100, frequencies=40)
    >>> audio.shape, audio.point_axes
    ((100, 40), (0, 1))

    :param name: Name of the field.
    :param steps: Largest number of time steps.
    :param frequencies: Number of frequencies (of mel bands, for example).
    :param clip_values: Smallest and largest value.
    :param fill: What a removed bin becomes: silence.
    :param variable: Whether each sample has a length of its own.
    :raises InputError: If these do not fit together.
    """
    return Spectrogram(name, (steps, frequencies), (0, 1), clip_values, variable=variable, fill=fill)


def video(
    name: str,
    frames: int,
    channels: int,
    height: int,
    width: int,
    clip_values: tuple[Values, Values] = (0.0, 1.0),
    fill: Values = 0.5,
    variable: bool = True,
) -> Video:
    """Describe a video.

    >>> clip = video("clip", frames=16, channels=3, height=32, width=32)
    >>> clip.shape, clip.point_axes
    ((16, 3, 32, 32), (0, 2, 3))

    :param name: Name of the field.
    :param frames: Largest number of frames.
    :param channels: Of a frame.
    :param height: In pixels.
    :param width: In pixels.
    :param clip_values: Smallest and largest value.
    :param fill: What a removed pixel becomes.
    :param variable: Whether each sample has a number of frames of its own.
    :raises InputError: If these do not fit together.
    """
    return Video(name, (frames, channels, height, width), (0, 2, 3), clip_values, variable=variable, fill=fill)


def skeleton(
    name: str,
    frames: int,
    joints: int,
    coordinates: int = 3,
    clip_values: tuple[Values, Values] = (-1.0, 1.0),
    fill: Values = 0.0,
    variable: bool = True,
) -> Skeleton:
    """Describe the joints of a body over time.

    >>> body = skeleton("joint", frames=32, joints=13)
    >>> body.shape, body.point_axes
    ((32, 13, 3), (0, 1))

    :param name: Name of the field.
    :param frames: Largest number of frames.
    :param joints: Number of joints.
    :param coordinates: Of a joint.
    :param clip_values: Smallest and largest value.
    :param fill: What a removed joint becomes.
    :param variable: Whether each sample has a number of frames of its own.
    :raises InputError: If these do not fit together.
    """
    return Skeleton(name, (frames, joints, coordinates), (0, 1), clip_values, variable=variable, fill=fill)


def point_cloud(
    name: str,
    points: int,
    coordinates: int = 3,
    clip_values: tuple[Values, Values] = (-1.0, 1.0),
    fill: Values = 0.0,
    variable: bool = True,
) -> PointCloud:
    """Describe points in space, as a lidar gives them.

    >>> cloud = point_cloud("lidar", points=100)
    >>> cloud.shape, cloud.variable
    ((100, 3), True)

    :param name: Name of the field.
    :param points: Largest number of points.
    :param coordinates: Of a point, further features included.
    :param clip_values: Smallest and largest value.
    :param fill: What a removed point becomes.
    :param variable: Whether each sample has a number of points of its own.
    :raises InputError: If these do not fit together.
    """
    return PointCloud(name, (points, coordinates), (0,), clip_values, variable=variable, fill=fill)


def table(
    name: str,
    width: int,
    clip_values: tuple[Values, Values] = (0.0, 1.0),
    fill: Values = 0.0,
) -> Table:
    """Describe a row of a table.

    >>> blood = table("blood", 2, clip_values=(0.0, np.array([1.0, 90.0])), fill=np.array([0.5, 37.0]))
    >>> blood.remove(np.ones((1, 2), np.float32), np.array([[False, True]])).tolist()
    [[1.0, 37.0]]

    :param name: Name of the field.
    :param width: Number of columns.
    :param clip_values: Smallest and largest value, numbers or one for each column ``(width,)``.
    :param fill: What a removed column becomes, a number or one for each column: its mean, for example.
    :raises InputError: If these do not fit together.
    """
    return Table(name, (width,), (0,), clip_values, fill=np.asarray(fill, dtype=np.float32) if np.ndim(fill) else fill)
