"""Who answers about samples: the smoothed model, and what else a certification asks beside it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from art_multimodal.ablation import Elements
from art_multimodal.estimators.certification import ABSTAINED, AblatedEnsemble, Certificate
from art_multimodal.evaluations.smoothing.settings import SmoothingSettings
from art_multimodal.evaluations.smoothing.verdicts import Verdict

if TYPE_CHECKING:
    from art_multimodal.evaluations.audit.subject import Subject


class Row(ABC):
    """Who answers about samples.

    :param name: Of the row in the report.
    :param names: Of the modalities whose edits are certified.
    """

    def __init__(self, name: str, names: Sequence[str] = ()) -> None:
        self.name, self.names = name, tuple(names)
        #: How often the model was asked so far, by what was asked about.
        self.passes: dict[str, int] = {}

    @property
    @abstractmethod
    def protocol(self) -> str:
        """One line: who answers, and how that is certified."""

    @abstractmethod
    def verdicts(self, indices: Sequence[int], samples: Sequence[Any], x: np.ndarray) -> list[Verdict]:
        """What is said of samples of one shape.

        :param indices: Their places in the data.
        :param samples: As the subject reads them.
        :param x: As the estimator takes them.
        """


class EnsembleRow(Row):
    """A smoothed model: votes on parts of samples."""

    def __init__(self, name: str, ensemble: AblatedEnsemble, names: Sequence[str], said: str = "") -> None:
        super().__init__(name, names)
        self.ensemble, self._said = ensemble, said

    @property
    def protocol(self) -> str:
        return self._said + self.ensemble.protocol

    def verdicts(self, indices: Sequence[int], samples: Sequence[Any], x: np.ndarray) -> list[Verdict]:
        found = self.ensemble.certify(x)
        self.passes = dict(self.ensemble.passes)
        return [verdict_of(*one) for one in zip(indices, samples, found, strict=True)]


def ensemble_of(
    settings: SmoothingSettings,
    subject: Subject,
    elements: Mapping[str, Elements],
    keep: Mapping[str, float],
    batch_size: int,
    seed: int,
) -> AblatedEnsemble:
    """The smoothed model that sees so much.

    :param keep: How much of each modality, by name.
    :param batch_size: Most votes in one pass of the model.
    :param seed: Of votes that are drawn at random.
    """
    more = {} if settings.exact else {"rule": settings.rule, "alpha": settings.alpha}
    return AblatedEnsemble(
        subject.estimator,
        elements,
        settings.masks_with(keep, seed),
        edits=settings.edits,  # type: ignore[arg-type]
        batch_size=batch_size,
        **more,  # type: ignore[arg-type]
    )


def verdict_of(index: int, sample: Any, certificate: Certificate) -> Verdict:
    """What a certificate says of a sample, as logs keep it."""
    votes = {str(of): int(certificate.votes[of]) for of in np.flatnonzero(certificate.votes)}
    nothing = certificate.prediction == ABSTAINED
    return Verdict(
        index,
        sample.name,
        sample.label,
        int(certificate.prediction),
        votes,
        int(certificate.without_class),
        tuple(int(number) for number in certificate.counts.values()),
        () if nothing else tuple(tuple(map(int, corner)) for corner in certificate.frontier.corners),
    )
