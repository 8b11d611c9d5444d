"""What a model says about inputs, and by how much: the one layer through which searches and attacks ask."""

from art_multimodal.estimators.asking.samples import SomeModalities

__all__ = ["SomeModalities"]
