"""How far the samples of a bundle were moved, and whether that is within the budget that the run declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from art_multimodal.evaluations.audit.passes import Pass, attacked_alone
from art_multimodal.evaluations.audit.radii import name_of
from art_multimodal.evaluations.audit.word_curve import CURVED
from art_multimodal.evaluations.evidence.fixtures import IMAGE, Arrays, Group, modality_of
from art_multimodal.evaluations.evidence.keeping_within import TextRule, changes_of, distance
from art_multimodal.evaluations.typed_json import entries
from art_multimodal.shown import shown

#: Modalities of attacks that leave all texts alone.
_OF_NUMBERS = ("image", "noise", "decision", "universal", "transfer")


@dataclass
class Moved:
    """How far a pass has moved a modality.

    :param eps: How far it may.
    :param farthest: The largest distance of all samples that are kept.
    """

    eps: float
    farthest: float = 0.0


@dataclass(frozen=True)
class Beyond:
    """A sample that is changed by more than the budget of the run allows.

    :param attack: Name of the pass.
    :param index: Its place in the data.
    :param name: What it is called there.
    :param said: What is beyond, in a phrase.
    """

    attack: str
    index: int
    name: str
    said: str


@dataclass(frozen=True)
class _Limits:
    """What a pass may change: each modality within a radius, and texts by a rule."""

    budget: Mapping[str, Any]
    rule: TextRule


class Distances:
    """Measures attacked samples against those before any attack.

    >>> from art_multimodal.evaluations.evidence.bundle import Bundle
    >>> from art_multimodal.evaluations.evidence.rescoring import rescore
    >>> distances = rescore(Bundle(evidence.folder), device="cpu").distances
    >>> isinstance(distances, Distances), isinstance(distances.moved["pgd", "image"], Moved)
    (True, True)
    >>> [one for one in distances.beyond if isinstance(one, Beyond)]
    []

    :param header: Of the run.
    :param prompts: Of each class the usual prompts, where the model reads any.
    :raises ValueError: If the header declares no budget, or several that contradict one another.
    """

    def __init__(self, header: Mapping[str, Any], prompts: Sequence[Sequence[str]]) -> None:
        self.header, self.prompts = header, prompts
        self.norm = float(_budget_of(header)["norm"])
        self.radii = declared_radii(header)
        #: By pass and modality; of passes within a radius.
        self.moved: dict[tuple[str, str], Moved] = {}
        #: Samples that were measured, and those beyond.
        self.measured = 0
        self.beyond: list[Beyond] = []
        #: Passes that have no bound here: what they remove, paste or exchange is no distance.
        self.unbound: list[str] = []
        self._limits = cache(self._limits_of)

    def add(self, attack: str, group: Group, before: Sequence[tuple[Group, int]]) -> None:
        """Measure a group of samples.

        :param attack: Name of the pass.
        :param before: Of each sample the group and row before any attack.
        """
        limits = self._limits(attack)
        if limits is None:
            return
        for row, (own, place) in enumerate(before):
            line = own.lines[place]
            arrays = {name: values[place : place + 1] for name, values in own.arrays[0].items()}
            for version in group.arrays:
                self._measure(attack, arrays, {name: values[row : row + 1] for name, values in version.items()})
            _, said = changes_of(group, row, (arrays, line.texts), self.prompts, limits.budget, limits.rule)
            self.measured += 1
            if said:
                self.beyond.append(Beyond(attack, line.index, line.name or "", said))

    def _measure(self, attack: str, before: Arrays, after: Arrays) -> None:
        for name, values in before.items():
            moved = self.moved.get((attack, modality_of(name)))
            if moved is not None and after[name].shape == values.shape:
                moved.farthest = max(moved.farthest, distance(values, after[name], self.norm)[0])

    def _limits_of(self, attack: str) -> _Limits | None:
        one = Pass.of(attack)
        entry, alone = one.entry, attacked_alone(attack)
        of_texts = not entry.within_radius and (entry.modality == "text" or alone != "" or one.attack == CURVED)
        if not entry.within_radius and not of_texts:
            self.unbound.append(attack)
            return None
        radii = self.radii[one.eps] if entry.within_radius else {}
        modality = one.attack.partition("@")[2]
        if modality and not entry.of_surrogates:
            radii = {name: eps for name, eps in radii.items() if name == modality}
        self.moved |= {(attack, name): Moved(eps) for name, eps in radii.items()}
        words = dict(_budget_of(self.header))
        if entry.modality in _OF_NUMBERS or (alone and radii):
            words |= {"max_words": 0, "max_edits": 0}
        rule = TextRule(words, self.header["data"]["class_names"])
        return _Limits({"norm": self.header["budget"]["norm"], "modalities": radii}, rule)


def declared_radii(header: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """How far each modality may move, by the name of the radius in names of passes: ``""`` of the largest.

    What was asked for and what came of it both stand in a header; the smaller of them counts.

    :raises ValueError: If they do not go together.
    """
    budget, settings = _budget_of(header), header["settings"]
    parts = [*header.get("smaller", ()), header["budget"]]
    asked = [*settings.get("smaller_eps", ()), settings.get("eps")]
    if len(parts) != len(asked):
        raise ValueError("the settings of the run have another number of radii than its passes")
    found = {}
    for part, eps in zip(parts, asked, strict=True):
        if "modalities" in part:
            balls = entries(part, {"modalities": dict[str, Any]}, "a radius")["modalities"]
            radii = {name: entries(ball, {"eps": float}, "a radius")["eps"] for name, ball in balls.items()}
        else:
            radii = {IMAGE: entries(part, {"eps": float}, "a radius")["eps"]}
        if isinstance(eps, Mapping):
            radii = {name: min(own, eps.get(name, own)) for name, own in radii.items()}
        elif eps is not None and IMAGE in radii:
            radii[IMAGE] = min(radii[IMAGE], eps)
        key = "" if part is parts[-1] else part["name"]
        if key and name_of(eps, budget["norm"]) != key:
            raise ValueError(f"a radius is called {shown(key)[:40]}, and is another one")
        found[key] = radii
    return found


def _budget_of(header: Mapping[str, Any]) -> dict[str, Any]:
    """What of the budget says how far samples may move.

    :raises ValueError: If it is not there.
    """
    budget = header["budget"]
    found = entries(budget, {"norm": str, "max_words": int, "max_edits": int}, "the budget")
    if found["norm"] not in ("inf", "2"):
        raise ValueError("the norm of the budget is neither inf nor 2")
    # As in runs that did not know of them.
    further = {"protect_class_names": bool, "protected_words": tuple[str, ...]}
    return found | entries(budget, {name: kind for name, kind in further.items() if name in budget}, "the budget")
