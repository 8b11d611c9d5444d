"""A classifier that answers by the votes of its answers about parts of the input, with certificates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from art.estimators.classification.classifier import ClassifierMixin
from art.estimators.estimator import BaseEstimator

from art_multimodal.ablation import Elements
from art_multimodal.errors import InputError, unknown_name
from art_multimodal.estimators.certification.certificate import ABSTAINED, Certificate, Certificates
from art_multimodal.estimators.certification.deciding import (
    OF_THE_SAME_VOTES,
    RULES,
    Counted,
    Decision,
    EditKind,
    Estimated,
)
from art_multimodal.estimators.certification.masks import Ballot, Masks, Sampled
from art_multimodal.estimators.certification.patches import PatchVoters
from art_multimodal.estimators.certification.voting import NO_CLASS, CallableVoters, EstimatorVoters, Voters
from art_multimodal.functional.certificates.frontier import Frontier, frontier
from art_multimodal.modalities.modality import Modality


class AblatedEnsemble(ClassifierMixin, BaseEstimator):
    """Answer by the votes of a base classifier about parts of the input; whoever changes a few elements reaches few.

    Elements of each modality (blocks of pixels, time steps, columns, words) are hidden, and the base classifier votes
    about what is left. A certificate says how many elements of each modality an attacker may change at once, to
    anything and anywhere, without changing the answer.

    | Paper link: https://arxiv.org/abs/2403.19080 (MMCert)
    | Paper link: https://arxiv.org/abs/2302.11628 (votes that are counted and not estimated)

    >>> from art_multimodal.ablation import elements_of
    >>> from art_multimodal.estimators.certification import Partition
    >>> elements = {"image": elements_of(classifier.modalities["image"], "blocks:8")}
    >>> ensemble = AblatedEnsemble(classifier, elements, Partition({"image": 4}))
    >>> certificates = ensemble.certify(images[:4])
    >>> certificates.predictions.shape, certificates.radii("image").shape
    ((4,), (4,))
    """

    estimator_params = BaseEstimator.estimator_params + ["edits", "location_aware", "rule", "alpha", "batch_size"]

    def __init__(
        self,
        classifier: Any,
        elements: Mapping[str, Elements],
        masks: Masks,
        *,
        modalities: Mapping[str, Modality] | None = None,
        nb_classes: int | None = None,
        edits: EditKind = "modify",
        location_aware: bool = True,
        rule: str = "majority",
        alpha: float = 0.001,
        drop_tokens: bool = False,
        batch_size: int = 128,
    ) -> None:
        """
        :param classifier: A :class:`ZeroShotClassifier` (elements of ``image``), a :class:`FusionClassifier`, or a
            function of samples that returns class indices or scores.
        :param elements: What is counted, and hidden, in each modality, by name. Modalities that are not named are
            always seen whole, and no change of them is certified.
        :param masks: Which elements votes see.
        :param modalities: What samples of a function consist of.
        :param nb_classes: Number of classes of a function.
        :param edits: ``"modify"``: the attacker changes elements in place. ``"any"``: elements are also added and
            deleted, so the base classifier sees those that are kept in order and without their places.
        :param location_aware: Whether, where all votes are known, the worst places of an attack are looked for, which
            certifies more.
        :param rule: Of votes that are drawn at random: ``"majority"`` (a one-sided bound of the share of the class),
            ``"paired"`` (of its difference to each other class) or ``"published"`` (two-sided bounds of all classes, so
            the same votes choose the class and none are cast besides).
        :param alpha: With what chance a certificate may be wrong where votes are drawn at random; for each sample.
        :param drop_tokens: Whether a vision transformer leaves hidden patches out, which cost nothing then, in place of
            seeing them filled in.
        :param batch_size: Votes per pass of the model.
        :raises InputError: If these do not fit together.
        """
        if not isinstance(masks, Masks):
            raise InputError(f"masks must be Partition, Design or other Masks, not {type(masks).__name__}.")
        if list(elements) != list(masks.keep):
            raise InputError(
                f"The masks keep elements of {', '.join(masks.keep)}, and elements are given of "
                f"{', '.join(elements) or 'nothing'}: give the same modalities in the same order."
            )
        if edits not in ("modify", "any"):
            raise unknown_name("kind of edits", str(edits), ("modify", "any"))
        if edits == "any" and not masks.any_edits:
            raise InputError(
                f"Masks {masks.name} certify modifications only. Where elements are added or deleted, use all, "
                "independent or bernoulli."
            )
        if edits == "any" and (fixed := [name for name, of in elements.items() if not of.squeezes]):
            raise InputError(
                f"Elements of {fixed[0]} ({elements[fixed[0]].unit}) stay where they are, so none is added or deleted: "
                "certify edits='modify', or leave that modality out."
            )
        if rule not in RULES:
            raise unknown_name("rule", str(rule), RULES)
        if not 0 < alpha < 1:
            raise InputError(f"alpha is a chance between 0 and 1, such as 0.001, not {alpha}.")
        self.classifier, self.masks, self.edits = classifier, masks, edits
        self.location_aware, self.rule, self.alpha, self.batch_size = location_aware, rule, alpha, batch_size
        self.voters: Voters
        if hasattr(classifier, "asking"):
            self.voters = (PatchVoters if drop_tokens else EstimatorVoters)(classifier, elements, batch_size)
            nb_classes = classifier.nb_classes
        elif callable(classifier) and modalities is not None and nb_classes is not None:
            self.voters = CallableVoters(classifier, modalities, elements, batch_size)
        else:
            raise InputError(
                "The base classifier is a ZeroShotClassifier, a FusionClassifier, or a function with modalities and "
                f"nb_classes, not {type(classifier).__name__}."
            )
        super().__init__(model=classifier, clip_values=None)
        # ART's constructor begins with none.
        self.nb_classes = int(nb_classes)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of a sample, as the base classifier says."""
        return getattr(self.classifier, "input_shape", ())

    @property
    def elements(self) -> dict[str, Elements]:
        """What is counted, and hidden, in each modality, by name."""
        return self.voters.elements

    @property
    def modalities(self) -> Mapping[str, Modality]:
        """What samples consist of, by name."""
        return self.voters.modalities

    @property
    def passes(self) -> dict[str, int]:
        """How often the base classifier was asked: votes, and views of each modality that is embedded by itself."""
        return dict(self.voters.passes)

    @property
    def protocol(self) -> str:
        """One line: what is hidden, who votes, and with which confidence."""
        hidden = ", ".join(
            f"{self.masks.said(name)} (element: {of.unit})" if self.masks.keep[name] else self.masks.said(name)
            for name, of in self.voters.elements.items()
        )
        edits = "modified" if self.edits == "modify" else "modified, added or deleted"
        if self.masks.exact:
            where = ", worst places searched" if self.location_aware and self.edits == "modify" else ""
            how = f"all votes counted, no confidence level{where}"
        else:
            assert isinstance(self.masks, Sampled)
            how = f"{self.masks.samples} votes at random, rule {self.rule}, alpha {self.alpha:g} for each sample"
        return f"masks {self.masks.name}: each vote sees {hidden}; elements are {edits}; {how}"

    def fit(self, x: np.ndarray, y: np.ndarray, **kwargs: Any) -> None:
        """Train the base classifier as it is; the training method ``ablation`` trains it on parts of the input."""
        self.classifier.fit(x, y, **kwargs)

    def predict(self, x: np.ndarray, **kwargs: Any) -> np.ndarray:
        """Return the share of the votes for each class, ``(N, K)``; equal shares mean the class that comes first.

        :param x: Samples ``(N,)`` as the base classifier takes them.
        :raises InputError: As :meth:`certify` does.
        """
        found = np.zeros((len(x), self.nb_classes), dtype=np.float32)
        for row, (_, _, votes) in enumerate(self.voted(self.checked(x))):
            found[row] = self.tally(votes) / len(votes)
        return found

    def checked(self, x: np.ndarray) -> np.ndarray:
        """Samples as the base classifier takes them.

        :raises InputError: If they are not.
        """
        return self.voters.checked(x)

    def fields(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """The fields of samples by the name of the modality."""
        return self.voters.fields(x)

    def answer(self, votes: np.ndarray) -> int:
        """The class with most votes, the first among equals; :data:`ABSTAINED` where none voted for a class."""
        tally = self.tally(votes)
        return int(tally.argmax()) if tally.any() else ABSTAINED

    def certify(self, x: np.ndarray) -> Certificates:
        """Certify samples.

        :param x: Samples ``(N,)`` as the base classifier takes them.
        :raises InputError: If they cannot be used, a sample has fewer elements than are kept, or the base classifier's
            answers depend on the batch.
        """
        x = self.checked(x)
        return Certificates([self._certificate(x, row, *voted) for row, voted in enumerate(self.voted(x, twice=True))])

    def _certificate(
        self, x: np.ndarray, row: int, counts: dict[str, int], ballot: Ballot, votes: np.ndarray
    ) -> Certificate:
        tally, names = self.tally(votes), tuple(counts)
        decision = self._decision(x, row, counts, ballot, votes, tally)
        edge = frontier(names, tuple(counts.values()), decision.holds) if tally.any() else Frontier(names, ())
        certain = edge.covers(dict.fromkeys(names, 0))
        return Certificate(
            decision.prediction if certain else ABSTAINED,
            tally,
            int((votes == NO_CLASS).sum()),
            edge,
            counts,
            self.protocol,
        )

    def _decision(
        self,
        x: np.ndarray,
        row: int,
        counts: dict[str, int],
        ballot: Ballot,
        votes: np.ndarray,
        tally: np.ndarray,
    ) -> Decision:
        if not isinstance(self.masks, Sampled):
            return Counted(self.masks, self.edits, counts, ballot, votes, tally, self.location_aware)
        chosen = tally
        if self.rule not in OF_THE_SAME_VOTES:
            chosen = self.tally(self.ask(x, row, self.masks.choosers(counts)))
        decided = RULES[self.rule](int(chosen.argmax()), tally, len(votes), self.alpha)
        return Estimated(self.masks, self.edits, counts, *decided)

    def voted(self, x: np.ndarray, twice: bool = False) -> Iterator[tuple[dict[str, int], Ballot, np.ndarray]]:
        """Of each sample the number of elements, who votes, and what each vote says.

        :param x: Samples ``(N,)``.
        :param twice: Whether the first sample is asked about in different batches.
        """
        for row, counts in enumerate(self.voters.counts(x)):
            ballot = self.masks.ballot(counts)
            yield counts, ballot, self.ask(x, row, ballot, twice and not row)

    def ask(self, x: np.ndarray, row: int, ballot: Ballot, twice: bool = False) -> np.ndarray:
        """What those who vote say about one sample, ``(V,)``."""
        views = self.voters.views(self.fields(x), row, ballot, self.edits == "modify")
        if twice:
            self.voters.check_batches(views, ballot.seen)
        return self.voters.votes(views, ballot.seen)

    def tally(self, votes: np.ndarray) -> np.ndarray:
        """Votes for each class, ``(K,)``; whole numbers, never sums of shares.

        :raises InputError: If a vote is for none of the classes.
        """
        if len(votes) and not NO_CLASS <= votes.min() <= votes.max() < self.nb_classes:
            wrong = votes.max() if votes.max() >= self.nb_classes else votes.min()
            raise InputError(
                f"The base classifier said class {int(wrong)}; classes are 0 to {self.nb_classes - 1}, and {NO_CLASS} "
                "means none."
            )
        return np.bincount(votes[votes != NO_CLASS], minlength=self.nb_classes)
