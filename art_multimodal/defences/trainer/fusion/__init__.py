"""Training of fusion models over any modalities: methods, attacks on samples, and what training remembers."""

from art_multimodal.defences.trainer.fusion import methods
from art_multimodal.defences.trainer.fusion.attack import SCHEDULES, ScoreAscent
from art_multimodal.defences.trainer.fusion.named import (
    FusionTrainerCRMT,
    FusionTrainerMLA,
    FusionTrainerMMLoRA,
    FusionTrainerQMF,
    FusionTrainerUmURL,
    FusionTrainerUniSMMC,
)
from art_multimodal.defences.trainer.fusion.trainer import AdversarialFusionTrainer, FusionTrainer

__all__ = [
    "SCHEDULES",
    "AdversarialFusionTrainer",
    "FusionTrainer",
    "FusionTrainerCRMT",
    "FusionTrainerMLA",
    "FusionTrainerMMLoRA",
    "FusionTrainerQMF",
    "FusionTrainerUmURL",
    "FusionTrainerUniSMMC",
    "ScoreAscent",
    "methods",
]
