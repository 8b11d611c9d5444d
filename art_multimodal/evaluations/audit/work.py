"""Work on batches: what a model says before any attack and after each, as lines of the log."""

from __future__ import annotations

import time
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from art_multimodal.attacks.budget import Budget
from art_multimodal.evaluations.audit.batches import Batch
from art_multimodal.evaluations.audit.lines import AttackLine, CleanLine, SampleRecord
from art_multimodal.evaluations.audit.passes import entry_of, goes_on_after, is_naive
from art_multimodal.evaluations.audit.subject import Subject
from art_multimodal.evaluations.audit.unfinished import Begun, UnfinishedAudit
from art_multimodal.evaluations.evidence.keeping import Keeper, NullKeeper
from art_multimodal.evaluations.suite import PreparedAttack
from art_multimodal.evaluations.suite.looking import AlsoLooking, is_looked_at

#: Pictures kept for each attack.
PICTURES_PER_ATTACK = 6


class Worker:
    """Makes the lines of batches.

    :param subject: What is attacked.
    :param prepared: The attack of each pass.
    :param budget: What each may spend.
    :param seed: Of the audit.
    :param left: What the log lacks; knows which pictures there are.
    :param pictures: Folder of the pictures.
    :param gallery_hash: Of all samples, where answers depend on them.
    """

    def __init__(
        self,
        subject: Subject,
        prepared: Mapping[str, PreparedAttack],
        budget: Budget,
        seed: int,
        left: UnfinishedAudit,
        pictures: Path,
        gallery_hash: str,
    ) -> None:
        self.subject, self.prepared, self.budget, self.seed = subject, prepared, budget, seed
        self.left, self.pictures, self.gallery_hash = left, pictures, gallery_hash
        #: Keeps the samples themselves, where they are wanted.
        self.keeper: Keeper = NullKeeper()

    def clean(self, batch: Batch) -> CleanLine:
        """The line of a batch before any attack."""
        started = time.perf_counter()
        records: dict[int, SampleRecord] = {}
        with self.subject.counted() as count:
            for rows in self.subject.by_shape(batch.samples):
                said = self.subject.answers(*batch.take(rows), self.budget.batch_size)
                records.update(zip(rows.tolist(), said, strict=True))
        # Elsewhere an answer is a question, which needs no counting.
        counted = self.subject.at_test_time
        self.keeper.clean(batch)
        return CleanLine(
            batch.number,
            batch.listed,
            round(time.perf_counter() - started, 3),
            tuple(records[row] for row in range(len(batch.samples))),
            batch.skipped,
            batch.pixels_hash,
            self.gallery_hash,
            queries=count["queries"] * counted,
            gradients=count["gradients"] * counted,
        )

    def attack(self, name: str, batch: Batch, begun: Begun) -> AttackLine:
        """The line of a batch after an attack.

        :param name: Of the pass.
        :param begun: What is logged of the batch.
        """
        assert begun.clean is not None
        subject, entry, started = self.subject, entry_of(name), time.perf_counter()
        prepared = self.prepared[name]
        if isinstance(prepared, AlsoLooking) and not is_looked_at(batch.number):
            prepared = prepared.prepared
        # Who is attacked is what the log says was right, on whatever machine the run goes on.
        right = [record.right for record in begun.clean.samples]
        # In retrieval ranks can always get worse, so nothing has fallen for good.
        fallen = _fallen(begun.attacks, goes_on_after(name, self.prepared)) if subject.only_right else {}
        records = {row: fallen[index] for row, index in enumerate(batch.indices) if index in fallen}
        everyone = entry.of_everyone or not subject.only_right
        rows = [r for r in range(len(right)) if r not in records and (right[r] or everyone)]
        # As papers do it: one that does not know the defence does not know either whom it has wrong. By themselves, so
        # that the others meet the same random numbers as in every run.
        others = [r for r, was in enumerate(right) if not was] if subject.at_test_time and is_naive(name) else []
        fits = [entry.applies(subject.shape_of(batch.samples[row]), prepared.budget) for row in (*rows, *others)]
        fitting = {row for row, fit in zip((*rows, *others), fits, strict=True) if fit}
        queries: float = 0
        gradients: float = 0
        flags: dict[str, int] = {}
        taking = self.keeper.taking(name, batch)
        together = [*self._by_shape(batch, rows, fitting), *self._by_shape(batch, others, fitting)]
        for group, chosen in enumerate(together):
            indices, samples = batch.take(chosen)
            x, labels = subject.stack(samples), subject.labels(samples)
            with subject.counted() as count:
                seed = seed_of(self.seed, name, batch.number, group)
                attacked = subject.attacked(prepared, is_naive(name), x, labels, seed)
                said = subject.judged(indices, samples, attacked, self.budget.batch_size)
            fell = [bool(right[row] and not one.right) for row, one in zip(chosen, said, strict=True)]
            taking.take(indices, samples, x, attacked, fell)
            own = [record.detail.queries for record in said if record.detail.queries is not None]
            queries += sum(own) if own else count["queries"]
            gradients += count["gradients"]
            for flag, number in attacked.flags.items():
                flags[flag] = flags.get(flag, 0) + number
            places_of = subject.image_rows(samples)
            for row, sample, record, place in zip(chosen.tolist(), samples, said, places_of, strict=True):
                records[row] = record
                if right[row] and not record.right and self._to_be_shown(name, batch.number):
                    shown = subject.show(self.pictures, name, record, sample, attacked, int(place))
                    records[row] = replace(record, pictured=shown)
                    self.left.pictured[name].append(batch.number)
        taking.keep()
        return AttackLine(
            batch.number,
            name,
            batch.listed,
            round(time.perf_counter() - started, 3),
            tuple(records[row] for row in sorted(records)),
            queries,
            gradients,
            tuple(batch.indices[row] for row in (*rows, *others) if row not in fitting),
            flags,
        )

    def _by_shape(self, batch: Batch, rows: Sequence[int], fitting: Collection[int]) -> list[np.ndarray]:
        """Rows of a batch that the attack can work on, together where they have one shape."""
        chosen = np.array([row for row in rows if row in fitting], dtype=np.int64)
        return [chosen[places] for places in self.subject.by_shape([batch.samples[row] for row in chosen])]

    def _to_be_shown(self, name: str, number: int) -> bool:
        return name in self.left.pictured and self.left.taken(name, number) < PICTURES_PER_ATTACK


def _fallen(lines: Mapping[str, AttackLine], attacks: Sequence[str]) -> dict[int, SampleRecord]:
    """What the log says of samples that the given attacks have misled, by their index.

    Without their pictures, and without what it cost: that is counted in the row of the attack that spent it.
    """
    found: dict[int, SampleRecord] = {}
    for name in attacks:
        for record in lines[name].samples if name in lines else ():
            if not record.right and record.index not in found:
                who = record.detail.broken_by or name
                detail = replace(record.detail, queries=None, text_queries=None, broken_by=who)
                found[record.index] = replace(record, detail=detail, pictured=None)
    return found


def seed_of(seed: int, attack: str, batch: int, group: int) -> int:
    """A seed of its own for every attack on every batch, whatever ran before it."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(attack.encode()), batch, group])
    return int(sequence.generate_state(1, np.uint32)[0])
