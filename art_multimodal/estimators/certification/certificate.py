"""What a certificate says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar, overload

import numpy as np

from art_multimodal.functional.certificates.frontier import Frontier

#: What is said in place of a class where nothing can be said.
ABSTAINED = -1


@dataclass(frozen=True)
class Certificate:
    """What no attack within some numbers of edits can change about the answer to one sample.

    >>> from art_multimodal.ablation import elements_of
    >>> from art_multimodal.estimators.certification import AblatedEnsemble, Partition
    >>> elements = {"image": elements_of(classifier.modalities["image"], "blocks:8")}
    >>> certificate = AblatedEnsemble(classifier, elements, Partition({"image": 4})).certify(images[:1])[0]
    >>> isinstance(certificate, Certificate), int(certificate.votes.sum()), certificate.counts
    (True, 4, {'image': 16})
    >>> certificate.abstained == (not certificate.covers({"image": 0}))
    True

    :param prediction: Class index; :data:`ABSTAINED` where the votes do not decide.
    :param votes: Votes for each class, ``(K,)``.
    :param without_class: Votes for none, since scores were not finite; they count against the prediction.
    :param frontier: The largest numbers of edits within which the prediction stays.
    :param counts: Elements that the sample has in each modality.
    :param protocol: One line: what was hidden, how many votes, which bound, and with which confidence.
    """

    prediction: int
    votes: np.ndarray
    without_class: int
    frontier: Frontier
    counts: Mapping[str, int]
    protocol: str

    @property
    def abstained(self) -> bool:
        """Whether nothing is said."""
        return self.prediction == ABSTAINED

    @property
    def radius(self) -> dict[str, int]:
        """The largest number of edits in each modality, where the others are untouched; -1 where nothing is said."""
        return {name: self.frontier.radius(name) for name in self.frontier.names}

    def covers(self, budget: Mapping[str, int]) -> bool:
        """Whether no attack with so many edits changes the prediction.

        :param budget: Number of edits by the name of the modality; 0 for those that are not named.
        :raises InputError: For a modality that the certificate does not know.
        """
        return not self.abstained and self.frontier.covers(budget)


#: A certificate of one sample.
Of = TypeVar("Of", bound="Predicted")


class Predicted(Protocol):
    """What every certificate of a sample has."""

    @property
    def prediction(self) -> int:
        """Class index; :data:`ABSTAINED` where nothing is said."""


class InOrder(Sequence[Of]):
    """Certificates of samples, in their order."""

    def __init__(self, of: Sequence[Of]) -> None:
        self._of = tuple(of)

    def __len__(self) -> int:
        return len(self._of)

    @overload
    def __getitem__(self, index: int) -> Of: ...

    @overload
    def __getitem__(self, index: slice) -> Self: ...

    def __getitem__(self, index: int | slice) -> Of | Self:
        return type(self)(self._of[index]) if isinstance(index, slice) else self._of[index]

    @property
    def predictions(self) -> np.ndarray:
        """Class indices ``(N,)``; :data:`ABSTAINED` where nothing is said."""
        return np.array([one.prediction for one in self], dtype=np.int64)


class Certificates(InOrder[Certificate]):
    """Certificates of samples, in their order.

    >>> from art_multimodal.ablation import elements_of
    >>> from art_multimodal.estimators.certification import AblatedEnsemble, Partition
    >>> elements = {"image": elements_of(classifier.modalities["image"], "blocks:8")}
    >>> certificates = AblatedEnsemble(classifier, elements, Partition({"image": 16})).certify(images)
    >>> isinstance(certificates, Certificates), certificates.certified_accuracy(labels, {"image": 0})
    (True, 1.0)
    """

    def radii(self, name: str) -> np.ndarray:
        """Radius in one modality, ``(N,)``."""
        return np.array([one.radius[name] for one in self], dtype=np.int64)

    def covers(self, budget: Mapping[str, int]) -> np.ndarray:
        """For which samples no attack with so many edits changes the prediction, booleans ``(N,)``."""
        return np.array([one.covers(budget) for one in self], dtype=bool)

    def certified_accuracy(self, y: np.ndarray, budget: Mapping[str, int]) -> float:
        """Share of samples whose prediction is right and stays so whatever an attack with so many edits does.

        :param y: Class indices ``(N,)``.
        """
        return float((self.covers(budget) & (self.predictions == np.asarray(y))).mean()) if len(self) else float("nan")

    def as_art(self, name: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Predictions and radii ``(N,)``, as ART's ``certify`` returns them: -1 for abstaining.

        :param name: Of the modality; ``None`` for edits in all of them together, as many in each.
        """
        if name is not None:
            return self.predictions, self.radii(name)
        return self.predictions, np.array([one.frontier.diagonal for one in self], dtype=np.int64)
