"""Adversarial training of CLIP-like models."""

from art_multimodal.defences.trainer.inner_attacks import (
    IMAGE_ATTACKS,
    TEXT_ATTACKS,
    Characters,
    CrossEntropyAscent,
    DistanceAscent,
    ImageAscent,
    KLAscent,
    Mixture,
    TextInnerAttack,
    Words,
)
from art_multimodal.defences.trainer.loop import StepRecord
from art_multimodal.defences.trainer.methods import METHODS, Method
from art_multimodal.defences.trainer.named import (
    AdversarialTrainerFARE,
    AdversarialTrainerJointAnchored,
    AdversarialTrainerLEAF,
    AdversarialTrainerMMCoA,
    AdversarialTrainerPMGAFT,
    AdversarialTrainerTeCoA,
    AdversarialTrainerTextContrastive,
)
from art_multimodal.defences.trainer.settings import TrainingSettings
from art_multimodal.defences.trainer.trainers import DualEncoderTrainer

__all__ = [
    "IMAGE_ATTACKS",
    "METHODS",
    "TEXT_ATTACKS",
    "AdversarialTrainerFARE",
    "AdversarialTrainerJointAnchored",
    "AdversarialTrainerLEAF",
    "AdversarialTrainerMMCoA",
    "AdversarialTrainerPMGAFT",
    "AdversarialTrainerTeCoA",
    "AdversarialTrainerTextContrastive",
    "Characters",
    "CrossEntropyAscent",
    "DistanceAscent",
    "DualEncoderTrainer",
    "ImageAscent",
    "KLAscent",
    "Method",
    "Mixture",
    "StepRecord",
    "TextInnerAttack",
    "TrainingSettings",
    "Words",
]
