"""What an audit runs: each attack, with defences again without knowing of them, and within smaller radii again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from art_multimodal.evaluations import suite
from art_multimodal.evaluations.audit.lines import CLEAN
from art_multimodal.evaluations.suite.entry import AttackEntry
from art_multimodal.evaluations.suite.selection import FLIPPED, SMOOTHED, stands_for

# How the name of a pass is made of what it is: eps=1/255:naive:pgd.
_NAIVE, _EPS, _END = "naive:", "eps=", ":"


@dataclass(frozen=True)
class Pass:
    """What is run on every batch.

    :param attack: Name of the attack.
    :param naive: Whether it is made on the model without its defences, and scored on the model with them.
    :param eps: Name of the radius that it keeps to, where that is not the largest one of the run; else empty.
    """

    attack: str
    naive: bool = False
    eps: str = ""

    @classmethod
    def of(cls, name: str) -> Pass:
        """The pass of a name."""
        eps = ""
        if name.startswith(_EPS):
            eps, _, name = name.removeprefix(_EPS).partition(_END)
        return cls(name.removeprefix(_NAIVE), name.startswith(_NAIVE), eps)

    @property
    def name(self) -> str:
        """How the log calls it; at the largest radius of a run, and where there is one alone, without the radius."""
        return (f"{_EPS}{self.eps}{_END}" if self.eps else "") + _NAIVE * self.naive + self.attack

    @property
    def entry(self) -> AttackEntry:
        """The attack."""
        return suite.entry_of(self.attack)

    def within(self, passes: Collection[str], eps: str) -> Pass:
        """The same within another radius; itself where it has none, and is run once for all.

        :param passes: All of the run.
        """
        other = replace(self, eps=eps)
        return other if other.name in passes else replace(self, eps="")


def smoothed_passes(smoothing: Any) -> tuple[str, ...]:
    """Names of what is run on every batch after the attacks where the model is smoothed, too.

    :param smoothing: What an audit or its log says of it; nothing where it is not.
    """
    return (SMOOTHED, FLIPPED) if smoothing else ()


def passes_of(attacks: Sequence[str], defended: bool, smaller: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """Names of what is run on every batch, in this order: first everything within the largest radius.

    :param smaller: Of each smaller radius, by its name, the attacks that are run within it, too.
    """
    kinds = (False, True) if defended else (False,)
    found = [Pass(name, naive) for naive in kinds for name in attacks]
    found += [Pass(name, naive, eps) for eps, some in (smaller or {}).items() for naive in kinds for name in some]
    # What is about the defence is nothing for those who do not know of it.
    return [one.name for one in found if not (one.naive and one.entry.of_defence)]


def passes_in(header: Mapping[str, Any]) -> list[str]:
    """The same of a run, from its header."""
    smaller = {one["name"]: one["attacks"] for one in header.get("smaller", ())}
    return passes_of(header["attacks"], bool(header.get("defences")), smaller)


def is_naive(name: str) -> bool:
    """Whether a pass is an attack that does not know of the defences."""
    return Pass.of(name).naive


def entry_of(name: str) -> AttackEntry:
    """The attack of a pass."""
    return Pass.of(name).entry


def attacked_alone(name: str) -> str:
    """The modality that a pass attacks alone, of samples of several; empty where it is no such attack."""
    modality = name.partition("@")[2]
    return modality if modality and entry_of(name).modality == modality else ""


def goes_on_after(name: str, passes: Collection[str]) -> tuple[str, ...]:
    """Passes whose victims count as this one's: those that know as much, within the same radius if they have any.

    :param passes: All of the run.
    """
    own = Pass.of(name)
    forms = own.entry.goes_on_after
    if not forms:
        return ()
    others = [Pass.of(other) for other in passes if other != CLEAN]
    return tuple(
        other.name
        for other in others
        if other.naive == own.naive
        and any(stands_for(form, other.attack) for form in forms)
        and other == other.within(passes, own.eps)
    )
