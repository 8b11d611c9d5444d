"""What makes the numbers of a run suspicious: each flag says in a sentence what it means and what to do.

Signs of hidden gradients are those of the OWASP AI Exchange: accuracy that is not monotonic in the radius, a black box
that beats a white box, noise that beats gradients. Where two attacks were made on the same samples, pairs are compared
by McNemar's exact test, corrected by Holm for the number of tests of one kind.

| Paper link: https://doi.org/10.1007/BF02295996 (McNemar)
| Paper link: https://www.jstor.org/stable/4615733 (Holm)
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from art_multimodal.attacks.gradient_checks import suspicions
from art_multimodal.evaluations.audit.columns import Column
from art_multimodal.evaluations.audit.curve import radii_of
from art_multimodal.evaluations.audit.lines import CLEAN
from art_multimodal.evaluations.audit.passes import Pass
from art_multimodal.evaluations.audit.rendering import percent
from art_multimodal.evaluations.audit.rows import Row, count, right_in_all
from art_multimodal.evaluations.suite.entry import entry_of
from art_multimodal.evaluations.suite.exhaustive import CUT
from art_multimodal.evaluations.suite.noise import NOISE
from art_multimodal.evaluations.suite.selection import SMOOTHED_ROWS
from art_multimodal.functional.statistics import holm_adjusted, mcnemar
from art_multimodal.models.fusions.fusion import DOUBTS, NO_EQUILIBRIUM

#: Of all tests of one kind in a run together: how often one may be wrong where nothing is suspicious.
LEVEL = 0.05


@dataclass(frozen=True)
class Flag:
    """Something that makes a number suspicious.

    :param kind: What it is: ``"hidden_gradients"``, ``"weak_adaptive"``, ``"texts_left_out"``, ``"no_equilibrium"``,
        ``"not_monotonic"``, ``"black_box_beats_white_box"``, ``"noise_beats_gradients"`` or ``"above_clean"``.
    :param row: Of the report.
    :param said: What it means and what to do.
    :param certain: Whether it is beyond chance; one that is not is said in ``report.json`` alone.
    :param count: Samples that speak for it, where pairs were compared.
    :param against: Samples that speak against it.
    :param p: One-sided p value of McNemar's exact test, not corrected; ``certain`` is by the corrected one.
    """

    kind: str
    row: str
    said: str
    certain: bool = True
    count: int | None = None
    against: int | None = None
    p: float | None = None


#: Kinds that need every sample, and not the numbers of the rows alone.
_OF_PAIRS = ("not_monotonic", "black_box_beats_white_box", "noise_beats_gradients")


def sentences_of(report: Mapping[str, Any], row: str | None = None) -> list[str]:
    """What the flags of a report say, those that are certain.

    :param report: What ``report.json`` holds.
    :param row: Of this row only.
    """
    stored = [Flag(**one) for one in report.get("flags", ()) if one["kind"] in _OF_PAIRS]
    every = [*flags_of_results(report["results"]), *stored]
    return [flag.said for flag in every if flag.certain and row in (None, flag.row)]


def flags_of_results(results: Mapping[str, Mapping[str, Any]]) -> list[Flag]:
    """The flags that the numbers of the rows raise by themselves."""
    found = []
    before = results[CLEAN]["accuracy"]
    for name, row in results.items():
        if both_known(row) and row["accuracy"] > row["naive"]["accuracy_ci95"][1]:
            said = (
                f"{name} leaves more when it is made through the defences than when it does not know of them. It is a "
                "weak attack there, and its number is not robustness: raise the steps, the queries or the draws."
            )
            found.append(Flag("weak_adaptive", name, said))
        if left_out := row.get("flags", {}).get(CUT):
            said = (
                f"{name} could not try all texts on {left_out} of {row['attacked']} samples: its number may be above "
                "the robustness there is. The protocol says how many are tried."
            )
            found.append(Flag("texts_left_out", name, said))
        if missed := row.get("flags", {}).get(NO_EQUILIBRIUM):
            said = (
                f"Of {missed} of {row['attacked']} samples {DOUBTS[NO_EQUILIBRIUM]}, after {name}. Attack the model "
                "through unrolled steps, too, before the row is read as robustness."
            )
            found.append(Flag(NO_EQUILIBRIUM, name, said))
        found += [
            Flag("hidden_gradients", name, said) for said in suspicions(row.get("flags", {}), row.get("attacked", 0))
        ]
        if name not in SMOOTHED_ROWS:
            # These are of another model.
            found += _above(name, row, before, results[CLEAN]["n"])
    return [*found, *_published_above(results)]


def both_known(row: Mapping[str, Any]) -> bool:
    """Whether a row says what attacks leave that know the defences, and what those that do not, of the same samples.

    A run that is not finished may have attacked some of them in one of the two ways alone.
    """
    naive = row.get("naive", {})
    return bool(naive.get("accuracy_ci95")) and row["accuracy"] is not None and naive["n"] == row["n"]


def _above(name: str, row: Mapping[str, Any], before: float | None, n: int) -> list[Flag]:
    """More is right under attack than before: of the same samples."""
    ends = row.get("accuracy_ci95")
    if before is None or ends is None or row["n"] != n or row["accuracy"] <= before:
        return []
    under, without = percent(row["accuracy"]), percent(before)
    said = (
        f"{name} leaves more samples right ({under}) than are right without an attack ({without}): what it changes "
        "does the model good, or labels are wrong. Look at the samples it turns right before the row is read as "
        "robustness."
    )
    return [Flag("above_clean", name, said, certain=ends[0] > before)]


def _published_above(results: Mapping[str, Mapping[str, Any]]) -> list[Flag]:
    """Likewise of attacks that do not know of a defence at test time, on all samples, as papers report them."""
    rows = {
        name: row["naive"]["published"]
        for name, row in results.items()
        # Of each attack; those that stand for several would say it again.
        if "published" in row.get("naive", {}) and not row["knowledge"].startswith("worst case of")
    }
    tests = {name: _Test(one["turned_right"], one["turned_wrong"]) for name, one in rows.items()}
    found = []
    for (name, test), sure in zip(tests.items(), _sure([*tests.values()]), strict=True):
        if test.count <= test.against:
            continue
        chance = "is no chance" if sure else "may be chance"
        said = (
            f"{name}, made on the bare model as papers report it, leaves more samples right behind the defence "
            f"({percent(rows[name]['accuracy'])}) than are right without an attack: it turns {test.count} right and "
            f"{test.against} wrong, which {chance} (p = {test.p:.2g}). No attack does a model good: the number "
            "says what this attacker does not know, and is no robustness."
        )
        found.append(Flag("above_clean", name, said, sure, test.count, test.against, test.p))
    return found


def flags_of_pairs(header: Mapping[str, Any], rows: Mapping[str, Row]) -> list[Flag]:
    """The flags that two attacks on the same samples raise together.

    :param rows: Of each pass, and ``clean``.
    """
    return [*_not_monotonic(header, rows), *_beaten(header["attacks"], rows)]


def _not_monotonic(header: Mapping[str, Any], rows: Mapping[str, Row]) -> list[Flag]:
    """A sample that survives a larger radius after it fell within a smaller one."""
    radii = radii_of(header) if header.get("smaller") else []
    pairs = []
    for attack in header["attacks"]:
        there = [radius for radius in radii if not radius.key or Pass(attack, eps=radius.key).name in rows]
        pairs += [(attack, inner, outer) for inner, outer in itertools.pairwise(there)]
    tests = [
        _Test(*_apart(*(rows[Pass(attack, eps=one.key).name].correct for one in (inner, outer))))
        for attack, inner, outer in pairs
    ]
    found = []
    for (attack, inner, outer), test, sure in zip(pairs, tests, _sure(tests), strict=True):
        if not test.count:
            continue
        chance = f"no chance (p = {test.p:.2g})" if sure else f"may be chance (p = {test.p:.2g})"
        said = (
            f"{attack} within {outer.name} leaves {test.count} samples right that fell to it within {inner.name}, and "
            f"misleads the model on {test.against} that stood there, which {chance}: accuracy must not rise with the "
            "radius, so the search fails where it is allowed more. Raise --steps, and read the lower number."
        )
        found.append(Flag("not_monotonic", attack, said, sure, test.count, test.against, test.p))
    return found


def _beaten(attacks: Sequence[str], rows: Mapping[str, Row]) -> list[Flag]:
    """A black box that misleads the model on more samples than all white boxes together; noise on more than one."""
    bound = [(name, entry) for name in attacks if (entry := entry_of(name)).within_radius]
    white = [name for name, entry in bound if entry.knowledge == "white box" and entry.modality != "worst"]
    black = [name for name, entry in bound if entry.knowledge == "black box" and entry.modality not in ("worst", NOISE)]
    noise = [name for name, entry in bound if entry.modality == NOISE]
    pairs = {
        _BLACK: [(name, group) for name in black if (group := [one for one in white if _alike(one, name)])],
        _NOISE: [(name, [one]) for name in noise for one in white if _alike(one, name)],
    }
    found = []
    for (kind, words), of_kind in pairs.items():
        tests = [
            _Test(*_apart(rows[name].correct, right_in_all([rows[one] for one in group]))) for name, group in of_kind
        ]
        for (name, group), test, sure in zip(of_kind, tests, _sure(tests), strict=True):
            if test.count <= test.against:
                continue
            chance = f"no chance, p = {test.p:.2g}" if sure else f"may be chance, p = {test.p:.2g}"
            said = (
                f"{name} misleads the model on {test.count} samples that {' and '.join(group)} left right, and not on "
                f"{test.against} that these mislead it on ({chance}): {words}"
            )
            row = name if kind == _BLACK[0] else group[0]
            found.append(Flag(kind, row, said, sure, test.count, test.against, test.p))
    return found


@dataclass(frozen=True)
class _Test:
    """A comparison of pairs: how many samples speak for a suspicion, and how many against it."""

    count: int
    against: int

    @property
    def p(self) -> float:
        """One-sided, of McNemar's exact test."""
        return mcnemar(self.count, self.against, "greater")


def _sure(tests: Sequence[_Test]) -> list[bool]:
    """Which of all tests of one kind are beyond chance, corrected for their number by Holm."""
    return [bool(p < LEVEL) for p in holm_adjusted([test.p for test in tests])]


_BLACK = (
    "black_box_beats_white_box",
    "gradients are hidden rather than harmless, so rows of white boxes are not robustness. Raise --steps and "
    "--max-queries, and attack through what hides them.",
)
_NOISE = (
    "noise_beats_gradients",
    "a gradient attack that is worse than noise is broken or misled. Look at its settings and at the model's backward "
    "pass, and do not read its row as robustness.",
)


def _alike(one: str, other: str) -> bool:
    """Whether two attacks change the same: images, or the same modality."""
    if "@" in other and not entry_of(other).of_surrogates:
        return one.partition("@")[2] == other.partition("@")[2]
    return "@" not in one and entry_of(one).modality == "image"


def _apart(first: Column[bool], second: Column[bool]) -> tuple[int, int]:
    """Samples that only the first misled the model on, and those that only the second did."""
    both = first.there & second.there
    return count(both & ~first.dense & second.dense), count(both & first.dense & ~second.dense)
