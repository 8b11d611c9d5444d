"""Adversarial training of CLIP-like models, and of fusion models."""

from art_multimodal.defences.trainer.fusion.attack import ScoreAscent
from art_multimodal.defences.trainer.fusion.named import (
    AblationTrainer,
    FusionTrainerCRMT,
    FusionTrainerDEQ,
    FusionTrainerMLA,
    FusionTrainerMMLoRA,
    FusionTrainerQMF,
    FusionTrainerUmURL,
    FusionTrainerUniSMMC,
)
from art_multimodal.defences.trainer.fusion.trainer import AdversarialFusionTrainer, FusionTrainer
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
    ImageAblationTrainer,
)
from art_multimodal.defences.trainer.settings import TrainingSettings
from art_multimodal.defences.trainer.trainers import DualEncoderTrainer, MethodTrainer
from art_multimodal.registry import import_all

# A method of one's own may stand in a further module of this folder.
import_all(__name__, __path__)

__all__ = [
    "IMAGE_ATTACKS",
    "METHODS",
    "TEXT_ATTACKS",
    "AblationTrainer",
    "AdversarialFusionTrainer",
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
    "FusionTrainer",
    "FusionTrainerCRMT",
    "FusionTrainerDEQ",
    "FusionTrainerMLA",
    "FusionTrainerMMLoRA",
    "FusionTrainerQMF",
    "FusionTrainerUmURL",
    "FusionTrainerUniSMMC",
    "ImageAblationTrainer",
    "ImageAscent",
    "KLAscent",
    "Method",
    "MethodTrainer",
    "Mixture",
    "ScoreAscent",
    "StepRecord",
    "TextInnerAttack",
    "TrainingSettings",
    "Words",
]
