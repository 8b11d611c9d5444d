"""How an audit is shown while it runs: its plan, an estimate, and how far it has come."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from art_multimodal.shown import shown

if TYPE_CHECKING:
    from art_multimodal.evaluations.audit.calibration import Calibration
    from art_multimodal.evaluations.audit.plan import Plan

#: From so many seconds on it is said how to be done sooner.
_LONG = 600.0
_NAME, _NUMBER = 32, 15


class AuditDisplay:
    """Lines on stderr, and one bar where it is a terminal. Is told what has been run, and how long it took.

    :param plan: Of the audit.
    :param where: The model and its device, for the heading.
    :param preset: What a preset has set, as options; empty for none.
    :param visible: Whether anything is shown.
    :param calibrate: Finds out what the model takes, once the first batch has warmed it up; ``None`` where the time of
        that batch has to do.
    """

    #: How a run takes less time.
    sooner = "--preset quick, a lower --limit"

    def __init__(
        self,
        plan: Plan,
        where: str,
        preset: str = "",
        visible: bool = True,
        calibrate: Callable[[], Calibration] | None = None,
    ) -> None:
        from art_multimodal.evaluations.audit.plan import Estimate

        self._plan, self._where, self._preset, self._visible = plan, where, preset, visible
        self._console = Console(stderr=True)
        self._estimate, self._calibrate = Estimate(plan), calibrate
        self._finished = dict.fromkeys((planned.name for planned in plan.passes), 0)
        self._taken = dict.fromkeys(self._finished, 0.0)
        #: Whether the estimate was said, and the tenths of the samples.
        self._said, self._tenths = False, 0
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> AuditDisplay:
        if self._visible:
            for line in self.heading():
                self._say(line)
            if self._console.is_terminal:
                columns = (
                    TextColumn("{task.description}"),
                    BarColumn(bar_width=20),
                    TextColumn("{task.percentage:>3.0f} %"),
                    TimeElapsedColumn(),
                    TextColumn("{task.fields[left]}"),
                )
                self._bar = Progress(*columns, console=self._console)
                self._task = self._bar.add_task("", total=1.0, left="")
                self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def heading(self) -> list[str]:
        """What is going to be done."""
        return plan_lines(self._plan, self._where, self._preset)

    def passed(self, name: str, samples: int, seconds: float) -> None:
        """A pass over some samples has ended, in this run or in one that it goes on with."""
        if not samples:
            return
        self._finished[name] += samples
        self._taken[name] += seconds
        self._estimate.told(name, samples, seconds)
        if self._visible:
            self._say_estimate()
            self._show(name, samples)

    def _say_estimate(self) -> None:
        if self._said or self._estimate.left() is None:
            return
        self._said, of = True, "a forward pass in the first batch"
        if (found := self._calibrated()) is not None:
            self._estimate.calibration = found
            of = f"a forward pass, {duration(found.backward)} a backward pass, {duration(found.text)} a text"
        left, unit = self._estimate.left() or 0.0, self._estimate.unit or 0.0
        self._say(f"estimate: up to {duration(left)}, at {duration(unit)} for {of}")
        if left >= _LONG:
            sooner = "a lower --limit, or fewer --attacks" if self._preset else self.sooner
            self._say(f"sooner: {sooner}; after a stop, --resume goes on")

    def _calibrated(self) -> Calibration | None:
        """What the model takes; ``None`` where nobody can tell. An estimate is nothing that a run may fail for."""
        try:
            return None if self._calibrate is None else self._calibrate()
        except Exception:
            return None

    def _show(self, name: str, samples: int) -> None:
        left, done = self._estimate.left() or 0.0, self._estimate.done
        about = f"about {duration(left)} left" if left else ""
        if self._bar is not None and self._task is not None:
            share = done / (done + left) if done + left else 1.0
            # Told in the order of the plan: the next one is what is running now.
            names = list(self._finished)
            running = names[(names.index(name) + 1) % len(names)] if left else "done"
            self._bar.update(self._task, completed=share, description=running[:30], left=about)
            return
        finished, total = self._finished[name], self._plan.samples
        first, ended = finished == samples, finished >= total
        if first or ended:
            count = f"{finished:,} samples" if ended else f"{finished:,} of {total:,} samples"
            self._say(f"{name}: {count}, {duration(self._taken[name])}")
        if name == list(self._finished)[-1] and not ended and 10 * finished // total > self._tenths:
            self._tenths = 10 * finished // total
            self._say(f"{finished:,} of {total:,} samples after {duration(done)}, {about}")

    def _say(self, line: str) -> None:
        self._console.print(shown(line), highlight=False, markup=False, emoji=False, soft_wrap=True)


def plan_lines(plan: Plan, where: str, preset: str = "") -> list[str]:
    """What is going to be done, in lines of at most 80 characters but for names of strangers."""
    attacks = f"{plan.attacks} attack{'s' * (plan.attacks != 1)}"
    lines = [f"preset: {preset}"] if preset else []
    lines += [
        f"plan: {attacks} on {plan.samples:,} samples, {shown(where)}; passes at most",
        f"{'':{_NAME}}{'forward':>{_NUMBER}}{'backward':>{_NUMBER}}{'texts':>{_NUMBER}}",
    ]
    rows = [(one.name, (one.forward, one.backward, one.texts), one.cost is not None) for one in plan.passes]
    sums = tuple(sum(counts[column] for _, counts, _ in rows) for column in range(3))
    for name, counts, known in [*rows, ("all", sums, True)]:
        numbers = [f"{round(number):,}" if known else "?" for number in counts]
        lines.append(f"  {_fitting(name):{_NAME - 2}}" + "".join(f"{number:>{_NUMBER}}" for number in numbers))
    return lines


def _fitting(name: str) -> str:
    """A name as the column holds it: that of a pass within named radii loses its middle."""
    most = _NAME - 3
    return name if len(name) <= most else f"{name[: most // 2 - 1]}..{name[len(name) - most + most // 2 + 1 :]}"


def duration(seconds: float) -> str:
    """A time in its two largest units: ``9 h 50 min``."""
    if seconds < 0.0995:
        return f"{1000 * seconds:.2g} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 89.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes and hours < 24 else f"{round(seconds / 3600)} h"
    return f"{round(hours / 24)} days"
