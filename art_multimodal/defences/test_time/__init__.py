"""Defences that compute at test time, inside of the model that is attacked."""

from art_multimodal.defences.test_time.adversarial_prompt_tuning import TestTimeAdversarialPromptTuning
from art_multimodal.defences.test_time.coarse_grid import CoarseGrid
from art_multimodal.defences.test_time.contract import GRADIENTS, Passes, TestTimeDefence
from art_multimodal.defences.test_time.counterattack import TestTimeCounterattack
from art_multimodal.defences.test_time.directional_bias import DirectionalBiasDefence
from art_multimodal.defences.test_time.energy import EnergyGuidedTransformation
from art_multimodal.defences.test_time.layer_statistics import LayerStatistics
from art_multimodal.defences.test_time.plain import Purification, RandomResizePad, ViewVoting
from art_multimodal.defences.test_time.prompt_tuning import RobustPromptTuning
from art_multimodal.defences.test_time.reachable import ReachableAnswers, reachable_answers

__all__ = [
    "GRADIENTS",
    "CoarseGrid",
    "DirectionalBiasDefence",
    "EnergyGuidedTransformation",
    "LayerStatistics",
    "Passes",
    "Purification",
    "RandomResizePad",
    "ReachableAnswers",
    "RobustPromptTuning",
    "TestTimeAdversarialPromptTuning",
    "TestTimeCounterattack",
    "TestTimeDefence",
    "ViewVoting",
    "reachable_answers",
]
