"""Modalities as values: a sample has a field for each, and everything else asks the modality what the field is."""

from art_multimodal.modalities.kinds import (
    FeatureSequence,
    Image,
    PointCloud,
    Skeleton,
    Spectrogram,
    Table,
    Video,
    image,
    point_cloud,
    sequence,
    skeleton,
    spectrogram,
    table,
    video,
)
from art_multimodal.modalities.modality import Modality
from art_multimodal.modalities.registry import KINDS, register
from art_multimodal.modalities.text import Text, text

__all__ = [
    "KINDS",
    "FeatureSequence",
    "Image",
    "Modality",
    "PointCloud",
    "Skeleton",
    "Spectrogram",
    "Table",
    "Text",
    "Video",
    "image",
    "point_cloud",
    "register",
    "sequence",
    "skeleton",
    "spectrogram",
    "table",
    "text",
    "video",
]
