"""Running a certification: batches of samples through every row of the report, each logged as it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from art.evaluations.evaluation import Evaluation

from art_multimodal.datasets.reading import MAX_SKIPPED, check_max_skipped
from art_multimodal.devices import device_type_of
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.batches import Batch
from art_multimodal.evaluations.audit.opening import open_subject
from art_multimodal.evaluations.certification.header import header_of
from art_multimodal.evaluations.certification.lines import ATTACKED, CERTIFIED, CONSTANT, MODEL, Line
from art_multimodal.evaluations.certification.log import CertificationLog
from art_multimodal.evaluations.certification.radii import Radii
from art_multimodal.evaluations.certification.rows import rows_of
from art_multimodal.evaluations.certification.settings import CertificationSettings
from art_multimodal.evaluations.smoothing.attacked import AttackedRow, EmpiricalAttack, vote_flipping
from art_multimodal.evaluations.smoothing.budgets import EditBudget, budget_name, default_budgets, grid
from art_multimodal.evaluations.smoothing.counting import Counted
from art_multimodal.evaluations.smoothing.rows import EnsembleRow, Row
from art_multimodal.evaluations.smoothing.verdicts import Verdict
from art_multimodal.models.families.custom.answers import AnsweringModel
from art_multimodal.out_folders import check_apart, check_no_strangers
from art_multimodal.processes import failing_together, is_main_process
from art_multimodal.store import FolderLock, Unfinished, Watch, merge, own_log, shared_out

#: Called with the name of a row and the number of samples that it has just finished.
Progress = Callable[[str, int], None]


class Certification(Evaluation):
    """Certify a model's answers on labelled data, with the controls that a certificate means nothing without.

    The model is smoothed: it votes about parts of each sample. Samples are read batch by batch, so memory does not grow
    with the data. A run that was killed and resumed gives the numbers of one that was not, whatever the batch size.

    >>> from art_multimodal.evaluations.certification import CertificationSettings, write_reports
    >>> settings = CertificationSettings(model="demo:digits", data="demo:digits", keep={"image": 4}, limit=4)
    >>> job = Certification(settings, "certified", device="cpu")
    >>> report = write_reports(job.evaluate())
    >>> Path("certified", "report.html").exists(), len(job.report_rows) > 1
    (True, True)
    """

    def __init__(
        self,
        settings: CertificationSettings,
        out: str | Path,
        device: str = "auto",
        strict: bool = False,
        max_skipped: float = MAX_SKIPPED,
        attacks: Sequence[EmpiricalAttack] = (),
    ) -> None:
        """Load the model, open the data and check every setting, so that bad input is found before any work.

        :param settings: What to do.
        :param out: Folder of the run.
        :param device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        :param strict: Stop at an unreadable sample instead of skipping it.
        :param max_skipped: Do not begin where it is clear that more than this share of the samples cannot be read.
        :param attacks: Further ones on the smoothed model, within each of the budgets that are asked for.
        :raises InputError: For anything that cannot be used.
        """
        self.out = Path(out)
        self.strict = strict
        self.max_skipped = check_max_skipped(max_skipped)
        check_no_strangers(self.out)
        self.settings = settings
        self.subject = open_subject(settings.opening, device_type_of(device))
        if isinstance(self.subject.model, AnsweringModel):
            raise InputError(f"{settings.model} only answers: a certificate is of a model whose inside is there.")
        check_apart(self.out, self.subject.data.folders)
        self.estimator = self.subject.estimator
        # Sources list samples class by class: a seeded order makes a limited run a fair sample of all of them.
        order = np.random.default_rng(settings.seed).permutation(len(self.subject.data))
        self.order = order[: settings.limit] if settings.limit else order
        self.subject.select(self.order)
        self.subject.check_readable(self.order, self.max_skipped)
        self.counted = Counted.of(settings, self.subject, self.order, settings.protected_words, settings.batch_size)
        names = list(self.counted.elements)
        self.budgets = [EditBudget.parse(text) for text in settings.budgets] or list(default_budgets(names))
        self._masks = settings.masks_with({name: settings.keep[name] for name in names}, settings.seed)
        self.resolved = [self.counted.resolve(budget, "--budget", self._masks) for budget in self.budgets]
        self.grid = grid(self.resolved)
        self.radii = Radii.of(self.subject, settings.batch_size)
        self.rows = rows_of(settings, self.subject, self.counted, self.radii)
        #: The largest number of votes about a sample, by row.
        self.votes = {
            row.name: self.counted.check_masks(row.ensemble.masks) if isinstance(row, EnsembleRow) else 1
            for row in self.rows
        }
        certified = next(row for row in self.rows if row.name == CERTIFIED)
        assert isinstance(certified, EnsembleRow)
        self.ensemble = certified.ensemble
        own = [vote_flipping(settings.attack_steps, settings.seed)] if settings.attack_steps else []
        self.attacked = [
            AttackedRow(
                f"{ATTACKED}{attack.name}@{budget_name(budget)}", attack, self.ensemble, names, budget, settings.exact
            )
            for attack in (*own, *attacks)
            for budget in self.resolved
        ]

    def add_budget(self, budget: EditBudget, option: str) -> dict[str, int]:
        """Put a further budget into the tables, and return how many elements of each modality it is.

        :param option: Where it was given, for errors.
        :raises InputError: As :meth:`Counted.resolve`, or if the tables become too large.
        """
        found = self.counted.resolve(budget, option, self._masks)
        self.grid = grid([*self.grid[-1:], found])
        return found

    @property
    def all_rows(self) -> list[Row | AttackedRow]:
        """What is done with every batch, in this order."""
        return [*self.rows, *self.attacked]

    @property
    def row_names(self) -> list[str]:
        """Names of all rows."""
        return [row.name for row in self.all_rows]

    @property
    def report_rows(self) -> list[str]:
        """Rows of the report that something can be asked of by name."""
        return [*(row.name for row in self.rows), CONSTANT]

    def header(self) -> dict[str, Any]:
        """Return what identifies the run: settings, exact model and data, protocol, versions."""
        return header_of(self)

    def evaluate(
        self, resume: bool = False, progress: Progress | None = None, watch: Watch | None = None
    ) -> CertificationLog:
        """Run what is not in the log yet.

        :param resume: Go on with the run in the folder, which must have the same settings, model and data; budgets may
            be others.
        :param progress: Told about every finished row of a batch, also of those found in the log; with several
            processes about one batch of each at once.
        :param watch: Told the same with the seconds that it took.
        :return: The complete log.
        :raises InputError: If the folder cannot be used, or the run to resume is another one.
        :raises CertificateBroken: If an attack breaks what is certified.
        """

        def report(name: str, count: int, seconds: float) -> None:
            if progress is not None:
                progress(name, count)
            if watch is not None:
                watch(name, count, seconds)

        with FolderLock(self.out) as lock:
            log = CertificationLog.begin(self.out, self.header(), resume, lock, lambda: None, self._merge)
            left: Unfinished[Line] = Unfinished()
            left.read(log.lines(), -(-len(self.order) // self.settings.group_size), self.row_names, report)
            with failing_together():
                own = own_log(log)
                for number, at_once in shared_out(left.batches):
                    self._batch(number, left, own, partial(self._tell, report, left, at_once))
            with failing_together():
                if is_main_process():
                    self._merge(log)
        return log

    def _tell(self, watch: Watch, left: Unfinished[Line], at_once: list[int], line: Line) -> None:
        """Report what all processes are through with when this one is, as far as it can tell."""
        new = (number for number in at_once if (number, line.row) not in left.done)
        watch(line.row, sum(len(self._positions(number)) for number in new), line.seconds)

    def _batch(self, number: int, left: Unfinished[Line], own: CertificationLog, tell: Callable[[Line], None]) -> None:
        batch = Batch.read(self.subject, number, self._positions(number), self.strict)
        lines = left.begun.get(number, {})
        batch.check_same(lines[MODEL].pixels_hash if MODEL in lines else None)
        todo: dict[str, Callable[[], Line]] = {row.name: partial(_line, row, batch, self.subject) for row in self.rows}
        todo |= {row.name: partial(self._attacked, row, batch, lines) for row in self.attacked}
        for name, do in todo.items():
            if name not in lines:
                lines[name] = do()
                own.append(lines[name])
            tell(lines[name])

    def _attacked(self, row: AttackedRow, batch: Batch, lines: Mapping[str, Line]) -> Line:
        """The line of an attack: of the answers that were right."""
        started = time.perf_counter()
        before = {one.index: one for one in lines[CERTIFIED].samples if one.right}
        kept = np.array([place for place, index in enumerate(batch.indices) if index in before], dtype=np.int64)
        certified = {index for index, one in before.items() if row.certifies(one)}
        found: dict[int, Verdict] = {}
        for places in self.subject.by_shape([batch.samples[place] for place in kept]):
            indices, samples = batch.take(kept[places])
            said = row.verdicts(indices, samples, self.subject.stack(samples), certified)
            found.update(zip(indices, said, strict=True))
        verdicts = tuple(found[index] for index in batch.indices if index in found)
        return Line(batch.number, row.name, batch.listed, _since(started), verdicts)

    def _positions(self, number: int) -> np.ndarray:
        """Indices of the samples of a batch."""
        size = self.settings.group_size
        return self.order[number * size : (number + 1) * size]

    def _merge(self, log: CertificationLog) -> None:
        merge(log, self.row_names)


def _line(row: Row, batch: Batch, subject: Any) -> Line:
    """The line of a row."""
    started, before = time.perf_counter(), dict(row.passes)
    found: dict[int, Verdict] = {}
    for places in subject.by_shape(batch.samples):
        indices, samples = batch.take(places)
        found.update(zip(places.tolist(), row.verdicts(indices, samples, subject.stack(samples)), strict=True))
    first = row.name == MODEL
    return Line(
        batch.number,
        row.name,
        batch.listed,
        _since(started),
        tuple(found[place] for place in range(len(batch.samples))),
        {what: number - before.get(what, 0) for what, number in row.passes.items()},
        batch.skipped if first else (),
        batch.pixels_hash if first else "",
    )


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)
