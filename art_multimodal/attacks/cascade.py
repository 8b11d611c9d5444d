"""Attacks one after the other, each on what the ones before it have left: the worst case of all for less than all."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from art_multimodal.attacks.gradient_checks import NOT_TRIED_BY
from art_multimodal.attacks.registry.entry import (
    ATTACKS,
    PAIRS,
    ZERO_SHOT,
    Attacked,
    AttackEntry,
    Budget,
    Estimator,
    Run,
)
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.pairs import is_pairs

#: An attack by its name in the registry, or a name with an entry that is not registered.
Member = str | tuple[str, AttackEntry]
#: Facts about a sample that add up over members; of others those of the last one are true.
_SUMMED = ("queries", "text_queries")
#: Facts that stay true whoever comes after.
_KEPT = ("fell_at", "word_candidates")


def member_seed(seed: int, name: str) -> int:
    """A seed of its own for every member, whatever else runs."""
    return int(np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(1, np.uint32)[0])


def prepare_cascade(members: Sequence[Member], estimator: Estimator, budget: Budget) -> Run:
    """Make what runs several attacks, each on the samples that are still right.

    A sample that a member broke comes back as that member left it; one that none broke, as the last that tried. Its
    detail is that member's, with queries summed over all that tried, and ``broken_by``: the name of the member, or
    ``None``. Flags of members are summed. A member that cannot work (on the task, the number of classes, or the shape
    of the images) is left out, and named in the flags: ``not_tried_by:NAME`` counts the samples that it was kept from.

    For members whose result on a sample does not depend on which others it is attacked with, the result is the worst
    case of running every member on every sample. ART's attacks draw one stream of random numbers for a batch, so of
    them it is with other random numbers.

    :param members: What runs, in this order. Samples are taken to be right before the first.
    :param estimator: A classifier of images or of pairs.
    :param budget: What each member may spend.
    :raises InputError: For unknown names, a name that comes twice, or another estimator.
    """
    if not isinstance(estimator, (FusionClassifier, ZeroShotClassifier)):
        raise InputError(f"A cascade attacks classifiers, not a {type(estimator).__name__}.")
    task = PAIRS if isinstance(estimator, FusionClassifier) else ZERO_SHOT
    entries: dict[str, AttackEntry] = {}
    for member in members:
        name, entry = (member, ATTACKS[member]) if isinstance(member, str) else member
        if name in entries:
            raise InputError(f"{name} comes twice in a cascade: give each member once.")
        entries[name] = entry
    runs = {
        name: entry.prepare(estimator, budget)
        for name, entry in entries.items()
        if task in entry.tasks and entry.minimum_classes <= estimator.nb_classes
    }

    def run(x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        shape = x["image"].shape[1:] if is_pairs(x) else x.shape[1:]
        after = x.copy()
        labels = np.array(y, dtype=np.int64)
        details: list[dict[str, Any]] = [{"broken_by": None} for _ in x]
        flags: dict[str, int] = {}
        prompts: np.ndarray | None = None
        left = np.arange(len(x))
        for name, entry in entries.items():
            if not len(left):
                break
            if name not in runs or not entry.applies(shape, budget):
                flags[NOT_TRIED_BY + name] = len(left)
                continue
            attacked = runs[name](x[left], y[left], member_seed(seed, name))
            assert attacked.labels is not None
            after[left] = attacked.x
            labels[left] = attacked.labels
            if attacked.prompts is not None:
                prompts = _intact(estimator, len(x)) if prompts is None else prompts
                prompts[left] = attacked.prompts
            elif prompts is not None:
                prompts[left] = _intact(estimator, len(left))
            for flag, number in attacked.flags.items():
                flags[flag] = flags.get(flag, 0) + number
            broken = labels[left] != y[left]
            for row, fell, said in zip(left, broken, attacked.details or [{} for _ in left], strict=True):
                details[row] = _continued(details[row], said, name if fell else None)
            left = left[~broken]
        return Attacked(after, labels, details, flags, prompts)

    return run


def _intact(estimator: Estimator, count: int) -> np.ndarray:
    """The prompts of a zero-shot classifier, for each of so many samples, ``(N, K)``."""
    assert isinstance(estimator, ZeroShotClassifier)
    prompts = np.empty((count, estimator.nb_classes), dtype=object)
    for number, entry in enumerate(estimator.prompts):
        for row in range(count):
            prompts[row, number] = entry
    return prompts


def _continued(before: dict[str, Any], said: dict[str, Any], broken_by: str | None) -> dict[str, Any]:
    """A sample's detail after one more member: what this one says, with what adds up."""
    summed = {key: before.get(key, 0) + said.get(key, 0) for key in _SUMMED if key in before or key in said}
    kept = {key: before[key] for key in _KEPT if key in before and key not in said}
    # A member may be a cascade itself, which knows better who it was.
    return {**said, **summed, **kept, "broken_by": (said.get("broken_by") or broken_by) if broken_by else None}
