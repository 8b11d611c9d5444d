"""A kind of modality: pressure on a grid."""

from __future__ import annotations

from typing import ClassVar

from art_multimodal.modalities import Modality, register


@register
class Pressure(Modality):
    """Pressure ``(rows, columns)`` in [0, 1]; a point is a cell of the pad."""

    kind: ClassVar[str] = "pressure"
    point: ClassVar[str] = "cell"
    colour: ClassVar[str] = "#7a4b2a"


def pressure(name: str, rows: int, columns: int) -> Pressure:
    """A pad of so many rows and columns."""
    return Pressure(name, (rows, columns), (0, 1), (0.0, 1.0))
