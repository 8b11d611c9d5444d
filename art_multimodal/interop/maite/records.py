"""What the metadata of a sample say: its place in the data, and what an attack did to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

#: Under this key of a sample's metadata stands what was done to it.
ATTACK_KEY = "adversarial_attack"
#: Under this one its place in the order of the data, from 0, by which an attack knows the groups of an audit.
PLACE_KEY = "place"


class AttackRecord(TypedDict):
    """What an attack did to one sample.

    ``name``: of the attack. ``norm`` and ``eps``: the ball, of several modalities a radius for each; ``None`` where the
    budget is no radius. ``seed``: that the attack was drawn from. ``attacked``: whether it was run on the sample, as it
    is where the sample was right before. ``right_before``, ``right_after``: what the model under attack said.
    ``success``: whether the attack made it wrong.
    """

    name: str
    norm: str | None
    eps: float | dict[str, float] | None
    seed: int
    attacked: bool
    right_before: bool
    right_after: bool
    success: bool


class SampleMetadata(TypedDict):
    """Metadata of a sample of ours: ``id``, its name; ``place``, where it stands in the order of the data."""

    id: int | str
    place: int


class AttackedMetadata(TypedDict):
    """Metadata of an attacked sample: its own, and under ``adversarial_attack`` what was done."""

    id: int | str
    adversarial_attack: AttackRecord


def places_in(metadata: Sequence[Mapping[str, Any]]) -> list[int] | None:
    """The places of samples in their data's order; ``None`` where one has none."""
    places = [one.get(PLACE_KEY) for one in metadata]
    fine = all(isinstance(place, int) and not isinstance(place, bool) and place >= 0 for place in places)
    return [place for place in places if place is not None] if fine else None
