"""A plug-in of art-multimodal: what these modules register is there when this one is imported."""

from art_multimodal_example import attack, data, defence, family, fusion, modality, report, training

__all__ = ["attack", "data", "defence", "family", "fusion", "modality", "report", "training"]
__version__ = "0.1.0"
