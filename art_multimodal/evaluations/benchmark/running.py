"""Running a benchmark: cell by cell, by as many processes as there are, each cell by one of them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from art_multimodal.datasets.reading import MAX_SKIPPED, check_max_skipped, skipped_too_many
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.report import write_reports
from art_multimodal.evaluations.audit.run import Audit
from art_multimodal.evaluations.benchmark.config import BenchmarkConfig, Cell, cells_of
from art_multimodal.evaluations.benchmark.folder import LEADERBOARD_FILES, TABLES, BenchmarkFolder, Failure
from art_multimodal.evaluations.benchmark.writing import write_tables
from art_multimodal.processes import alone, wait_for_everyone

#: Told about each cell: what becomes of it (:data:`STARTED` and so on), and a line that says why.
Watch = Callable[[Cell, str, str], None]
STARTED, FINISHED, FAILED = "started", "finished", "failed"


@dataclass(frozen=True)
class Share:
    """A part of the cells: every ``of``-th, from ``number`` on.

    >>> Share.parse("2/3").take(["a", "b", "c", "d", "e"])
    ['b', 'e']

    :param number: From 1 on.
    :param of: How many parts there are.
    """

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Share:
        """``"3/10"``: the third of ten parts.

        :raises InputError: If it is something else.
        """
        number, slash, of = text.partition("/")
        digits = all(part.isascii() and part.isdigit() and len(part) < 7 for part in (number, of))
        if not (slash and digits and 1 <= int(number) <= int(of)):
            raise InputError(f"--cells {text!r:.40} is no part of the cells. Write 3/10 for the third of ten parts.")
        return cls(int(number), int(of))

    def take(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells of this part."""
        return list(cells[self.number - 1 :: self.of])


@dataclass
class Outcome:
    """What became of the cells of a share.

    :param finished: Those that have their numbers.
    :param failed: Those that failed, and why.
    :param elsewhere: Those that another process works on.
    """

    finished: list[Cell] = field(default_factory=list)
    failed: list[tuple[Cell, Failure]] = field(default_factory=list)
    elsewhere: list[Cell] = field(default_factory=list)


class Benchmark:
    """Audits of all cells of a configuration, each saved as it goes on.

    A cell that fails is noted, and the others are run. What is finished is not run again; what was begun goes on where
    it was stopped; what failed in an earlier run is tried again. Any number of processes may work in one folder: each
    cell is held by the one that works on it, until that one ends, however it ends.

    >>> from art_multimodal.evaluations.benchmark import parse_config
    >>> attacks, samples = "{image: [pgd]}", "{limit: 4, seed: 0}"
    >>> text = f"{{benchmark: 1, models: [demo:digits], data: [demo:digits], attacks: {attacks}, samples: {samples}}}"
    >>> job = Benchmark(parse_config(text), "results", device="cpu")
    >>> outcome = job.run()
    >>> isinstance(outcome, Outcome), len(outcome.finished), len(outcome.failed)
    (True, 1, 0)
    >>> sorted({number["column"] for number in job.write()["numbers"]})
    ['clean', 'image', 'worst']

    :param config: What to do.
    :param out: Folder of the benchmark.
    :param device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    :param share: Of the cells, those of this process.
    :param max_skipped: A cell fails where more than this share of its samples cannot be read.
    :raises InputError: If the folder cannot be used.
    """

    def __init__(
        self,
        config: BenchmarkConfig,
        out: str | Path,
        device: str = "auto",
        share: Share = Share(),
        max_skipped: float = MAX_SKIPPED,
    ) -> None:
        self.config, self.device = config, device
        self.folder = BenchmarkFolder(out)
        self.cells = cells_of(config)
        self.share = share.take(self.cells)
        self.max_skipped = check_max_skipped(max_skipped)
        self.folder.check()
        self._finished: set[str] = set()

    def run(self, watch: Watch | None = None) -> Outcome:
        """Run what is missing. Processes of a launcher come back together.

        :param watch: Told about each cell.
        :raises InputError: If the folder cannot be written.
        """
        self.folder.make()
        with alone():
            self._run(watch or (lambda cell, what, why: None))
        # Who ends first waits: what is read afterwards has the cells of all.
        wait_for_everyone()
        return self.outcome()

    def write(self) -> dict[str, Any]:
        """Write the table and the leaderboard, from what is finished; return what ``benchmark.json`` holds.

        :raises InputError: If they cannot be written, or cells do not fit together.
        """
        self.folder.make()
        return write_tables(self.config, self.folder, self.cells)

    @property
    def files(self) -> list[Path]:
        """What is written besides the cells."""
        return [self.folder.path / name for name in (*TABLES, *LEADERBOARD_FILES)]

    def outcome(self) -> Outcome:
        """What has become of the cells of the share, as far as it is known."""
        found = Outcome()
        for cell in self.share:
            if self.is_finished(cell):
                found.finished.append(cell)
            elif (failure := self.folder.failure(cell)) is not None:
                found.failed.append((cell, failure))
            else:
                found.elsewhere.append(cell)
        return found

    def _run(self, watch: Watch) -> None:
        # A failure of an earlier run is tried again; one that another process has noted meanwhile is not.
        before = {cell.id: self.folder.failure(cell) for cell in self.share}
        # One that takes its process with it must not stand in the way of the others for ever: it comes last.
        order = sorted(self.share, key=self.folder.begun)
        going_on = True
        while going_on:
            going_on = False
            for cell in order:
                if self.is_finished(cell) or self.folder.failure(cell) != before[cell.id]:
                    continue
                with self.folder.held(cell) as held:
                    # Whoever held it may just have ended.
                    if held and not self.is_finished(cell) and self.folder.failure(cell) == before[cell.id]:
                        going_on = True
                        self._one(cell, watch)

    def _one(self, cell: Cell, watch: Watch) -> None:
        watch(cell, STARTED, "")
        self.folder.begin(cell)
        try:
            self._audit(cell)
        except Exception as error:
            watch(cell, FAILED, self.folder.failed(cell, error).reason)
            self.folder.ended(cell)
            return
        finally:
            _free_memory()
        self.folder.ended(cell)
        self.folder.succeeded(cell)
        self._finished.add(cell.id)
        watch(cell, FINISHED, "")

    def _audit(self, cell: Cell) -> None:
        job = Audit(cell.settings, self.folder.cell(cell), self.device, max_skipped=self.max_skipped)
        report = write_reports(job.evaluate(resume=True))
        if (error := skipped_too_many(report, self.max_skipped)) is not None:
            raise error
        if not report["complete"]:
            raise InputError("the audit ended without all of its samples. Remove the folder of the cell.")

    def is_finished(self, cell: Cell) -> bool:
        """Whether a cell has its numbers."""
        if cell.id not in self._finished and self.folder.report(cell) is not None:
            self._finished.add(cell.id)
        return cell.id in self._finished


def _free_memory() -> None:
    """Let go of the model of a cell before that of the next one is loaded."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
