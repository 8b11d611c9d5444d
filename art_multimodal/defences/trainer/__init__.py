"""Adversarial training of CLIP-like models."""

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
    "METHODS",
    "AdversarialTrainerFARE",
    "AdversarialTrainerJointAnchored",
    "AdversarialTrainerLEAF",
    "AdversarialTrainerMMCoA",
    "AdversarialTrainerPMGAFT",
    "AdversarialTrainerTeCoA",
    "AdversarialTrainerTextContrastive",
    "DualEncoderTrainer",
    "Method",
    "StepRecord",
    "TrainingSettings",
]
