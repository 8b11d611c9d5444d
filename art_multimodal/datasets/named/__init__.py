"""Data sets by name: ``data:NAME``, in the layout of torchvision; and those of Hugging Face and WebDataset."""

from art_multimodal.datasets.named import trained_sets, zero_shot_sets, caption_sets  # noqa: I001 (the order of listings)
from art_multimodal.datasets.named.entry import NamedData, Split
from art_multimodal.datasets.named.protocols import PROTOCOLS, Protocol
from art_multimodal.datasets.named.registry import NAMED_DATA, find_name

__all__ = ["NAMED_DATA", "PROTOCOLS", "NamedData", "Protocol", "Split", "find_name"]

del trained_sets, zero_shot_sets, caption_sets
