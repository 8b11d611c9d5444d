"""Where samples come from: labelled or captioned images by name."""

from art_multimodal.datasets.arrays import CaptionedArrays, LabelledArrays
from art_multimodal.datasets.captioned import CaptionedImages
from art_multimodal.datasets.loading import DATA_SOURCES, open_captioned, open_data
from art_multimodal.datasets.photos import UnreadableSample
from art_multimodal.datasets.source import LabelledImages, Sample

__all__ = [
    "DATA_SOURCES",
    "CaptionedArrays",
    "CaptionedImages",
    "LabelledArrays",
    "LabelledImages",
    "Sample",
    "UnreadableSample",
    "open_captioned",
    "open_data",
]
