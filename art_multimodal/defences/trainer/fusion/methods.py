"""Every method of training fusion models by name."""

from __future__ import annotations

from typing import Any

from art_multimodal.defences.trainer.fusion.attack import ScoreAscent
from art_multimodal.defences.trainer.fusion.memory import Contrasts, HeadProtection, LossHistory
from art_multimodal.defences.trainer.methods import METHODS, Method
from art_multimodal.functional import fusion_objectives
from art_multimodal.models.adapters.low_rank import LowRank, add_low_rank


def _adapt(model: Any) -> None:
    """Put adapters into a model that has none."""
    if not any(isinstance(module, LowRank) for module in model.modules()):
        add_low_rank(model)


#: What makes scores of a modality alone in a fusion.
_OF_ONE_MODALITY = ("fusion.heads.", "fusion.directions.")


def _of_adapter(name: str) -> bool:
    return name.endswith((".down", ".up"))


def _of_joint_training(name: str) -> bool:
    """Whether a parameter is an adapter's, or one that the training of each modality alone does not reach."""
    return _of_adapter(name) or (name.startswith("fusion.") and not name.startswith(_OF_ONE_MODALITY))


METHODS.add("plain", Method(fusion_objectives.fused, "fusion models: cross-entropy of the scores"))
METHODS.add(
    "adversarial",
    Method(
        fusion_objectives.fused,
        "fusion models: a share of each batch (ratio) is attacked, as in ART's AdversarialTrainer",
        ScoreAscent(),
    ),
)
METHODS.add(
    "ablation",
    Method(
        fusion_objectives.ablation,
        "fusion models: some elements of each modality are hidden (--keep), as certificates by ablation do",
        paper="MMCert, arXiv:2403.19080",
    ),
)
METHODS.add(
    "auxiliary",
    Method(fusion_objectives.auxiliary, "fusion models: cross-entropy of the scores, and of each modality's own"),
)
METHODS.add(
    "qmf",
    Method(
        fusion_objectives.qmf,
        "fusion models: weights of modalities fall as their losses rise",
        paper="QMF, arXiv:2306.02050",
        memory=LossHistory,
    ),
)
METHODS.add(
    "unis_mmc",
    Method(
        fusion_objectives.unis_mmc,
        "fusion models: embeddings are drawn towards the modality that is right by itself",
        paper="UniS-MMC, arXiv:2305.09299",
        memory=Contrasts,
    ),
)
METHODS.add(
    "mla",
    Method(
        fusion_objectives.mla,
        "fusion models: modalities take turns on one head, which keeps what it says about the others",
        paper="MLA, arXiv:2311.10707",
        alternates=True,
        memory=HeadProtection,
    ),
)
METHODS.add(
    "crmt",
    Method(
        fusion_objectives.crmt,
        "fusion models: margins of the worst modality, then the weights of the largest radius",
        paper="CRMT, arXiv:2402.06244",
        share=3.0,
        then=Method(
            fusion_objectives.larger_radius,
            "weights by class and modality that leave the largest radius",
            trains=lambda name: name == "fusion.raw",
        ),
    ),
)
METHODS.add(
    "deq",
    Method(
        fusion_objectives.deq,
        "fusion models: an equilibrium whose layer is not steep where it is fixed",
        paper="DEQ, arXiv:2306.16645",
    ),
)
METHODS.add(
    "mmlora",
    Method(
        fusion_objectives.unimodal,
        "fusion models: each modality alone, then low-rank adapters on all towers together",
        paper="MMLoRA, arXiv:2310.05193",
        trains=lambda name: not _of_joint_training(name),
        then=Method(fusion_objectives.fused, "low-rank adapters on all towers together", trains=_of_joint_training),
        prepares=_adapt,
    ),
)
METHODS.add(
    "umurl",
    Method(
        fusion_objectives.unified_stream,
        "models of skeletons: views agree without labels, then a linear head",
        paper="UmURL, arXiv:2311.03106",
        share=3.0,
        then=Method(fusion_objectives.fused, "a linear head", trains=lambda name: name.startswith("head.")),
        batch_norm=True,
    ),
)
