"""Multimodal extension of the Adversarial Robustness Toolbox: attack, defend, measure multimodal models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from art_multimodal.toolbox import check_art

__version__ = "0.1.0"

if TYPE_CHECKING:
    from art_multimodal.attacks.evasion.for_each_sample import for_each_sample
    from art_multimodal.errors import InputError
    from art_multimodal.estimators.fusion import FusionClassifier
    from art_multimodal.estimators.retriever import ImageTextRetriever
    from art_multimodal.estimators.zero_shot import ZeroShotClassifier
    from art_multimodal.models.families.custom.encoder import CustomDualEncoder
    from art_multimodal.models.families.custom.given import as_dual_encoder
    from art_multimodal.models.families.modular.model import ModularModel, Tower
    from art_multimodal.models.loading import load_model
    from art_multimodal.models.multimodal import MultimodalModel
    from art_multimodal.pairs import image_text_pairs
    from art_multimodal.plugins import load_plugins
    from art_multimodal.sample_arrays import samples

__all__ = [
    "CustomDualEncoder",
    "FusionClassifier",
    "ImageTextRetriever",
    "InputError",
    "ModularModel",
    "MultimodalModel",
    "Tower",
    "ZeroShotClassifier",
    "__version__",
    "as_dual_encoder",
    "for_each_sample",
    "image_text_pairs",
    "load_model",
    "load_plugins",
    "samples",
]

# Before anything imports it: what another package called art does to ART shows itself in strange places.
check_art()

_HOMES = {
    "as_dual_encoder": "art_multimodal.models.families.custom.given",
    "CustomDualEncoder": "art_multimodal.models.families.custom.encoder",
    "FusionClassifier": "art_multimodal.estimators.fusion",
    "ImageTextRetriever": "art_multimodal.estimators.retriever",
    "InputError": "art_multimodal.errors",
    "ModularModel": "art_multimodal.models.families.modular.model",
    "MultimodalModel": "art_multimodal.models.multimodal",
    "Tower": "art_multimodal.models.families.modular.model",
    "ZeroShotClassifier": "art_multimodal.estimators.zero_shot",
    "for_each_sample": "art_multimodal.attacks.evasion.for_each_sample",
    "image_text_pairs": "art_multimodal.pairs",
    "load_model": "art_multimodal.models.loading",
    "load_plugins": "art_multimodal.plugins",
    "samples": "art_multimodal.sample_arrays",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: `import art_multimodal` and the command line's --help must not wait for torch.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
