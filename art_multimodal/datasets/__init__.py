"""Where samples come from: labelled images by name."""

from art_multimodal.datasets.loading import DATA_SOURCES, open_data
from art_multimodal.datasets.source import LabelledImages, Sample, UnreadableSample

__all__ = ["DATA_SOURCES", "LabelledImages", "Sample", "UnreadableSample", "open_data"]
