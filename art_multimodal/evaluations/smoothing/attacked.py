"""Attacks on the smoothed model, beside its certificates: no attack within a budget may break what is certified.

What is attacked is the smoothed model, never the model itself. A certified sample that an attack breaks is a mistake in
the certificate or in the attack, so it stops the run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from art_multimodal.attacks.evasion import VoteFlippingAttack
from art_multimodal.estimators.certification import AblatedEnsemble
from art_multimodal.evaluations.smoothing.budgets import budget_name
from art_multimodal.evaluations.smoothing.verdicts import Verdict
from art_multimodal.shown import shown

#: Takes a smoothed model, samples ``(N,)``, their labels ``(N,)``, and how many elements of each modality it may edit,
#: by name. Returns the attacked samples ``(N,)``.
Attack = Callable[[AblatedEnsemble, np.ndarray, np.ndarray, Mapping[str, int]], np.ndarray]


class CertificateBroken(RuntimeError):
    """An attack within its budget changed an answer that was certified. It is no fault of the user's.

    >>> raise CertificateBroken("an attack within the budget changed an answer that was certified")
    Traceback (most recent call last):
        ...
    art_multimodal.evaluations.smoothing.attacked.CertificateBroken: an attack within the budget changed an ...
    """


@dataclass(frozen=True)
class EmpiricalAttack:
    """An attack that certificates are held against.

    >>> from art_multimodal.evaluations.certification import Certification, CertificationSettings
    >>> settings = CertificationSettings(model="demo:digits", data="demo:digits", keep={"image": 4}, limit=4)
    >>> mine = EmpiricalAttack("mine", lambda *given: given[0])
    >>> mine.name in " ".join(Certification(settings, "held_against", device="cpu", attacks=[mine]).row_names)
    True

    :param name: Names it in reports.
    :param attack: The attack.
    """

    name: str
    attack: Attack


def vote_flipping(steps: int, seed: int) -> EmpiricalAttack:
    """The elements whose votes matter most, with values that turn these votes."""

    def attack(ensemble: AblatedEnsemble, x: np.ndarray, y: np.ndarray, budget: Mapping[str, int]) -> np.ndarray:
        return VoteFlippingAttack(ensemble, budget, steps, seed=seed, verbose=False).generate(x, y)

    return EmpiricalAttack("vote_flipping", attack)


class AttackedRow:
    """What an attack leaves of the smoothed model's right answers, within one budget.

    :param name: Of the row in the report.
    :param attack: The attack.
    :param ensemble: The smoothed model.
    :param names: The modalities whose edits are certified.
    :param budget: How many elements of each may be edited, by name.
    :param exact: Whether all votes are counted; where they are drawn, a certificate may be wrong with a small chance.
    """

    def __init__(
        self,
        name: str,
        attack: EmpiricalAttack,
        ensemble: AblatedEnsemble,
        names: Sequence[str],
        budget: Mapping[str, int],
        exact: bool,
    ) -> None:
        self.name, self.names = name, tuple(names)
        self._attack, self._ensemble, self._budget, self._exact = attack, ensemble, dict(budget), exact

    @property
    def protocol(self) -> str:
        """One line: what is attacked, and how far."""
        return f"{self._attack.name} on the smoothed model, within {budget_name(self._budget)}; only right answers"

    def certifies(self, before: Verdict) -> bool:
        """Whether an answer holds against every attack within the budget."""
        return before.holds_within([self._budget[name] for name in self.names], self._ensemble.edits)

    def verdicts(
        self, indices: Sequence[int], samples: Sequence[Any], x: np.ndarray, certified: Collection[int]
    ) -> list[Verdict]:
        """Attack samples of one shape, all of which are answered rightly before.

        :param certified: Places in the data of those that hold against every attack within the budget.
        :raises CertificateBroken: If an answer changes that no attack within the budget can change.
        """
        y = np.array([sample.label for sample in samples], dtype=np.int64)
        attacked = self._attack.attack(self._ensemble, x, y, self._budget)
        labels = self._ensemble.predict(attacked).argmax(axis=1)
        found = []
        for index, sample, label in zip(indices, samples, labels, strict=True):
            if index in certified and label != sample.label and self._exact:
                raise CertificateBroken(
                    f"{shown(sample.name)}: within {budget_name(self._budget)} the answer {sample.label} is "
                    f"certified, and {self._attack.name} changed it to {label}. The certificate or the attack is "
                    "wrong, and this run's numbers with it."
                )
            found.append(Verdict(index, sample.name, sample.label, int(label)))
        return found
