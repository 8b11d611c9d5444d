"""Words hidden and pixels noisy: one certificate for edits of elements and Euclidean distances together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from art.estimators.classification.classifier import ClassifierMixin
from art.estimators.estimator import BaseEstimator

from art_multimodal.ablation import Elements
from art_multimodal.errors import InputError
from art_multimodal.estimators.certification.certificate import ABSTAINED, InOrder
from art_multimodal.estimators.certification.deciding import EditKind, overlaps
from art_multimodal.estimators.certification.masks import Ballot, Sampled
from art_multimodal.estimators.certification.voting import NO_CLASS, EstimatorVoters, labels_of
from art_multimodal.functional.certificates.confidence import one_sided_lower
from art_multimodal.functional.certificates.hybrid import gaussian_distance, hybrid_radius

#: Votes that are asked about the first sample in different batches.
_TWICE = 64


@dataclass(frozen=True)
class HybridCertificate:
    """What no attack can change that edits elements of some modalities and moves others by a distance.

    :param prediction: Class index; :data:`ABSTAINED` where the votes do not decide.
    :param votes: Votes for each class, ``(K,)``.
    :param share: Lower bound of the prediction's share of all votes.
    :param counts: Elements that the sample has in each modality that is hidden in part.
    :param sigma: Standard deviation of the noise by the name of the modality.
    :param protocol: One line.
    """

    prediction: int
    votes: np.ndarray
    share: float
    counts: Mapping[str, int]
    sigma: Mapping[str, float]
    protocol: str
    masks: Sampled
    edits: EditKind

    @property
    def abstained(self) -> bool:
        """Whether nothing is said."""
        return self.prediction == ABSTAINED

    def radius(self, budget: Mapping[str, int] | None = None) -> float:
        """The largest distance that is certified beside some edits, in standard deviations; 0 where none is.

        Several modalities with noise share it: the distances ``eps_i`` are certified where
        ``sqrt(sum (eps_i / sigma_i)^2)`` is less.

        :param budget: Number of edits by the name of the modality; 0 for those that are not named.
        :raises InputError: For a modality without elements.
        """
        budget = budget or {}
        if strange := [name for name in budget if name not in self.counts]:
            raise InputError(f"No elements are counted in {strange[0]!r}; they are in {', '.join(self.counts)}.")
        if self.abstained:
            return 0.0
        edits = [budget.get(name, 0) for name in self.counts]
        return min(
            hybrid_radius(self.share, overlap) for overlap in overlaps(self.masks, self.counts, edits, self.edits)
        )

    def radius_of(self, name: str, budget: Mapping[str, int] | None = None) -> float:
        """The largest l2 distance in one modality beside some edits, where the others with noise are untouched.

        :raises InputError: For a modality without noise.
        """
        if name not in self.sigma:
            raise InputError(f"{name!r} has no noise, so no distance; {', '.join(self.sigma)} have.")
        return self.radius(budget) * self.sigma[name]

    def covers(self, budget: Mapping[str, int], eps: Mapping[str, float]) -> bool:
        """Whether no attack with so many edits and such l2 distances changes the prediction.

        :param budget: Number of edits by the name of the modality.
        :param eps: l2 distances by the name of the modality.
        """
        for name in eps:
            self.radius_of(name)
        together = gaussian_distance(list(eps.values()), [self.sigma[name] for name in eps]) if eps else 0.0
        return together < self.radius(budget)


class HybridCertificates(InOrder[HybridCertificate]):
    """Certificates of samples, in their order.

    >>> from art_multimodal.ablation import elements_of
    >>> from art_multimodal.estimators.certification import Bernoulli, HybridSmoothing
    >>> elements = {"fou": elements_of(sensors.modalities["fou"])}
    >>> masks = Bernoulli({"fou": 0.8}, samples=50, choosing=10)
    >>> certificates = HybridSmoothing(sensors, elements, masks, sigma={"pix": 0.25}).certify(x[:2])
    >>> isinstance(certificates, HybridCertificates), [len(of) for of in certificates.as_art("pix", {"fou": 1})]
    (True, [2, 2])
    """

    def radii(self, name: str, budget: Mapping[str, int] | None = None) -> np.ndarray:
        """The l2 distance in one modality beside some edits, ``(N,)``; see :meth:`HybridCertificate.radius_of`."""
        return np.array([one.radius_of(name, budget) for one in self], dtype=float)

    def as_art(self, name: str, budget: Mapping[str, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Predictions and radii ``(N,)``, as ART's ``certify`` returns them: -1 for abstaining.

        :param name: Of the modality with noise.
        :param budget: Number of edits by the name of the modality, as for :meth:`HybridCertificate.radius`.
        """
        return self.predictions, self.radii(name, budget)


