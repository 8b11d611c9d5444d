"""Running an audit: groups of samples through every attack, each result logged as its group ends."""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from art.evaluations.evaluation import Evaluation

from art_multimodal.attacks.registry import ATTACKS, RETRIEVAL, select_attacks
from art_multimodal.attacks.registry.looking import who_looks
from art_multimodal.attacks.registry.text import notes_on_words
from art_multimodal.datasets import Sample, UnreadableSample
from art_multimodal.datasets.reading import MAX_SKIPPED, check_max_skipped, check_readable
from art_multimodal.devices import device_type_of
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.header import check_same_run, header_of
from art_multimodal.evaluations.audit.log import HEADER_FILE, RunLog, check_folder
from art_multimodal.evaluations.audit.opening import open_subject
from art_multimodal.evaluations.audit.passes import entry_of, goes_on_after, passes_of
from art_multimodal.evaluations.audit.pictures import are_whole, save_pictures
from art_multimodal.evaluations.audit.settings import DEFAULT_ATTACKS, AuditSettings
from art_multimodal.evaluations.audit.sharding import merge, own_log
from art_multimodal.evaluations.audit.subject import counted_queries, is_right
from art_multimodal.evaluations.audit.summary import CLEAN, weighed_modalities
from art_multimodal.out_folders import check_apart, check_no_strangers
from art_multimodal.processes import failing_together, is_main_process, process_count, process_index
from art_multimodal.store import FolderLock

#: Pictures kept for each attack.
PICTURES_PER_ATTACK = 6

#: Called with the name of an attack (or "clean") and the number of samples that it has just finished.
Progress = Callable[[str, int], None]
#: Called with the same, and the seconds that it took.
Watch = Callable[[str, int, float], None]


@dataclass(frozen=True)
class _Batch:
    """A group of readable samples, by their position in the audit's order."""

    number: int
    indices: list[int]
    samples: list[Sample]
    skipped: list[dict[str, str]]

    def take(self, rows: np.ndarray) -> tuple[list[int], list[Sample]]:
        """Indices and samples of some rows."""
        return [self.indices[row] for row in rows], [self.samples[row] for row in rows]

    def pixels_hash(self) -> str:
        """A hash of all pixels and texts, by which a resumed run knows the batch again."""
        digest = hashlib.blake2b(digest_size=16)
        for index, sample in zip(self.indices, self.samples, strict=True):
            text = "" if sample.text is None else f" {sample.text!r}"
            text += f" {sample.captions!r}" if sample.captions else ""
            digest.update(f"{index} {sample.image.shape}{text}".encode())
            digest.update(np.ascontiguousarray(sample.image).data)
        return digest.hexdigest()


