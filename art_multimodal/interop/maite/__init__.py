"""MAITE: our classifiers as models, our data as data sets, every attack on samples as an augmentation, and back.

Nothing here imports ``maite``: its protocols are kept by structure. ``pip install 'art-multimodal[maite]'`` brings it,
for ``maite.tasks.evaluate`` and for ``maite.spotcheck``.
"""

from art_multimodal.interop.maite.attack import MaiteAttack
from art_multimodal.interop.maite.batches import class_names_of
from art_multimodal.interop.maite.dataset import MaiteDataset
from art_multimodal.interop.maite.metric import RobustAccuracy
from art_multimodal.interop.maite.model import MaiteModel
from art_multimodal.interop.maite.records import AttackedMetadata, AttackRecord, SampleMetadata
from art_multimodal.interop.maite.reverse import from_maite_dataset, from_maite_model
from art_multimodal.interop.maite.samples import SamplesAttack, SamplesDataset, SamplesModel

__all__ = [
    "AttackRecord",
    "AttackedMetadata",
    "MaiteAttack",
    "MaiteDataset",
    "MaiteModel",
    "RobustAccuracy",
    "SampleMetadata",
    "SamplesAttack",
    "SamplesDataset",
    "SamplesModel",
    "class_names_of",
    "from_maite_dataset",
    "from_maite_model",
]
