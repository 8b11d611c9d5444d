"""What an audit runs: each attack, and with defences each of them twice, the second time without knowing of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from art_multimodal.evaluations import suite
from art_multimodal.evaluations.suite.entry import AttackEntry
from art_multimodal.evaluations.suite.selection import FLIPPED, SMOOTHED, stands_for

#: In front of an attack's name in the log: made on the model without its defences, scored on the model with them.
NAIVE = "naive:"


def smoothed_passes(smoothing: Any) -> tuple[str, ...]:
    """Names of what is run on every batch after the attacks where the model is smoothed, too.

    :param smoothing: What an audit or its log says of it; nothing where it is not.
    """
    return (SMOOTHED, FLIPPED) if smoothing else ()


def passes_of(attacks: Sequence[str], defended: bool) -> tuple[str, ...]:
    """Names of what is run on every batch, in this order."""
    return (*attacks, *(NAIVE + name for name in attacks)) if defended else tuple(attacks)


def is_naive(name: str) -> bool:
    """Whether a pass is an attack that does not know of the defences."""
    return name.startswith(NAIVE)


def entry_of(name: str) -> AttackEntry:
    """The attack of a pass."""
    return suite.entry_of(name.removeprefix(NAIVE))


def attacked_alone(name: str) -> str:
    """The modality that a pass attacks alone, of samples of several; empty where it is no such attack."""
    modality = name.partition("@")[2]
    return modality if modality and entry_of(name).modality == modality else ""


def goes_on_after(name: str, passes: Iterable[str]) -> tuple[str, ...]:
    """Passes whose victims count as this one's.

    :param passes: All of the run.
    """
    forms = tuple(NAIVE + other if is_naive(name) else other for other in entry_of(name).goes_on_after)
    return tuple(other for other in passes if any(stands_for(form, other) for form in forms))