class Audit(Evaluation):
    """Attack a model on labelled images, or image-text pairs for a fusion model, and log what happens.

    Samples are read group by group, so memory does not grow with the data. Only samples that are classified right are
    attacked. Every attack on every group has random numbers of its own, drawn from the seed, so a run that was killed
    and resumed gives the numbers of one that was not. Groups are those of the order, whatever the batch size, which
    says how many samples a pass of the model holds.
    """

    def __init__(
        self,
        settings: AuditSettings,
        out: str | Path,
        device: str = "auto",
        strict: bool = False,
        max_skipped: float = MAX_SKIPPED,
    ) -> None:
        """Load the model, open the data and check every setting, so that bad input is found before any work.

        :param settings: What to do.
        :param out: Folder of the run.
        :param device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        :param strict: Stop at an unreadable sample instead of skipping it.
        :param max_skipped: Do not begin where it is clear that more than this share of the samples cannot be read.
        :raises InputError: For anything that cannot be used.
        """
        self.settings = settings
        self.out = Path(out)
        self.strict = strict
        self.max_skipped = check_max_skipped(max_skipped)
        check_no_strangers(self.out)
        self.subject = open_subject(settings, device_type_of(device))
        check_apart(self.out, self.subject.data.folders)
        self.estimator = self.subject.estimator
        # Sources list samples class by class: a seeded order makes a limited audit a fair sample of all of them.
        order = np.random.default_rng(settings.seed).permutation(len(self.subject.data))
        self.order = order[: settings.limit] if settings.limit else order
        self.subject.select(self.order)
        task = self.subject.task
        nb_classes = len(self.estimator.gallery if task == RETRIEVAL else self.subject.class_names)
        self.attacks = select_attacks(settings.attacks or DEFAULT_ATTACKS, nb_classes, task)
        self.subject.weighed = weighed_modalities(self.attacks, task)
        self.subject.looks = who_looks(self.attacks)
        self.budget = settings.budget(self.subject.data.protected_words)
        if self.subject.views.draws > 1:
            # Random defences draw in every pass: what they draw must not depend on how many samples it holds.
            self.budget = replace(self.budget, batch_size=settings.together)
        self._gallery = ""
        self.passes = passes_of(self.attacks, bool(settings.defences))
        self.runs = {name: self.subject.prepare_pass(name, self.budget) for name in self.passes}
        if any(ATTACKS[name].words for name in self.attacks):
            self.subject.own_notes += notes_on_words(self.budget.text.language_model)

    def check_readable(self) -> None:
        """Find out, before any work and without leaving a trace, whether enough samples can be read.

        :raises InputError: If none can, or more than ``max_skipped`` of them are not there.
        """
        check_readable(self.subject.data, self.order, self.max_skipped, self.subject.read)

    def header(self) -> dict[str, Any]:
        """Return what identifies the run: settings, exact model and data, protocol, versions."""
        return header_of(self.settings, self.subject, self.attacks, self.budget, len(self.order))

    def evaluate(self, resume: bool = False, progress: Progress | None = None, watch: Watch | None = None) -> RunLog:
        """Run what is not in the log yet.

        :param resume: Go on with the run in the folder, which must have the same settings, model and data.
        :param progress: Told about every finished attack on a batch, also of those found in the log; with several
            processes about one batch of each at once.
        :param watch: Told the same with the seconds that it took.
        :return: The complete log.
        :raises InputError: If the folder cannot be used, or the run to resume is another one.
        """
        with FolderLock(self.out) as lock:
            return self._evaluate(resume, progress, watch, lock)

    def _evaluate(self, resume: bool, progress: Progress | None, watch: Watch | None, lock: FolderLock) -> RunLog:
        header = self.header()
        size = self.settings.together
        with failing_together():
            check_folder(self.out, resume=resume)
            going_on = resume and (self.out / HEADER_FILE).exists()
            if not going_on:
                # First, so that a run that is refused here leaves no trace.
                self.check_readable()
                self._gallery = self.subject.prepare(self.order, self.budget.batch_size)
        with failing_together():
            if is_main_process():
                if going_on:
                    lock.take()
                    check_same_run(RunLog.open(self.out).header, header)
                    self._merge(RunLog(self.out, header))
                else:
                    RunLog.create(self.out, header, lock)
        log = RunLog(self.out, header)

        def report(name: str, count: int, seconds: float) -> None:
            if progress is not None:
                progress(name, count)
            if watch is not None:
                watch(name, count, seconds)

        done: set[tuple[int, str]] = set()
        #: Of batches that are not done: a run of several processes may have left several.
        started: dict[int, dict[str, dict[str, Any]]] = {}
        pictured: dict[str, list[int]] = {name: [] for name in self.attacks}
        #: Batches and attacks whose pictures are gone or damaged: they are made again.
        spoilt: set[tuple[int, str]] = set()
        gallery = ""
        wanted = (CLEAN, *self.passes)
        for line in log.lines():
            # Only what a later step needs is kept: memory must not grow with what is logged already.
            number = line["batch"]
            done.add((number, line["attack"]))
            started.setdefault(number, {})[line["attack"]] = line
            if line["attack"] in pictured and not self._has_pictures(log, line):
                spoilt.add((number, line["attack"]))
            if all((number, name) in done and (number, name) not in spoilt for name in wanted):
                del started[number]
            gallery = line.get("gallery_hash", gallery)
            if line["attack"] in pictured:
                pictured[line["attack"]] += [number] * sum(sample.get("picture", False) for sample in line["samples"])
            report(line["attack"], line["listed"], line["seconds"])
        todo = [
            (number, start)
            for number, start in enumerate(range(0, len(self.order), size))
            if not all((number, name) in done and (number, name) not in spoilt for name in wanted)
        ]
        with failing_together():
            if todo and going_on:
                self._gallery = self.subject.prepare(self.order, self.budget.batch_size)
                if gallery and self._gallery != gallery:
                    raise InputError(
                        "Images of the run to resume have changed since, and all ranks depend on them. Put them back, "
                        "or choose another --out."
                    )
            own = own_log(log)
            for first in range(0, len(todo), process_count()):
                at_once = todo[first : first + process_count()]
                if process_index() >= len(at_once):
                    break
                number, start = at_once[process_index()]
                batch = self._read(number, self.order[start : start + size])
                lines = started.get(number, {})
                _check_same_batch(batch, lines.get(CLEAN))
                if CLEAN not in lines:
                    lines[CLEAN] = self._clean(batch)
                    own.append(lines[CLEAN])
                self._tell(report, lines[CLEAN], at_once, done)
                listed = lines[CLEAN]["listed"]
                for name in self.passes:
                    if (number, name) not in done:
                        lines[name] = {**self._attack(name, batch, lines, own, pictured), "listed": listed}
                        own.append(lines[name])
                    elif (number, name) in spoilt:
                        # Drawn from the same seed it is the same attack; what the log says of it stays.
                        pictured[name] = [other for other in pictured[name] if other != number]
                        self._attack(name, batch, lines, own, pictured)
                    self._tell(report, lines[name], at_once, done)
        with failing_together():
            if is_main_process():
                self._merge(log)
        return log

    def _tell(
        self, report: Watch, line: dict[str, Any], at_once: list[tuple[int, int]], done: set[tuple[int, str]]
    ) -> None:
        """Report what all processes are through with when this one is, as far as it can tell."""
        size, name = self.settings.together, line["attack"]
        count = sum(len(self.order[start : start + size]) for number, start in at_once if (number, name) not in done)
        report(name, count, line["seconds"])

    def _has_pictures(self, log: RunLog, line: dict[str, Any]) -> bool:
        name = line["attack"]
        return all(
            are_whole(log.pictures, name, sample["index"], entry_of(name).modality)
            for sample in line["samples"]
            if sample.get("picture")
        )

    def _merge(self, log: RunLog) -> None:
        modalities = {name: entry_of(name).modality for name in self.attacks}
        merge(log, (CLEAN, *self.passes), modalities, PICTURES_PER_ATTACK)

    def _read(self, number: int, positions: np.ndarray) -> _Batch:
        indices, samples, skipped = [], [], []
        for index in map(int, positions):
            try:
                samples.append(self.subject.read(index))
                indices.append(index)
            except UnreadableSample as error:
                if self.strict:
                    raise InputError(f"{error.name}: {error.reason}. Without --strict it would be skipped.") from None
                skipped.append({"name": error.name, "reason": error.reason})
        return _Batch(number, indices, samples, skipped)

    def _clean(self, batch: _Batch) -> dict[str, Any]:
        """The log's line for a batch before any attack."""
        started = time.perf_counter()
        said: dict[int, dict[str, Any]] = {}
        for rows in _rows_by_shape(batch.samples):
            answers = self.subject.answers(*batch.take(rows), self.budget.batch_size)
            said.update(zip(rows.tolist(), answers, strict=True))
        return {
            "batch": batch.number,
            "attack": CLEAN,
            "listed": len(batch.samples) + len(batch.skipped),
            "seconds": round(time.perf_counter() - started, 3),
            "skipped": batch.skipped,
            "pixels_hash": batch.pixels_hash(),
            **({"gallery_hash": self._gallery} if self._gallery else {}),
            "samples": [
                {"index": batch.indices[row], "name": sample.name, **said[row]}
                for row, sample in enumerate(batch.samples)
            ],
        }

    def _attack(
        self,
        name: str,
        batch: _Batch,
        lines: dict[str, dict[str, Any]],
        log: RunLog,
        pictured: dict[str, list[int]],
    ) -> dict[str, Any]:
        entry, size = entry_of(name), self.budget.batch_size
        started = time.perf_counter()
        # Who is attacked is what the log says was right, on whatever machine the run goes on.
        right = np.array([is_right(said) for said in lines[CLEAN]["samples"]], dtype=bool)
        # In retrieval ranks can always get worse, so nothing has fallen for good.
        fallen = _fallen(lines, goes_on_after(name)) if self.subject.only_right else {}
        records = {row: fallen[index] for row, index in enumerate(batch.indices) if index in fallen}
        rows = [r for r in range(len(right)) if r not in records and (right[r] or not self.subject.only_right)]
        fits = [entry.applies(batch.samples[row].image.shape, self.budget) for row in rows]
        not_applicable = [batch.indices[row] for row, fit in zip(rows, fits, strict=True) if not fit]
        chosen = np.array([row for row, fit in zip(rows, fits, strict=True) if fit], dtype=np.int64)
        queries = gradients = 0
        flags: dict[str, int] = {}
        for group, places in enumerate(_rows_by_shape([batch.samples[row] for row in chosen])):
            indices, samples = batch.take(chosen[places])
            x, labels = self.subject.stack(samples), self.subject.labels(samples)
            seed = _seed_of(self.settings.seed, name, batch.number, group)
            with counted_queries(self.subject.model) as count:
                attacked = self.runs[name](x, labels, seed)
                said = self.subject.judged(indices, samples, attacked, size)
            queries += sum(one["queries"] for one in said) if "queries" in said[0] else count["queries"]
            gradients += count["gradients"]
            for flag, number in attacked.flags.items():
                flags[flag] = flags.get(flag, 0) + number
            images = attacked.images[self.subject.image_rows(samples)]
            for row, sample, one, image in zip(chosen[places].tolist(), samples, said, images, strict=True):
                records[row] = {"index": batch.indices[row], "name": sample.name, **one}
                # Of the batches before it: those that other processes, or an earlier run, have done since do not count.
                taken = sum(number <= batch.number for number in pictured.get(name, ()))
                if name in pictured and taken < PICTURES_PER_ATTACK and right[row] and not is_right(one):
                    save_pictures(log.pictures, name, batch.indices[row], sample.image, image, entry.modality)
                    records[row] |= {"picture": True, "size": list(sample.image.shape[1:]), "text": sample.text}
                    pictured[name].append(batch.number)
        return {
            "batch": batch.number,
            "attack": name,
            "seconds": round(time.perf_counter() - started, 3),
            "queries": queries,
            "gradients": gradients,
            "not_applicable": not_applicable,
            **({"flags": flags} if flags else {}),
            "samples": [records[row] for row in sorted(records)],
        }


