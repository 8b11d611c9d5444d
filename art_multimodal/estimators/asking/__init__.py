"""What a model says about samples, and by how much: the one layer through which searches and attacks ask.

Not public: estimators are; how attacks ask them may change.
"""

from art_multimodal.estimators.asking.asking import Asking, Seen
from art_multimodal.estimators.asking.embedding import TextCost, TextTable, embedded_in_batches

__all__ = ["Asking", "Seen", "TextCost", "TextTable", "embedded_in_batches"]
