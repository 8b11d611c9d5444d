"""Where samples come from: labelled or captioned images, or samples of other modalities, by name."""

from art_multimodal.datasets.arrays import CaptionedArrays, LabelledArrays
from art_multimodal.datasets.captioned import CaptionedImages
from art_multimodal.datasets.labelled_samples import LabelledSampleArrays
from art_multimodal.datasets.loading import DATA_SOURCES, open_captioned, open_data, open_images, open_samples
from art_multimodal.datasets.photos import UnreadableSample
from art_multimodal.datasets.source import LabelledImages, LabelledSamples, Sample

__all__ = [
    "DATA_SOURCES",
    "CaptionedArrays",
    "CaptionedImages",
    "LabelledArrays",
    "LabelledImages",
    "LabelledSampleArrays",
    "LabelledSamples",
    "Sample",
    "UnreadableSample",
    "open_captioned",
    "open_data",
    "open_images",
    "open_samples",
]
