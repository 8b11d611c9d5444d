"""Attacks that also look whether the model hides its gradients: one of every audit that follows them does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.gradient_checks import check_gradients
from art_multimodal.evaluations.suite.costs import Cost
from art_multimodal.evaluations.suite.entry import Attacked, PreparedAttack, entry_of
from art_multimodal.evaluations.suite.gallery import also_on_gallery

#: The most that a look at every sample of a batch costs: two gradients, two answers, and two lengths of steps along a
#: gradient and eight random directions.
LOOK = Cost(22, 2)
#: Groups of samples that are looked at: the first ones, and later one in so many. A look takes as long as some 5 steps
#: of each sample that it takes, and some 15 where gradients are no clear guide; and what it may find is a property of
#: the model.
FIRST_GROUPS, EVERY = 4, 16
#: Looks by itself, and compares its members besides.
_LOOKS_ANYWAY = "worst_image"
#: What the headline of images rests on: its row is where a reader looks first.
_PREFERRED = "pgd_targeted"


def who_looks(attacks: Sequence[str], modalities: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of the attacks that are to look, so that one does; none where nobody follows gradients of images.

    :param modalities: Of samples of several, their names: for each of them one looks.
    """
    if _LOOKS_ANYWAY in attacks:
        return ()
    follow = {name: entry_of(name) for name in attacks if entry_of(name).knowledge == "white box"}
    if modalities:
        first = {entry.modality: name for name, entry in reversed(follow.items()) if entry.modality in modalities}
        return tuple(first[modality] for modality in modalities if modality in first)
    of_images = [name for name, entry in follow.items() if entry.modality in ("image", "multimodal")]
    return (_PREFERRED,) if _PREFERRED in of_images else tuple(of_images[:1])


def is_looked_at(group: int) -> bool:
    """Whether an attack that looks does so in a group of samples, by its number: the same in every run."""
    return group < FIRST_GROUPS or group % EVERY == 0


class Look(PreparedAttack):
    """Changes nothing; its flags say what :func:`check_gradients` saw.

    :param modality: Of samples of several modalities, the one that is looked at.
    """

    def __init__(self, estimator: Any, budget: Budget, modality: str = "") -> None:
        super().__init__(estimator, budget)
        self.modality = modality
        self.eps = budget.balls[modality].eps if modality else budget.eps

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        size, modality = self.budget.batch_size, self.modality or "image"
        seen = check_gradients(self.estimator, x, y, self.budget.norm, self.eps, seed, size, modality)
        return Attacked(x, None, flags=seen.flags())


class AlsoLooking(PreparedAttack):
    """The same attack, whose flags say besides whether gradients are hidden.

    :param prepared: The attack.
    """

    def __init__(self, prepared: PreparedAttack) -> None:
        super().__init__(prepared.estimator, prepared.budget)
        self.name, self.prepared = prepared.name, prepared
        look = partial(Look, modality=prepared.name.partition("@")[2])
        self.look = also_on_gallery(look)(prepared.estimator, prepared.budget)

    def attack(self, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        attacked = self.prepared.attack(x, y, seed)
        return replace(attacked, flags={**attacked.flags, **self.look.attack(x, y, seed).flags})
