"""Attacks one after the other, each on what the ones before it have left: the worst case of all for less than all."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.gradient_checks import NOT_TRIED_BY
from art_multimodal.errors import InputError
from art_multimodal.evaluations.suite.detail import Detail
from art_multimodal.evaluations.suite.entry import Attacked, AttackEntry, PreparedAttack, entry_of, task_of
from art_multimodal.pairs import is_pairs
from art_multimodal.sample_arrays import are_samples

#: An attack by its name in the registry, or an entry that is not registered.
Member = str | AttackEntry


def member_seed(seed: int, name: str) -> int:
    """A seed of its own for every member, whatever else runs."""
    return int(np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(1, np.uint32)[0])


class Cascade(PreparedAttack):
    """Several attacks, each on the samples that are still right.

    A sample that a member broke comes back as that member left it; one that none broke, as the last that tried. Its
    detail is that member's, with queries summed over all that tried, and ``broken_by``: the name of the member, or
    ``None``. Flags of members are summed. A member that cannot work (on the task, the number of classes, or the shape
    of the images) is left out, and named in the flags: ``not_tried_by:NAME`` counts the samples that it was kept from.

    For members whose result on a sample does not depend on which others it is attacked with, the result is the worst
    case of running every member on every sample. ART's attacks draw one stream of random numbers for a batch, so of
    them it is with other random numbers.

    >>> from art_multimodal.attacks.budget import Budget
    >>> two = Cascade(classifier, Budget(eps=8 / 255, max_iter=2, max_queries=10), ["pgd", "square"])
    >>> two.attack(images[:2], labels[:2], seed=0).x.shape
    (2, 3, 32, 32)

    :param estimator: A classifier of images or of pairs.
    :param budget: What each member may spend.
    :param members: What runs, in this order. Samples are taken to be right before the first.
    :raises InputError: For unknown names, a name that comes twice, or another estimator.
    """

    name = "a cascade"

    def __init__(self, estimator: Any, budget: Budget, members: Sequence[Member]) -> None:
        super().__init__(estimator, budget)
        if not estimator.classifies:
            raise InputError(f"A cascade attacks classifiers, not a {type(estimator).__name__}.")
        task = task_of(estimator)
        self.members: dict[str, AttackEntry] = {}
        for member in members:
            entry = entry_of(member) if isinstance(member, str) else member
            if entry.name in self.members:
                raise InputError(f"{entry.name} comes twice in a cascade: give each member once.")
            self.members[entry.name] = entry
        self.prepared = {
            name: entry.prepare(estimator, budget)
            for name, entry in self.members.items()
            if task in entry.tasks and entry.minimum_classes <= estimator.nb_classes
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.members)})"

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        shape = _shape_of_images(x)
        after = x.copy()
        labels = np.array(y, dtype=np.int64)
        details = [Detail() for _ in x]
        flags: dict[str, int] = {}
        prompts: np.ndarray | None = None
        left = np.arange(len(x))
        for name, entry in self.members.items():
            if not len(left):
                break
            if name not in self.prepared or not entry.applies(shape, self.budget):
                flags[NOT_TRIED_BY + name] = len(left)
                continue
            attacked = self.prepared[name](x[left], y[left], member_seed(seed, name))
            assert attacked.labels is not None
            after[left] = attacked.x
            labels[left] = attacked.labels
            if attacked.prompts is not None:
                prompts = self._intact_prompts(len(x)) if prompts is None else prompts
                prompts[left] = attacked.prompts
            elif prompts is not None:
                prompts[left] = self._intact_prompts(len(left))
            for flag, number in attacked.flags.items():
                flags[flag] = flags.get(flag, 0) + number
            broken = labels[left] != y[left]
            for row, fell, said in zip(left, broken, attacked.said_of_each(), strict=True):
                details[row] = said.after(details[row], name if fell else None)
            left = left[~broken]
        return Attacked(after, labels, details, flags, prompts)

    def _intact_prompts(self, count: int) -> np.ndarray:
        """The prompts of a zero-shot classifier, for each of so many samples, ``(N, K)``."""
        prompts = np.empty((count, self.estimator.nb_classes), dtype=object)
        for number, entry in enumerate(self.estimator.prompts):
            for row in range(count):
                prompts[row, number] = entry
        return prompts


def _shape_of_images(x: np.ndarray) -> tuple[int, ...]:
    """The shape of an image, where samples are images or pairs; of other samples nothing depends on it."""
    if is_pairs(x):
        return x["image"].shape[1:]
    return () if are_samples(x) else x.shape[1:]
