"""The rows of a certification: who answers, and what is certified about the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from art_multimodal.ablation import Elements
from art_multimodal.estimators.certification import AblatedEnsemble, ModalityVote
from art_multimodal.evaluations.audit.subject import Subject
from art_multimodal.evaluations.certification.lines import CERTIFIED, MODEL, VOTE, WITHOUT
from art_multimodal.evaluations.certification.radii import Radii
from art_multimodal.evaluations.certification.settings import CertificationSettings
from art_multimodal.evaluations.smoothing.counting import Counted
from art_multimodal.evaluations.smoothing.rows import EnsembleRow, Row, ensemble_of, verdict_of
from art_multimodal.evaluations.smoothing.verdicts import Verdict
from art_multimodal.sample_arrays import with_field

#: Rules of the vote of modalities.
VOTES = ("majority", "median")
#: Fewer modalities have no majority that outlasts the loss of one.
_FEWEST_TO_VOTE = 3


class ModelRow(Row):
    """The model itself, on whole samples: no edit of an element is certified.

    :param radii: Its Euclidean certificates, where it has any.
    """

    def __init__(self, subject: Subject, batch_size: int, radii: Radii | None) -> None:
        super().__init__(MODEL)
        self._subject, self._batch_size, self._radii = subject, batch_size, radii

    @property
    def protocol(self) -> str:
        return "the model itself on whole samples; no edit of an element is certified"

    def verdicts(self, indices: Sequence[int], samples: Sequence[Any], x: np.ndarray) -> list[Verdict]:
        labels = self._subject.estimator.predict_labels(x, batch_size=self._batch_size)
        self.passes["samples"] = self.passes.get("samples", 0) + len(samples)
        said = zip(indices, samples, labels, strict=True)
        found = [Verdict(index, sample.name, sample.label, int(label)) for index, sample, label in said]
        return found if self._radii is None else self._radii.added(found, x)


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
        return [verdict_of(*one) for one in zip(indices, samples, self.vote.certify(x), strict=True)]


def rows_of(
    settings: CertificationSettings, subject: Subject, counted: Counted, radii: Radii | None = None
) -> list[Row]:
    """The rows of a report, in their order: the model, the smoothed one, its controls, and votes of modalities.

    :param radii: Euclidean certificates of the model itself, where it has any.
    :raises InputError: If the masks do not fit the samples.
    """
    elements = counted.elements
    keep = {name: settings.keep[name] for name in elements}
    rows: list[Row] = [ModelRow(subject, settings.batch_size, radii)]

    def smoothed(kept: Mapping[str, float]) -> AblatedEnsemble:
        return ensemble_of(settings, subject, elements, kept, settings.batch_size, settings.seed)

    rows.append(EnsembleRow(CERTIFIED, smoothed(keep), tuple(elements)))
    for name in (name for name, number in keep.items() if number):
        less = {**keep, name: 0}
        if any(less.values()):
            rows.append(EnsembleRow(WITHOUT + name, smoothed(less), tuple(elements), "control: "))
        elif len(counted.modalities) > len(elements):
            rows.append(HiddenRow(WITHOUT + name, subject, elements, settings.batch_size))
    return rows + _votes(settings, subject, counted)


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