class HybridSmoothing(ClassifierMixin, BaseEstimator):
    """Answer by the votes of a classifier about samples with hidden elements and Gaussian noise.

    Whatever the attacker does to a few elements, and wherever numbers move within a distance, the answer stays as
    certified. Without masks it is randomised smoothing, without noise randomised ablation.

    | Paper link: https://arxiv.org/abs/2605.12876 (with masks in place of random words, which certify the same)
    | Paper link: https://arxiv.org/abs/1902.02918 (randomised smoothing)

    >>> from art_multimodal.ablation import elements_of
    >>> from art_multimodal.estimators.certification import Bernoulli
    >>> elements = {"fou": elements_of(sensors.modalities["fou"])}
    >>> masks = Bernoulli({"fou": 0.8}, samples=50, choosing=10)
    >>> smoothed = HybridSmoothing(sensors, elements, masks, sigma={"pix": 0.25})
    >>> certificate = smoothed.certify(x[:1])[0]
    >>> isinstance(certificate, HybridCertificate), certificate.radius({"fou": 1}) >= 0
    (True, True)
    """

    estimator_params = BaseEstimator.estimator_params + ["sigma", "alpha", "edits", "batch_size"]

    def __init__(
        self,
        classifier: Any,
        elements: Mapping[str, Elements],
        masks: Sampled,
        sigma: Mapping[str, float],
        *,
        edits: EditKind = "modify",
        alpha: float = 0.001,
        batch_size: int = 128,
    ) -> None:
        """
        :param classifier: A :class:`ZeroShotClassifier` or a :class:`FusionClassifier`.
        :param elements: What is counted, and hidden, in some modalities, by name.
        :param masks: ``Bernoulli`` or ``Independent``, of the same modalities.
        :param sigma: Standard deviation of the noise in some of the others, by name, in the units of their values.
            Noise leaves the range of values; what the model clips is its own affair.
        :param edits: ``"modify"``, or ``"any"`` for additions and deletions, too.
        :param alpha: With what chance a certificate may be wrong; for each sample.
        :param batch_size: Votes per pass of the model.
        :raises InputError: If these do not fit together.
        """
        if not isinstance(masks, Sampled):
            raise InputError("Noise is drawn, so masks are, too: Bernoulli or Independent.")
        if list(elements) != list(masks.keep):
            raise InputError("Elements and masks must be of the same modalities, in the same order.")
        if both := [name for name in sigma if name in elements]:
            raise InputError(f"{both[0]} is hidden in part and cannot have noise, too: choose one of them.")
        if not sigma or not all(np.isfinite(of) and of > 0 for of in sigma.values()):
            raise InputError("sigma must be a positive number for at least one modality, such as {'image': 0.25}.")
        if not 0 < alpha < 1:
            raise InputError(f"alpha is a chance between 0 and 1, such as 0.001, not {alpha}.")
        self._voters = EstimatorVoters(classifier, elements, batch_size)
        for name in sigma:
            if name not in classifier.modalities or not classifier.modalities[name].numeric:
                raise InputError(f"Noise needs a modality of numbers, and {name!r} is none of the model's.")
        self.classifier, self.masks, self.edits = classifier, masks, edits
        self.sigma, self.alpha, self.batch_size = dict(sigma), alpha, batch_size
        super().__init__(model=classifier, clip_values=None)
        self.nb_classes = classifier.nb_classes

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of a sample, as the classifier says."""
        return self.classifier.input_shape

    @property
    def protocol(self) -> str:
        """One line."""
        noise = ", ".join(f"{name} {of:g}" for name, of in self.sigma.items())
        return (
            f"{self.masks!r}; Gaussian noise on {noise}; {self.masks.samples} votes at random, alpha {self.alpha:g} "
            "for each sample"
        )

    def fit(self, x: np.ndarray, y: np.ndarray, **kwargs: Any) -> None:
        """Train the classifier as it is."""
        self.classifier.fit(x, y, **kwargs)

    def predict(self, x: np.ndarray, **kwargs: Any) -> np.ndarray:
        """Return the share of the votes for each class, ``(N, K)``."""
        x = self._voters.checked(x)
        found = np.zeros((len(x), self.nb_classes), dtype=np.float32)
        for row, counts in enumerate(self._voters.counts(x)):
            found[row] = self._tally(x, row, self.masks.ballot(counts), 0) / self.masks.samples
        return found

    def certify(self, x: np.ndarray) -> HybridCertificates:
        """Certify samples.

        :param x: Samples ``(N,)`` as the classifier takes them.
        :raises InputError: If they cannot be used, or the classifier's answers depend on the batch.
        """
        x, found = self._voters.checked(x), []
        for row, counts in enumerate(self._voters.counts(x)):
            if not row:
                self._check_batches(x, counts)
            chosen = int(self._tally(x, row, self.masks.choosers(counts), 1).argmax())
            votes = self._tally(x, row, self.masks.ballot(counts), 0)
            share = one_sided_lower(int(votes[chosen]), self.masks.samples, self.alpha)
            prediction = chosen if share > 0.5 else ABSTAINED
            found.append(
                HybridCertificate(prediction, votes, share, counts, self.sigma, self.protocol, self.masks, self.edits)
            )
        return HybridCertificates(found)

    def _check_batches(self, x: np.ndarray, counts: Mapping[str, int]) -> None:
        """Ask a few votes about the first sample twice, without noise."""
        ballot = self.masks.drawn(counts, min(self.masks.samples, _TWICE), 1)
        views = self._voters.views(self._voters.fields(x), 0, ballot, self.edits == "modify")
        self._voters.check_batches(views, ballot.seen)

    def _tally(self, x: np.ndarray, row: int, ballot: Ballot, stream: int) -> np.ndarray:
        """Votes for each class, ``(K,)``, each with noise of its own."""
        asking, voters = self._voters.asking, self._voters
        fields = voters.fields(x)
        views = voters.views(fields, row, ballot, self.edits == "modify")
        # The same draws for every sample, so never from what it holds.
        rng = np.random.default_rng([self.masks.seed, 2, stream])
        tally = np.zeros(self.nb_classes, dtype=np.int64)
        for start in range(0, ballot.votes, self.batch_size):
            rows = np.arange(start, min(ballot.votes, start + self.batch_size))
            seen = {}
            for name in fields:
                modality, field = asking.modalities[name], views[name]
                field = field[rows] if name in voters.elements else np.repeat(field, len(rows), axis=0)
                if not modality.numeric:
                    seen[name] = asking.see_texts(name, field.tolist())
                    continue
                if name in self.sigma:
                    values = modality.values(field)
                    noise = self.sigma[name] * rng.standard_normal(values.shape)
                    field = modality.with_values(field, (values + noise).astype(values.dtype))
                seen[name] = asking.see_field(name, field)
            with torch.no_grad():
                labels = labels_of(asking.predicted(asking.scores(asking.fused(seen))))
            tally += np.bincount(labels[labels != NO_CLASS], minlength=self.nb_classes)
        return tally