def _fallen(lines: dict[str, dict[str, Any]], attacks: Sequence[str]) -> dict[int, dict[str, Any]]:
    """What the log says of samples that the given attacks have misled, by their index.

    Without their pictures, and without what it cost: that is counted in the row of the attack that spent it.
    """
    found: dict[int, dict[str, Any]] = {}
    for name in attacks:
        for said in lines[name]["samples"] if name in lines else ():
            if not is_right(said) and said["index"] not in found:
                left_out = ("picture", "size", "text", "queries", "text_queries")
                kept = {key: value for key, value in said.items() if key not in left_out}
                found[said["index"]] = {**kept, "broken_by": kept.get("broken_by") or name}
    return found


def _rows_by_shape(samples: list[Sample]) -> list[np.ndarray]:
    """Rows of samples that fit into one array, in the order in which their shapes appear."""
    rows: dict[tuple[int, ...], list[int]] = {}
    for row, sample in enumerate(samples):
        rows.setdefault(sample.image.shape, []).append(row)
    return [np.array(group) for group in rows.values()]


def _seed_of(seed: int, attack: str, batch: int, group: int) -> int:
    """A seed of its own for every attack on every batch, whatever ran before it."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(attack.encode()), batch, group])
    return int(sequence.generate_state(1, np.uint32)[0])


def _check_same_batch(batch: _Batch, logged: dict[str, Any] | None) -> None:
    """A batch that is logged in part must be the same images, or its rows would speak of different ones."""
    if logged is not None and logged["pixels_hash"] != batch.pixels_hash():
        raise InputError(
            f"Images of the run to resume have changed since, in batch {batch.number} "
            f"({', '.join(sample.name for sample in batch.samples[:3])}, ...). Put them back, or choose another --out."
        )
