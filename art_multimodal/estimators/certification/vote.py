"""The certificate that costs nothing: a vote of what each modality says alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from art.estimators.classification.classifier import ClassifierMixin
from art.estimators.estimator import BaseEstimator

from art_multimodal.errors import InputError, check_count, unknown_name
from art_multimodal.estimators.certification.certificate import ABSTAINED, Certificate, Certificates
from art_multimodal.estimators.certification.voting import NO_CLASS, labels_of
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.functional.certificates.frontier import Frontier, frontier

RULES = ("majority", "median")


class ModalityVote(ClassifierMixin, BaseEstimator):
    """Answer by a vote of the modalities, which no change of a minority of them can turn, however large it is.

    Each modality predicts alone. ``"majority"`` answers with the class of most of them, the first among equals;
    ``"median"`` with the largest median of their log-probabilities. There is no radius, nothing is hidden and nothing
    is sampled: one forward pass. An edit of a certificate is a modality that is replaced as a whole.

    With fewer than three modalities there is no majority, and only that nothing changes is certified.

    >>> three = ModalityVote(FusionClassifier(load_model("demo:views/late")))
    >>> three.predict(x).shape, three.certify(x[:1])[0].covers({"pix": 1})
    ((8, 10), True)
    """

    estimator_params = BaseEstimator.estimator_params + ["rule", "batch_size"]

    def __init__(self, classifier: FusionClassifier, rule: str = "majority", batch_size: int = 128) -> None:
        """
        :param classifier: With a model that says something of each modality alone: one with the fusion ``late``,
            ``median`` or ``unis_mmc``, for example.
        :param rule: ``"majority"`` or ``"median"``.
        :param batch_size: Samples per pass of the model.
        :raises InputError: If the model says nothing of a modality alone, or the rule is unknown.
        """
        if rule not in RULES:
            raise unknown_name("rule", str(rule), RULES)
        check_count("batch size", batch_size)
        self.classifier, self.rule, self.batch_size = classifier, rule, batch_size
        super().__init__(model=classifier, clip_values=None)
        self.nb_classes = classifier.nb_classes
        self._asking = classifier.asking(batch_size)
        if not self._asking.separate:
            raise InputError(
                "A vote of modalities needs a model that embeds each by itself, and in this one they meet."
            )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of a sample, as the classifier says."""
        return self.classifier.input_shape

    @property
    def protocol(self) -> str:
        """One line."""
        return f"{self.rule} of what each modality says alone; an edit replaces a whole modality by anything"

    def fit(self, x: np.ndarray, y: np.ndarray, **kwargs: Any) -> None:
        """Train the classifier."""
        self.classifier.fit(x, y, **kwargs)

    def predict(self, x: np.ndarray, **kwargs: Any) -> np.ndarray:
        """Return shares of the votes, or medians of log-probabilities, ``(N, K)``."""
        logs, there = self._logs(x)
        return self._scores(logs, there).astype(np.float32)

    def certify(self, x: np.ndarray) -> Certificates:
        """Certify samples: of a budget each modality counts as replaced (1 or more) or untouched (0).

        :param x: Samples ``(N,)``.
        """
        logs, there = self._logs(x)
        return Certificates([self._certificate(*one) for one in zip(logs, there, strict=True)])

    def _certificate(self, logs: np.ndarray, there: np.ndarray) -> Certificate:
        names = tuple(self.classifier.modalities)
        scores = self._scores(logs[None], there[None])[0]
        prediction = int(scores.argmax())
        said = labels_of(logs)
        votes = np.bincount(said[there & (said != NO_CLASS)], minlength=self.nb_classes)
        decided = bool(votes.any())

        def holds(replaced: tuple[int, ...]) -> bool:
            touched = np.array(replaced, dtype=bool)
            if not touched.any():
                return True
            if self.rule == "median":
                return self._median_holds(logs, there, touched, prediction)
            return self._majority_holds(said[~touched & there], int(touched.sum()), prediction)

        edge = frontier(names, (1,) * len(names), holds) if decided else Frontier(names, ())
        return Certificate(
            prediction if decided else ABSTAINED,
            votes,
            int((said[there] == NO_CLASS).sum()),
            edge,
            dict.fromkeys(names, 1),
            self.protocol,
        )

    def _scores(self, logs: np.ndarray, there: np.ndarray) -> np.ndarray:
        """What decides, ``(N, K)``, of log-probabilities ``(N, M, K)``."""
        said = labels_of(logs.reshape(-1, self.nb_classes)).reshape(there.shape)
        counts = there & (said != NO_CLASS)
        if self.rule == "majority":
            votes = np.eye(self.nb_classes)[said] * counts[:, :, None]
            return votes.sum(axis=1) / np.maximum(1, counts.sum(axis=1))[:, None]
        found = np.zeros((len(logs), self.nb_classes))
        for row, (of, counted) in enumerate(zip(logs, counts, strict=True)):
            if counted.any():
                found[row] = np.median(of[counted], axis=0)
        return found

    def _majority_holds(self, untouched: np.ndarray, touched: int, prediction: int) -> bool:
        """Whether the prediction wins even if all that are touched vote for one other class."""
        votes = np.bincount(untouched[untouched != NO_CLASS], minlength=self.nb_classes)
        ahead = votes[prediction] - votes - touched
        # Of equal numbers of votes the class that comes first wins.
        stays = (ahead > 0) | ((ahead == 0) & (np.arange(self.nb_classes) > prediction))
        stays[prediction] = True
        return bool(stays.all())

    def _median_holds(self, logs: np.ndarray, there: np.ndarray, touched: np.ndarray, prediction: int) -> bool:
        """Whether the prediction wins wherever in [-inf, 0] the log-probabilities of what is touched lie.

        One that is missing may be put in by an attacker, and one that is there taken away: each number of modalities
        that can count is looked at.
        """
        untouched = logs[there & ~touched & np.isfinite(logs).all(axis=1)]
        for count in range(int(touched.sum()) + 1):
            if not len(untouched) + count:
                return False
            low = np.median(np.concatenate([untouched, np.full((count, self.nb_classes), -np.inf)]), axis=0)
            high = np.median(np.concatenate([untouched, np.zeros((count, self.nb_classes))]), axis=0)
            others = np.delete(high, prediction)
            if not low[prediction] > others.max():
                return False
        return True

    def _logs(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-probabilities of each modality alone, ``(N, M, K)`` in float64, and which a sample has, ``(N, M)``."""
        x, modalities = self.classifier.checked(x), self.classifier.modalities
        asking, found, there = self._asking, [], []
        for start in range(0, len(x), self.batch_size):
            some = x[start : start + self.batch_size]
            seen = {
                name: asking.see_field(name, some[name])
                if modality.numeric
                else asking.see_texts(name, some[name].tolist())
                for name, modality in modalities.items()
            }
            features, present = asking.features(seen)
            with torch.no_grad():
                scores = asking.model.unimodal_scores(features)
            if scores is None:
                raise InputError(
                    "The model says nothing of a modality alone: a vote needs one with a fusion such as late, median "
                    "or unis_mmc."
                )
            stacked = torch.stack([scores[name] for name in modalities], dim=1).double()
            found.append(torch.log_softmax(stacked, dim=2).cpu().numpy())
            there.append(torch.stack([present[name] for name in modalities], dim=1).cpu().numpy())
        if not found:
            shape = (0, len(modalities))
            return np.zeros((*shape, self.nb_classes)), np.zeros(shape, dtype=bool)
        return np.concatenate(found), np.concatenate(there)
