"""What a benchmark is going to cost: model calls of each cell, and seconds from a short calibration. Nothing is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from art_multimodal.evaluations.audit.calibration import Calibration, calibrate
from art_multimodal.evaluations.audit.lines import CLEAN
from art_multimodal.evaluations.audit.plan import Plan, plan_of
from art_multimodal.evaluations.audit.run import Audit
from art_multimodal.evaluations.benchmark.config import Cell
from art_multimodal.evaluations.benchmark.folder import reason_of_failure


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
        return sum(self.calibration.seconds(one) for one in self.plan.passes)


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


def plan_cells(cells: Sequence[Cell], finished: Callable[[Cell], bool], device: str = "auto") -> list[PlannedCell]:
    """Open each cell that is not finished, and time its model on its data.

    >>> from art_multimodal.evaluations.audit.calibration import Calibration
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
