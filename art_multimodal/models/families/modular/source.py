"""``modular:FUSION``: a model that is made for the data that it is trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from art_multimodal.errors import InputError
from art_multimodal.models.source import ModelSource

if TYPE_CHECKING:
    from art_multimodal.models.multimodal import MultimodalModel

_SCHEME = "modular:"


def fusion_to_fit(spec: str) -> str | None:
    """The fusion of ``modular:FUSION``; ``None`` for another way of naming a model.

    :raises InputError: For a fusion that is unknown.
    """
    if not spec.startswith(_SCHEME):
        return None
    from art_multimodal.models.fusions import FUSIONS, WHOLE_MODELS

    name = spec.removeprefix(_SCHEME)
    if name not in FUSIONS and name in WHOLE_MODELS:
        raise InputError(
            f"{name} is a whole model and no fusion of towers: make a {WHOLE_MODELS[name].__name__} in Python, write "
            "it by save_model(model, 'FOLDER/best'), and name it checkpoint:FOLDER."
        )
    FUSIONS[name]
    return name


def _load(rest: str) -> MultimodalModel:
    fusion = fusion_to_fit(_SCHEME + rest)
    raise InputError(
        f"modular:{fusion} is made for data when it is trained, and has no weights before: art-multimodal train plain "
        f"modular:{fusion} --data DATA --out FOLDER. What came out is checkpoint:FOLDER."
    )


SOURCE = ModelSource(
    "modular:FUSION",
    "a model over the modalities of the data, with small towers: for train alone (see list fusions)",
    _load,
)
