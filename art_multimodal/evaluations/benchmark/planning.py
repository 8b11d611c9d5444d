"""What a benchmark is going to cost: model calls of each cell, and seconds from a short calibration. Nothing is run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from art_multimodal.datasets import UnreadableSample
from art_multimodal.evaluations.audit.lines import CLEAN
from art_multimodal.evaluations.audit.passes import Pass
from art_multimodal.evaluations.audit.plan import Plan, PlannedPass, plan_of
from art_multimodal.evaluations.audit.run import Audit
from art_multimodal.evaluations.benchmark.config import Cell
from art_multimodal.evaluations.benchmark.folder import reason_of_failure
from art_multimodal.evaluations.suite import ZERO_SHOT

#: Samples and texts of a calibration, at most, and how often each question is timed; the shortest time counts.
_SAMPLES, _TEXTS, _TIMES = 32, 64, 3
#: Where no gradient can be timed: it takes some two times as long as a forward pass.
_BACKWARD = 2.0


@dataclass(frozen=True)
class Calibration:
    """What a model takes on its data.

    :param forward: Seconds of a forward pass, for each sample.
    :param backward: Seconds of the backward pass besides.
    :param text: Seconds to read a text.
    :param right: Share of the samples that it has right: only these are attacked.
    """

    forward: float
    backward: float
    text: float
    right: float


@dataclass(frozen=True)
class PlannedCell:
    """What a cell costs.

    :param cell: The cell.
    :param finished: Whether it is done already.
    :param plan: What is run; ``None`` where it cannot be opened.
    :param calibration: Likewise.
    :param reason: Why it cannot be opened; else empty.
    """

    cell: Cell
    finished: bool = False
    plan: Plan | None = None
    calibration: Calibration | None = None
    reason: str = ""

    @property
    def calls(self) -> tuple[float, float, float]:
        """Forward passes, backward passes and texts at most: if every sample is right before any attack."""
        passes = () if self.plan is None else self.plan.passes
        return sum(p.forward for p in passes), sum(p.backward for p in passes), sum(p.texts for p in passes)

    @property
    def calls_are_exact(self) -> bool:
        """Whether each attack asks the same of every sample that is right before: then only their number is open."""
        return self.plan is not None and all(one.calls is not None for one in self.plan.passes if one.name != CLEAN)

    @property
    def unknown(self) -> list[str]:
        """Passes whose cost nobody knows."""
        return [] if self.plan is None else [one.name for one in self.plan.passes if one.cost is None]

    @property
    def seconds(self) -> float | None:
        """An estimate: of the samples that the calibration had right, each attack what it usually asks."""
        if self.plan is None or self.calibration is None:
            return None
        return sum(_seconds(one, self.calibration) for one in self.plan.passes)


def calls_of(plan: Plan, attacked: Mapping[str, int]) -> dict[str, tuple[float, float]]:
    """Forward and backward passes of each attack whose cost does not depend on what it finds, by its name.

    >>> from art_multimodal.evaluations.benchmark import Benchmark, parse_config
    >>> text = "{benchmark: 1, models: [demo:digits], data: [demo:digits], attacks: {image: [pgd, art_pgd]}}"
    >>> job = Benchmark(parse_config(text), "results", device="cpu")
    >>> planned = plan_cells(job.cells, job.is_finished, device="cpu")
    >>> calls_of(planned[0].plan, {"art_pgd": 4})
    {'art_pgd': (52, 40)}

    :param plan: Of an audit.
    :param attacked: Of each pass how many samples it was run on: those that are right before any attack.
    """
    return {
        one.name: (attacked[one.name] * one.calls.forward, attacked[one.name] * one.calls.backward)
        for one in plan.passes
        if one.calls is not None and one.name in attacked
    }


def _seconds(one: PlannedPass, calibration: Calibration) -> float:
    forward, backward = one.forward, one.backward
    if one.calls is not None:
        forward, backward = one.samples * one.calls.forward, one.samples * one.calls.backward
    usual = forward * calibration.forward + backward * calibration.backward + one.texts * calibration.text
    everyone = one.name == CLEAN or Pass.of(one.name).entry.of_everyone
    return one.typical * usual * (1.0 if everyone else calibration.right)


def plan_cells(cells: Sequence[Cell], finished: Callable[[Cell], bool], device: str = "auto") -> list[PlannedCell]:
    """Open each cell that is not finished, and time its model on its data.

    >>> from art_multimodal.evaluations.benchmark import Benchmark, parse_config
    >>> text = "{benchmark: 1, models: [demo:digits], data: [demo:digits], attacks: {image: [pgd]}}"
    >>> job = Benchmark(parse_config(text), "results", device="cpu")
    >>> planned = plan_cells(job.cells, job.is_finished, device="cpu")
    >>> isinstance(planned[0], PlannedCell), planned[0].calls[0] > 0, isinstance(planned[0].calibration, Calibration)
    (True, True, True)

    :param cells: To be planned.
    :param finished: Whether one is done.
    :param device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    """
    known: dict[tuple[Any, ...], Calibration] = {}
    found = []
    for cell in cells:
        if finished(cell):
            found.append(PlannedCell(cell, finished=True))
            continue
        try:
            with TemporaryDirectory() as folder:
                # Nothing is run, and nothing written there.
                audit = Audit(cell.settings, Path(folder) / "nothing", device)
                settings = cell.settings
                key = (settings.model, settings.data, settings.defences, settings.templates, settings.classes)
                if key not in known:
                    known[key] = calibrate(audit)
                found.append(PlannedCell(cell, False, plan_of(audit), known[key]))
        except Exception as error:
            found.append(PlannedCell(cell, reason=reason_of_failure(error)))
    return found


def calibrate(audit: Audit) -> Calibration:
    """Time a model on some of its samples.

    :param audit: Of the model and data; nothing of it is run.
    :raises InputError: If none of the samples can be read.
    """
    subject, size = audit.subject, audit.settings.batch_size
    indices, samples = _readable(audit)
    rows = max(subject.by_shape(samples), key=len)
    picked, chosen = [indices[row] for row in rows], [samples[row] for row in rows]
    said = subject.answers(picked, chosen, size) if subject.class_names else []
    # In retrieval all samples are attacked.
    right = sum(record.right for record in said) / len(said) if said else 1.0
    # A full batch, in which some stand several times: attacks fill theirs.
    full = [chosen[place % len(chosen)] for place in range(max(len(chosen), min(size, _SAMPLES)))]
    x, y = subject.stack(full), subject.labels(full)
    draws = subject.views.draws
    if not subject.class_names:
        images = np.stack([sample.image for sample in full])
        forward = _shortest(lambda: subject.estimator.image_features(images, size)) / len(full)
        return Calibration(forward, _BACKWARD * forward, _of_texts(subject.model), right)
    forward = _shortest(lambda: subject.estimator.predict(x, batch_size=size)) / len(full)
    one_hot = np.eye(subject.estimator.nb_classes, dtype=np.float32)[y]
    both = _shortest(lambda: subject.estimator.loss_gradient(x, one_hot)) / len(full)
    # Of a model that joins both, a text is read with its sample.
    text = _of_texts(subject.model) if subject.task == ZERO_SHOT else forward / draws
    return Calibration(forward / draws, max(both - forward, 0.0) / draws, text, right)


def _of_texts(model: Any) -> float:
    """Seconds in which a dual encoder reads a text."""
    import torch

    texts = [f"a photo of the number {number}." for number in range(_TEXTS)]

    def read() -> None:
        with torch.no_grad():
            model.encode_text(model.tokenize(texts).to(model.device))

    return _shortest(read) / len(texts)


def _readable(audit: Audit) -> tuple[list[int], list[Any]]:
    """Some samples that can be read."""
    most = min(_SAMPLES, max(1, audit.settings.batch_size))
    indices: list[int] = []
    samples: list[Any] = []
    for index in map(int, audit.order):
        try:
            samples.append(audit.subject.read(index))
        except UnreadableSample as error:
            reason = error
            continue
        indices.append(index)
        if len(samples) == most:
            break
    if not samples:
        raise reason
    return indices, samples


def _shortest(ask: Callable[[], Any]) -> float:
    """Seconds of a question, once it has been asked before."""
    ask()
    found = []
    for _ in range(_TIMES):
        started = time.perf_counter()
        ask()
        found.append(time.perf_counter() - started)
    return min(found)
