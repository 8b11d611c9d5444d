"""Every kind of modality by name, so that a model that was saved finds what its samples consist of again."""

from __future__ import annotations

from art_multimodal.modalities.modality import Modality
from art_multimodal.registry import Registry

#: Classes by their ``kind``. Each is made with what :class:`Modality` takes.
KINDS: Registry[type[Modality]] = Registry("kind of modality", Modality, subclasses=True)
KINDS.add(Modality.kind, Modality)


def register(kind: type[Modality]) -> type[Modality]:
    """Add a kind of modality, by its ``kind``: models over it can be saved and loaded then. A decorator of its class.

    :raises ValueError: If the name is taken, such as the base's own.
    """
    KINDS.add(kind.kind, kind)
    return kind
