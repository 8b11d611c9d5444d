"""Running an audit: groups of samples through every attack, each result logged as its group ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from art.evaluations.evaluation import Evaluation

from art_multimodal.attacks.budget import Budget
from art_multimodal.datasets.reading import MAX_SKIPPED, check_max_skipped
from art_multimodal.devices import device_type_of
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.batches import Batch
from art_multimodal.evaluations.audit.header import header_of
from art_multimodal.evaluations.audit.lines import CLEAN, AttackLine, Line
from art_multimodal.evaluations.audit.log import RunLog
from art_multimodal.evaluations.audit.opening import notes_on_radii, open_subject
from art_multimodal.evaluations.audit.passes import Pass, passes_of, smoothed_passes
from art_multimodal.evaluations.audit.radii import within_a_radius
from art_multimodal.evaluations.audit.settings import AuditSettings
from art_multimodal.evaluations.audit.sharding import merge
from art_multimodal.evaluations.audit.shown_samples import are_whole
from art_multimodal.evaluations.audit.smoothed import Smoothed
from art_multimodal.evaluations.audit.summary import summary_rows, weighed_modalities
from art_multimodal.evaluations.audit.unfinished import UnfinishedAudit
from art_multimodal.evaluations.audit.universal import with_universal
from art_multimodal.evaluations.audit.work import PICTURES_PER_ATTACK, Worker
from art_multimodal.evaluations.evidence.keeping import NONE, keeper_for
from art_multimodal.evaluations.suite import RETRIEVAL, SAMPLES, entry_of
from art_multimodal.evaluations.suite.looking import who_looks
from art_multimodal.evaluations.suite.selection import selected
from art_multimodal.evaluations.suite.text import one_text
from art_multimodal.language.proposing import notes_on_words
from art_multimodal.out_folders import check_apart, check_no_strangers
from art_multimodal.processes import failing_together, is_main_process, process_count
from art_multimodal.store import FolderLock, Watch, own_log, shared_out

#: Called with the name of an attack (or "clean") and the number of samples that it has just finished.
Progress = Callable[[str, int], None]


class Audit(Evaluation):
    """Attack a model on labelled images, or image-text pairs for a fusion model, and log what happens.

    Samples are read group by group, so memory does not grow with the data. Only samples that are classified right are
    attacked. Every attack on every group has random numbers of its own, drawn from the seed, so a run that was killed
    and resumed gives the numbers of one that was not. Groups are those of the order, whatever the batch size, which
    says how many samples a pass of the model holds.

    >>> from art_multimodal.evaluations.audit import AuditSettings, write_reports
    >>> settings = AuditSettings("demo:shapes", "demo:shapes", attacks="art_pgd", steps=1, limit=4)
    >>> report = write_reports(Audit(settings, "questions", device="cpu").evaluate())
    >>> list(report["results"])[:2], Path("questions", "report.html").exists()
    (['clean', 'art_pgd'], True)
    """

    def __init__(
        self,
        settings: AuditSettings,
        out: str | Path,
        device: str = "auto",
        strict: bool = False,
        max_skipped: float = MAX_SKIPPED,
        fixtures: str = NONE,
    ) -> None:
        """Load the model, open the data and check every setting, so that bad input is found before any work.

        :param settings: What to do.
        :param out: Folder of the run.
        :param device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        :param strict: Stop at an unreadable sample instead of skipping it.
        :param max_skipped: Do not begin where it is clear that more than this share of the samples cannot be read.
        :param fixtures: Which attacked samples are kept as evidence: ``"none"``, ``"successes"`` or ``"all"``; see
            :func:`art_multimodal.evaluations.evidence.bundle.write_bundle`.
        :raises InputError: For anything that cannot be used.
        """
        self.out = Path(out)
        self.strict = strict
        self.max_skipped = check_max_skipped(max_skipped)
        check_no_strangers(self.out)
        self.subject = open_subject(settings, device_type_of(device))
        self.subject.own_notes += notes_on_radii(settings, self.subject)
        self.settings = settings = settings.for_task(self.subject.task)
        check_apart(self.out, self.subject.data.folders)
        self.estimator = self.subject.estimator
        # Sources list samples class by class: a seeded order makes a limited audit a fair sample of all of them.
        order = np.random.default_rng(settings.seed).permutation(len(self.subject.data))
        self.order = order[: settings.limit] if settings.limit else order
        self.subject.select(self.order)
        self.subject.look(self.order)
        task = self.subject.task
        nb_classes = len(self.estimator.gallery if task == RETRIEVAL else self.subject.class_names)
        modalities = self.estimator.modalities if task == SAMPLES else {}
        self.budget = settings.budget(self.subject.data.protected_words, modalities)
        self.budget = with_universal(settings, self.budget, task)
        surrogates = {one.name: one.classifier for one in self.subject.surrogates}
        self.budget = replace(self.budget, surrogates=surrogates)
        selection = selected(settings.attacks, nb_classes, task, self.estimator, self.budget)
        self.attacks = selection.names
        self.subject.own_notes += selection.notes
        self.subject.weighed = weighed_modalities(self.attacks, task)
        self.subject.looks = who_looks(self.attacks, tuple(modalities))
        if self.subject.views.draws > 1:
            # Random defences draw in every pass: what they draw must not depend on how many samples it holds.
            self.budget = replace(self.budget, batch_size=settings.together)
        smaller = settings.smaller_budgets(self.budget, modalities).items()
        self.smaller = {
            name: replace(budget, universal=self.budget.universal, surrogates=surrogates) for name, budget in smaller
        }
        within = {name: within_a_radius(self.attacks, budget) for name, budget in self.smaller.items()}
        self.passes = passes_of(self.attacks, bool(settings.defences), within)
        self.prepared = {name: self.subject.prepare_pass(name, self.budget_of(name)) for name in self.passes}
        self.smoothed = Smoothed(settings, self.subject, self.order) if settings.smoothing else None
        #: What is run on every batch, in this order: the attacks, then the smoothed model.
        self.all_passes = (*self.passes, *smoothed_passes(self.smoothed))
        self.keeper = keeper_for(fixtures, self.subject, self.passes)
        ask_for_words = [name for name in self.attacks if entry_of(name).words]
        if task == SAMPLES:
            # Where there are other modalities, those that are on the text.
            text = one_text(self.estimator)
            ask_for_words = [name for name in ask_for_words if text and name.endswith(f"@{text}")]
        if ask_for_words:
            self.subject.own_notes += notes_on_words(self.budget.text.language_model)

    def budget_of(self, name: str) -> Budget:
        """What a pass may spend."""
        return self.smaller.get(Pass.of(name).eps, self.budget)

    def check_readable(self) -> None:
        """Find out, before any work and without leaving a trace, whether enough samples can be read.

        :raises InputError: If none can, or more than ``max_skipped`` of them are not there.
        """
        self.subject.check_readable(self.order, self.max_skipped)

    def header(self) -> dict[str, Any]:
        """Return what identifies the run: settings, exact model and data, protocol, versions."""
        header = header_of(self.settings, self.subject, self.attacks, self.budget, len(self.order), self.smaller)
        if self.smoothed is not None:
            header["smoothing"] = self.smoothed.header()
            header["protocol"] |= self.smoothed.protocol()
        return header

    @property
    def report_rows(self) -> list[str]:
        """Rows of the report that something can be asked of by name."""
        return summary_rows(self.attacks, self.smoothed is not None)

    def evaluate(self, resume: bool = False, progress: Progress | None = None, watch: Watch | None = None) -> RunLog:
        """Run what is not in the log yet.

        :param resume: Go on with the run in the folder, which must have the same settings, model and data.
        :param progress: Told about every finished attack on a batch, also of those found in the log; with several
            processes about one batch of each at once.
        :param watch: Told the same with the seconds that it took.
        :return: The complete log.
        :raises InputError: If the folder cannot be used, or the run to resume is another one.
        """

        def report(name: str, count: int, seconds: float) -> None:
            if progress is not None:
                progress(name, count)
            if watch is not None:
                watch(name, count, seconds)

        with FolderLock(self.out) as lock:
            log, gallery_hash = self._open(resume, lock)
            with failing_together():
                self.keeper.open(self.out)
            left = self._plan(log, report)
            gallery_hash = self._checked_gallery(gallery_hash, left)
            self._work(log, left, gallery_hash, report)
            with failing_together():
                # What one process wrote from the first line to the last stands in order.
                if is_main_process() and (resume or process_count() > 1):
                    self._merge(log)
        return log

    def _open(self, resume: bool, lock: FolderLock) -> tuple[RunLog, str | None]:
        """The log of the run, new or gone on with; and of a new one the hash of the gallery."""
        gallery_hash: str | None = None

        def anew() -> None:
            nonlocal gallery_hash
            self.check_readable()
            gallery_hash = self._prepare()

        log = RunLog.begin(self.out, self.header(), resume, lock, anew, self._merge)
        return log, gallery_hash

    def _plan(self, log: RunLog, watch: Watch) -> UnfinishedAudit:
        """What is to be done."""

        def has_pictures(line: AttackLine) -> bool:
            shown = [record for record in line.samples if record.pictured is not None]
            return all(are_whole(log.pictures, line.attack, record) for record in shown)

        batches = -(-len(self.order) // self.settings.together)
        pictured: dict[str, list[int]] = {name: [] for name in self.attacks}
        left = UnfinishedAudit(
            pictured=pictured, pictures_are_whole=has_pictures, fixtures_are_whole=self.keeper.is_whole
        )
        left.read(log.lines(), batches, (CLEAN, *self.all_passes), watch)
        return left

    def _checked_gallery(self, gallery_hash: str | None, left: UnfinishedAudit) -> str:
        """The hash of the gallery of a run that is gone on with, whose samples are as they were."""
        with failing_together():
            if gallery_hash is None and left.batches:
                gallery_hash = self._prepare()
                if left.gallery_hash and gallery_hash != left.gallery_hash:
                    raise InputError(
                        "Images of the run to resume have changed since, and all ranks depend on them. Put them back, "
                        "or choose another --out."
                    )
        return gallery_hash or ""

    def _work(self, log: RunLog, left: UnfinishedAudit, gallery_hash: str, watch: Watch) -> None:
        """Do what is left, one batch after the other; of several processes each has batches of its own."""
        with failing_together():
            own = own_log(log)
            worker = Worker(
                self.subject, self.prepared, self.budget, self.settings.seed, left, log.pictures, gallery_hash
            )
            worker.keeper = self.keeper
            for number, at_once in shared_out(left.batches):
                self._batch(number, worker, own, partial(self._tell, watch, left, at_once))

    def _tell(self, watch: Watch, left: UnfinishedAudit, at_once: list[int], line: Line) -> None:
        """Report what all processes are through with when this one is, as far as it can tell."""
        new = (number for number in at_once if (number, line.attack) not in left.done)
        watch(line.attack, sum(len(self._positions(number)) for number in new), line.seconds)

    def _batch(self, number: int, worker: Worker, own: RunLog, tell: Callable[[Line], None]) -> None:
        left = worker.left
        batch = Batch.read(self.subject, number, self._positions(number), self.strict)
        begun = left.begun_of(number)
        batch.check_same(None if begun.clean is None else begun.clean.pixels_hash)
        if begun.clean is None:
            begun.clean = worker.clean(batch)
            own.append(begun.clean)
        elif (number, CLEAN) in left.spoilt:
            worker.keeper.clean(batch)
        tell(begun.clean)
        for name in self.all_passes:
            if (number, name) not in left.done:
                if self.smoothed is None or name in self.passes:
                    begun.attacks[name] = worker.attack(name, batch, begun)
                else:
                    begun.attacks[name] = self.smoothed.line(name, batch, begun.attacks)
                own.append(begun.attacks[name])
            elif (number, name) in left.spoilt:
                # Drawn from the same seed it is the same attack; what the log says of it stays.
                left.pictured[name] = [other for other in left.pictured[name] if other != number]
                worker.attack(name, batch, begun)
            tell(begun.attacks[name])

    def _positions(self, number: int) -> np.ndarray:
        """Indices of the samples of a batch."""
        size = self.settings.together
        return self.order[number * size : (number + 1) * size]

    def _prepare(self) -> str:
        return self.subject.prepare(self.order, self.budget.batch_size)

    def _merge(self, log: RunLog) -> None:
        merge(log, (CLEAN, *self.all_passes), self.attacks, PICTURES_PER_ATTACK)
