"""The smoothed model of an audit: what is certified of it, beside what an attack on it leaves."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.batches import Batch
from art_multimodal.evaluations.audit.lines import AttackLine, Classified, SampleRecord
from art_multimodal.evaluations.audit.settings import AuditSettings
from art_multimodal.evaluations.audit.subject import Subject
from art_multimodal.evaluations.smoothing.attacked import AttackedRow, vote_flipping
from art_multimodal.evaluations.smoothing.budgets import EditBudget, budget_name, default_budgets
from art_multimodal.evaluations.smoothing.counting import Counted
from art_multimodal.evaluations.smoothing.rows import EnsembleRow, ensemble_of
from art_multimodal.evaluations.smoothing.settings import CERTIFY_BUDGET
from art_multimodal.evaluations.suite.detail import Detail
from art_multimodal.evaluations.suite.selection import CERTIFIED, FLIPPED, SMOOTHED


class Smoothed:
    """Certifies batches of samples, and attacks what is right within the same budget.

    What is smoothed is the model that answers, with its defences. An attack that breaks a certificate stops the run:
    so no sample is certified and broken, unless votes are drawn at random.

    :param settings: Of the audit; with those of smoothing.
    :param subject: The model and its data.
    :param order: Indices of the samples.
    :raises InputError: If samples have less than is kept, or the budget does not fit them.
    """

    def __init__(self, settings: AuditSettings, subject: Subject, order: np.ndarray) -> None:
        smoothing = settings.smoothing
        assert smoothing is not None
        if subject.views.draws > 1:
            raise InputError(
                "Certificates (--keep) are of a model that says the same of the same sample, and a defence draws at "
                "random: leave one of them out."
            )
        self.settings, self.subject = smoothing, subject
        self.counted = Counted.of(smoothing, subject, order, settings.protected_words, settings.batch_size)
        names = list(self.counted.elements)
        given = smoothing.budget
        #: As it was asked for, and how many elements of each modality that is.
        self.asked = EditBudget.parse(given, CERTIFY_BUDGET) if given else default_budgets(names)[0]
        keep = {name: smoothing.keep[name] for name in names}
        self.ensemble = ensemble_of(smoothing, subject, self.counted.elements, keep, settings.batch_size, settings.seed)
        self.budget = self.counted.resolve(self.asked, CERTIFY_BUDGET, self.ensemble.masks)
        #: The largest number of votes about a sample.
        self.votes = self.counted.check_masks(self.ensemble.masks)
        attack = vote_flipping(smoothing.attack_steps, settings.seed)
        self._row = EnsembleRow(SMOOTHED, self.ensemble, names)
        self._attacked = AttackedRow(FLIPPED, attack, self.ensemble, names, self.budget, smoothing.exact)

    def header(self) -> dict[str, Any]:
        """What a log says of it, in JSON types."""
        return {
            "budget": {
                "spec": self.asked.spec,
                "said": self.asked.words,
                "name": budget_name(self.budget),
                "edits": self.budget,
            },
            "elements": self.counted.described(self.settings.keep, self.ensemble.masks),
            "seen_whole": self.counted.seen_whole,
            "exact": self.settings.exact,
        }

    def protocol(self) -> dict[str, str]:
        """What is done, by keys of the protocol."""
        wrong = "" if self.settings.exact else f", but for a chance of {self.settings.alpha:g} for each sample"
        return {
            SMOOTHED: self._row.protocol,
            FLIPPED: self._attacked.protocol,
            CERTIFIED: (
                "share of all evaluated samples that the smoothed model answers rightly whatever an attacker does "
                f"within {budget_name(self.budget)}, anywhere and to anything{wrong}; an attack that breaks a "
                "certificate stops the run. What is certified is the smoothed model, not the one of the other rows"
            ),
        }

    def line(self, name: str, batch: Batch, attacks: Mapping[str, AttackLine]) -> AttackLine:
        """The line of a batch in one of its passes.

        :param name: :data:`SMOOTHED` or :data:`FLIPPED`.
        :param attacks: Lines of the batch that are there, by the name of the pass.
        :raises CertificateBroken: If an attack breaks what is certified.
        """
        started = time.perf_counter()
        with self.subject.counted() as count:
            said = self._certified(batch) if name == SMOOTHED else self._flipped(batch, attacks[SMOOTHED])
        return AttackLine(
            batch.number,
            name,
            batch.listed,
            round(time.perf_counter() - started, 3),
            tuple(said[index] for index in batch.indices if index in said),
            count["queries"],
            count["gradients"],
            (),
        )

    def _certified(self, batch: Batch) -> dict[int, SampleRecord]:
        """What is said of each sample, and whether it is certified."""
        found = {}
        for rows in self.subject.by_shape(batch.samples):
            indices, samples = batch.take(rows)
            for one in self._row.verdicts(indices, samples, self.subject.stack(samples)):
                detail = Detail(certified=self._attacked.certifies(one))
                found[one.index] = SampleRecord(one.index, one.name, Classified(one.label, one.predicted), detail)
        return found

    def _flipped(self, batch: Batch, before: AttackLine) -> dict[int, SampleRecord]:
        """What is said after the attack of those that were right."""
        right = {one.index for one in before.samples if one.right}
        certified = {one.index for one in before.samples if one.detail.certified}
        kept = np.array([row for row, index in enumerate(batch.indices) if index in right], dtype=np.int64)
        found = {}
        for rows in self.subject.by_shape([batch.samples[row] for row in kept]):
            indices, samples = batch.take(kept[rows])
            for one in self._attacked.verdicts(indices, samples, self.subject.stack(samples), certified):
                found[one.index] = SampleRecord(one.index, one.name, Classified(one.label, one.predicted))
        return found
