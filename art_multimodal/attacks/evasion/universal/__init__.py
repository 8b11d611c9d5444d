"""One perturbation, or one patch, for all images: learned on surrogates, kept in a file, applied to others."""

from art_multimodal.attacks.evasion.universal.attack import (
    UniversalPatchAttack,
    UniversalPerturbationAttack,
    random_perturbation,
)
from art_multimodal.attacks.evasion.universal.files import digest_of, load_patch, load_perturbation, save_universal
from art_multimodal.attacks.evasion.universal.learning import SurrogateRecord
from art_multimodal.attacks.evasion.universal.patch import UniversalPatch
from art_multimodal.attacks.evasion.universal.perturbation import UniversalPerturbation

__all__ = [
    "SurrogateRecord",
    "UniversalPatch",
    "UniversalPatchAttack",
    "UniversalPerturbation",
    "UniversalPerturbationAttack",
    "digest_of",
    "load_patch",
    "load_perturbation",
    "random_perturbation",
    "save_universal",
]
