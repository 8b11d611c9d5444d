"""How a training run is shown: a bar for its steps, a line for each epoch."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from art_multimodal.cli.display import say
from art_multimodal.cli.options import print_notes
from art_multimodal.datasets import UnreadableSample
from art_multimodal.defences.trainer import StepRecord
from art_multimodal.defences.training_run import Listener, TrainingRun
from art_multimodal.defences.training_run.validation import MEASURES
from art_multimodal.evaluations.audit.rendering import budget_text
from art_multimodal.plugins import options_for

_COLUMN = 10


class TrainingDisplay(Listener):
    """Lines on stdout, the bar on stderr.

    :param shown: Whether there is a bar.
    """

    def __init__(self, shown: bool = True) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[loss]}"),
            console=Console(stderr=True),
            # Lines pass above the bar on a terminal; in a file they belong to stdout.
            redirect_stdout=sys.stdout.isatty(),
            disable=not shown,
        )
        self._reading: TaskID | None = None
        self._steps: TaskID | None = None
        self._columns: tuple[str, ...] = ()

    def __enter__(self) -> TrainingDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        # Where nothing was begun there is nothing to end: rich would print an empty line.
        if self._bar.task_ids:
            self._bar.stop()

    def reading(self, done: int, total: int) -> None:
        if self._reading is None:
            self._bar.start()
            self._reading = self._bar.add_task("images", total=total, loss="")
        self._bar.update(self._reading, completed=done)

    def notes(self, notes: Sequence[str]) -> None:
        print_notes(notes)

    def skipped(self, samples: Sequence[UnreadableSample]) -> None:
        if samples:
            say(f"{len(samples)} images could not be read, for example {samples[0].name}: {samples[0].reason}")

    def begins(self, run: TrainingRun) -> None:
        facts, settings = run.data.facts, run.settings
        say(
            f"{settings.method} on {settings.model}: {facts['trained_on']} samples to train on, "
            f"{facts['validated_on']} to validate"
        )
        if facts["left_out_as_in_validation"]:
            say(f"{facts['left_out_as_in_validation']} samples are left out of training: the validation has the same")
        protocol = run.validation.protocol()
        self._columns = tuple(name for name in MEASURES if name in protocol)
        if (budget := run.validation.budget) is not None:
            shown = {"norm": str(budget.norm), "eps": budget.eps, "eps_step": budget.eps_step, "steps": budget.max_iter}
            protocol = {**protocol, "image": f"PGD, {budget_text(shown)}"}
        for name in self._columns:
            for line in textwrap.wrap(f"{name}: {protocol[name]}", 80, subsequent_indent="  "):
                say(line)
        say("")
        say("".join(["epoch", f"{'loss':>{_COLUMN}}", *(f"{name:>{_COLUMN}}" for name in self._columns)]))
        self._bar.start()
        self._steps = self._bar.add_task("steps", total=settings.epochs * run.steps_per_epoch, loss="")

    def step(self, record: StepRecord) -> None:
        assert self._steps is not None
        self._bar.update(self._steps, completed=record.place.step + 1, loss=f"loss {record.loss:.4g}")

    def epoch(self, row: dict[str, Any], best: bool) -> None:
        loss = row.get("loss")
        cells = [f"{row['epoch']:>5}", f"{'' if loss is None else format(loss, '.5g'):>{_COLUMN}}"]
        cells += [f"{100 * row[name]:>{_COLUMN - 2}.1f} %" if name in row else " " * _COLUMN for name in self._columns]
        say("".join([*cells, "   best" if best else ""]))

    def warning(self, message: str) -> None:
        say(f"note: {message}")

    def end(self, run: TrainingRun) -> None:
        """Say what there is now."""
        best, out = run.best, run.folder.path
        assert best is not None
        before = next((row for row in run.history if row["epoch"] == 0), None)
        say("")
        if before is not None and best["attacked"] <= before["attacked"]:
            where = "with elements hidden" if run.settings.keep else "under attack"
            say(f"note: no epoch is better {where} than the model before training")
        data = f"--data {run.settings.data}" + (" --task retrieval" if run.settings.task == "retrieval" else "")
        say(f"best: {out / 'best'} (epoch {best['epoch']}); last: {out / 'last'}; numbers: {run.folder.header_file}")
        if run.settings.radii:
            data += " --eps " + ",".join(f"{name}={radius:g}" for name, radius in run.settings.radii.items())
        plugins = "".join(f" {part}" for part in options_for(run.header))
        say(f"audit it: art-multimodal audit checkpoint:{out} {data}{plugins}")
