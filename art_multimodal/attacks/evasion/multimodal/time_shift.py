"""Streams that no longer run together: some begin a few steps earlier or later."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from art.attacks.attack import EvasionAttack
from art.estimators.estimator import BaseEstimator
from tqdm.auto import tqdm

from art_multimodal.attacks.checks import check_whole_number
from art_multimodal.attacks.evasion.multimodal.judging import labels_for, margins
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.modalities.modality import MOVED_IN
from art_multimodal.sample_arrays import with_field

#: Most combinations of shifts that are tried for a sample.
_MOST = 100_000


class TimeShift(EvasionAttack):
    """Shift streams in time against the others by up to ``max_shift`` steps; a black-box attack that needs scores only.

    Every shift is tried, the small ones first: ``2 * max_shift + 1`` for one stream, and all combinations for several.
    A sample stops at the first that misleads the model. Of the others the one comes back that misleads most, which may
    be no shift at all. What a stream shows is genuine; lengths stay, other fields stay as they are, and what a sample
    lacks it goes on lacking.

    | Paper link: https://arxiv.org/abs/2206.07981 (unaligned streams, the claim that it puts to the test)

    >>> from art_multimodal.datasets import open_samples
    >>> spoken = open_samples("demo:spoken")
    >>> listener = FusionClassifier(load_model("demo:spoken"))
    >>> attack = TimeShift(listener, "speech", max_shift=1, verbose=False)
    >>> attack.tried()
    [(0,), (-1,), (1,)]
    >>> attack.generate(spoken.samples(np.arange(4)), spoken.labels[:4]).shape
    (4,)
    """

    attack_params = EvasionAttack.attack_params + [
        "modalities",
        "max_shift",
        "moved_in",
        "targeted",
        "batch_size",
        "verbose",
    ]
    _estimator_requirements = (BaseEstimator, FusionClassifier)

    def __init__(
        self,
        estimator: FusionClassifier,
        modalities: str | Sequence[str],
        max_shift: int = 5,
        moved_in: str = "fill",
        targeted: bool = False,
        batch_size: int = 128,
        verbose: bool = True,
    ) -> None:
        """
        :param estimator: The classifier to attack.
        :param modalities: Names of the streams that are shifted, each by a number of steps of its own.
        :param max_shift: Steps, at most, in either direction.
        :param moved_in: What takes the place of steps that come from outside: ``"fill"`` of the modality, ``"zero"``
            (or the allowed value that is nearest to it), or ``"cyclic"``, the steps that were moved out at the other
            end.
        :param targeted: Look for the given labels instead of away from them.
        :param batch_size: Samples per forward pass.
        :param verbose: Show a progress bar.
        :raises InputError: For a modality that the model does not have or that is not over time, or too many
            combinations.
        """
        super().__init__(estimator=estimator)
        self.modalities = modalities
        self.max_shift = max_shift
        self.moved_in = moved_in
        self._targeted = targeted
        self.batch_size = batch_size
        self.verbose = verbose
        #: For each sample of the last call the steps by which each stream was shifted, ``(N, M)``.
        self.shifts: np.ndarray = np.zeros((0, len(self._names)), dtype=np.int64)
        self._check_params()

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs: Any) -> np.ndarray:
        """Return samples ``(N,)`` with shifted streams.

        :param x: Samples ``(N,)`` of the classifier.
        :param y: Labels: the true ones, or the wanted ones when targeted. Without them the model's own predictions.
        :raises InputError: For samples or labels that cannot be used.
        """
        x = self.estimator.checked(x)
        labels = labels_for(self, x, y)
        self.shifts, harm = np.zeros((len(x), len(self._names)), dtype=np.int64), np.full(len(x), -np.inf)
        for shift in tqdm(self.tried(), desc="Shifts", disable=not self.verbose):
            left = np.flatnonzero(harm <= 0)
            if not len(left):
                break
            after = margins(self, self._shifted(x[left], np.tile(shift, (len(left), 1))), labels[left])
            better = after > harm[left]
            harm[left[better]], self.shifts[left[better]] = after[better], shift
        return self._shifted(x, self.shifts) if len(x) else x.copy()

    def tried(self) -> list[tuple[int, ...]]:
        """All shifts, a number of steps for each stream, in the order in which they are tried."""
        steps = range(-self.max_shift, self.max_shift + 1)
        return sorted(product(steps, repeat=len(self._names)), key=lambda shift: (sum(map(abs, shift)), shift))

    def _shifted(self, x: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        for name, by in zip(self._names, shifts.T, strict=True):
            x = with_field(x, name, self.estimator.modalities[name].shifted(x[name], by, self.moved_in))
        return x

    @property
    def _names(self) -> list[str]:
        return [self.modalities] if isinstance(self.modalities, str) else list(self.modalities)

    def _check_params(self) -> None:
        known = self.estimator.modalities
        if not self._names or len(set(self._names)) < len(self._names):
            raise InputError(f"modalities are names, at least one and each once, not {self.modalities!r:.80}.")
        for name in self._names:
            if name not in known:
                raise InputError(f"The model knows no modality {name!r}; it takes {', '.join(known)}.")
            if not known[name].over_time:
                streams = ", ".join(one for one, of in known.items() if of.over_time) or "none"
                raise InputError(f"{name} is not over time, so it cannot be shifted. Streams of this model: {streams}.")
        if self.moved_in not in MOVED_IN:
            raise InputError(f"moved_in must be one of {', '.join(MOVED_IN)}, not {self.moved_in!r:.80}.")
        for name, least in (("max_shift", 0), ("batch_size", 1)):
            check_whole_number(self, name, least)
        if (2 * self.max_shift + 1) ** len(self._names) > _MOST:
            raise InputError(f"That are more than {_MOST:,} combinations of shifts: fewer steps, or fewer modalities.")
