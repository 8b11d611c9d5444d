"""What an audit runs: each attack, and with defences each of them twice, the second time without knowing of them."""

from __future__ import annotations

from collections.abc import Sequence

from art_multimodal.attacks.registry import ATTACKS
from art_multimodal.attacks.registry.entry import AttackEntry

#: In front of an attack's name in the log: made on the model without its defences, scored on the model with them.
NAIVE = "naive:"


def passes_of(attacks: Sequence[str], defended: bool) -> tuple[str, ...]:
    """Names of what is run on every batch, in this order."""
    return (*attacks, *(NAIVE + name for name in attacks)) if defended else tuple(attacks)


def is_naive(name: str) -> bool:
    """Whether a pass is an attack that does not know of the defences."""
    return name.startswith(NAIVE)


def entry_of(name: str) -> AttackEntry:
    """The attack of a pass."""
    return ATTACKS[name.removeprefix(NAIVE)]


def goes_on_after(name: str) -> tuple[str, ...]:
    """Passes whose victims count as this one's."""
    return tuple(NAIVE + other if is_naive(name) else other for other in entry_of(name).goes_on_after)
