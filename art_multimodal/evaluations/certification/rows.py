"""The rows of a certification: who answers, and what is certified about the answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from art_multimodal.ablation import Elements
from art_multimodal.estimators.certification import ABSTAINED, AblatedEnsemble, Certificate, ModalityVote
from art_multimodal.evaluations.audit.subject import Subject
from art_multimodal.evaluations.certification.counting import Counted
from art_multimodal.evaluations.certification.lines import CERTIFIED, MODEL, VOTE, WITHOUT, Verdict
from art_multimodal.evaluations.certification.settings import CertificationSettings
from art_multimodal.sample_arrays import with_field

#: Rules of the vote of modalities.
VOTES = ("majority", "median")
#: Fewer modalities have no majority that outlasts the loss of one.
_FEWEST_TO_VOTE = 3


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


class ModelRow(Row):
    """The model itself, on whole samples; nothing is certified."""

    def __init__(self, subject: Subject, batch_size: int) -> None:
        super().__init__(MODEL)
        self._subject, self._batch_size = subject, batch_size

    @property
    def protocol(self) -> str:
        return "the model itself on whole samples; nothing is certified about it"

    def verdicts(self, indices: Sequence[int], samples: Sequence[Any], x: np.ndarray) -> list[Verdict]:
        labels = self._subject.estimator.predict_labels(x, batch_size=self._batch_size)
        self.passes["samples"] = self.passes.get("samples", 0) + len(samples)
        found = zip(indices, samples, labels, strict=True)
        return [Verdict(index, sample.name, sample.label, int(label)) for index, sample, label in found]


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
        return [_verdict(*one) for one in zip(indices, samples, found, strict=True)]


class HiddenRow(Row):
    """A control that sees nothing of what can be hidden, and the rest whole: no edit can change its answers."""

    def __init__(self, name: str, subject: Subject, elements: Mapping[str, Elements], batch_size: int) -> None:
        super().__init__(name, tuple(elements))
        self._subject, self._elements, self._batch_size = subject, elements, batch_size

    @property
    def protocol(self) -> str:
        return f"control: nothing of {', '.join(self.names)} is seen, and everything else whole"

    def verdicts(self, indices: Sequence[int], samples: Sequence[Any], x: np.ndarray) -> list[Verdict]:
        estimator = self._subject.estimator
        fields = estimator.asking(self._batch_size).fields(x)
        counts = {name: of.count(fields[name]) for name, of in self._elements.items()}
        for name, of in self._elements.items():
            nothing = np.zeros((len(x), int(counts[name].max(initial=0))), dtype=bool)
            x = with_field(x, name, of.keep(fields[name], nothing))
        labels = estimator.predict_labels(x, batch_size=self._batch_size)
        self.passes["samples"] = self.passes.get("samples", 0) + len(samples)
        found = []
        for row, (index, sample) in enumerate(zip(indices, samples, strict=True)):
            own = tuple(int(of[row]) for of in counts.values())
            label = int(labels[row])
            found.append(Verdict(index, sample.name, sample.label, label, {str(label): 1}, 0, own, (own,)))
        return found


class VoteRow(Row):
    """A vote of what each modality says alone: holds against any change of a minority of them."""

    def __init__(self, rule: str, vote: ModalityVote, names: Sequence[str]) -> None:
        super().__init__(f"{VOTE}{rule}", names)
        self.vote = vote

    @property
    def protocol(self) -> str:
        return self.vote.protocol

    def verdicts(self, indices: Sequence[int], samples: Sequence[Any], x: np.ndarray) -> list[Verdict]:
        self.passes["samples"] = self.passes.get("samples", 0) + len(samples)
        return [_verdict(*one) for one in zip(indices, samples, self.vote.certify(x), strict=True)]


def rows_of(settings: CertificationSettings, subject: Subject, counted: Counted) -> list[Row]:
    """The rows of a report, in their order: the model, the smoothed one, its controls, and votes of modalities.

    :raises InputError: If the masks do not fit the samples.
    """
    elements = counted.elements
    keep = {name: settings.keep[name] for name in elements}
    rows: list[Row] = [ModelRow(subject, settings.batch_size)]
    rows.append(EnsembleRow(CERTIFIED, ensemble_of(settings, subject, elements, keep), tuple(elements)))
    for name in (name for name, number in keep.items() if number):
        less = {**keep, name: 0}
        if any(less.values()):
            control = ensemble_of(settings, subject, elements, less)
            rows.append(EnsembleRow(WITHOUT + name, control, tuple(elements), "control: "))
        elif len(counted.modalities) > len(elements):
            rows.append(HiddenRow(WITHOUT + name, subject, elements, settings.batch_size))
    return rows + _votes(settings, subject, counted)


def ensemble_of(
    settings: CertificationSettings, subject: Subject, elements: Mapping[str, Elements], keep: Mapping[str, float]
) -> AblatedEnsemble:
    """The smoothed model that sees so much."""
    more = {} if settings.exact else {"rule": settings.rule, "alpha": settings.alpha}
    return AblatedEnsemble(
        subject.estimator,
        elements,
        settings.masks_with(keep),
        edits=settings.edits,  # type: ignore[arg-type]
        batch_size=settings.batch_size,
        **more,  # type: ignore[arg-type]
    )


def _votes(settings: CertificationSettings, subject: Subject, counted: Counted) -> list[Row]:
    """Votes of modalities, where each says something alone."""
    names = tuple(counted.modalities)
    asking = subject.estimator.asking(settings.batch_size)
    if len(names) < _FEWEST_TO_VOTE or not (asking.separate and _says_alone(subject, asking)):
        return []
    return [VoteRow(rule, ModalityVote(subject.estimator, rule, settings.batch_size), names) for rule in VOTES]


def _says_alone(subject: Subject, asking: Any) -> bool:
    """Whether the model has scores of each modality alone, asked about one sample."""
    x = subject.stack([subject.read(0)])
    seen = {}
    for name, field in asking.fields(x).items():
        numeric = asking.modalities[name].numeric
        seen[name] = asking.see_field(name, field) if numeric else asking.see_texts(name, field.tolist())
    features, _ = asking.features(seen)
    return asking.model.unimodal_scores(features) is not None


def _verdict(index: int, sample: Any, certificate: Certificate) -> Verdict:
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
