"""``art-multimodal benchmark CONFIG`` and ``benchmark amend``."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from art_multimodal.cli.audit_results import plain_table
from art_multimodal.cli.common import RUN, DataRoot, Device, MaxSkipped
from art_multimodal.cli.display import say
from art_multimodal.cli.help import Group
from art_multimodal.cli.names import DEVICES, data_spec, model_spec
from art_multimodal.cli.options import quiet_libraries
from art_multimodal.cli.plugins import add_command
from art_multimodal.processes import is_main_process
from art_multimodal.shown import shown

if TYPE_CHECKING:
    from art_multimodal.evaluations.benchmark.planning import PlannedCell
    from art_multimodal.evaluations.benchmark.running import Outcome

#: Exit codes.
CELLS_FAILED = 1
NOT_LOWERED = 1
#: Cells that are named.
_NAMED = 20
_WHAT = "What is run"

EXAMPLES = """\
art-multimodal benchmark benchmark.yaml --dry-run
art-multimodal benchmark benchmark.yaml --out results
art-multimodal benchmark benchmark.yaml --out results --cells 3/10
art-multimodal benchmark amend results/leaderboard.json audit/evidence \\
  --by Ann"""


class BenchmarkGroup(Group):
    """Commands, of which ``run`` is meant where none is named: ``benchmark CONFIG.yaml``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


def run(
    config: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG", rich_help_panel=_WHAT, help="a YAML file: see docs/benchmark.md", show_default=False
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", rich_help_panel=RUN, help="folder of all cells and of the table")
    ] = Path("benchmark"),
    cells: Annotated[
        str,
        typer.Option(
            metavar="I/N",
            rich_help_panel=_WHAT,
            help="the I-th of N parts of the cells: for a job array on file systems without locks",
            show_default="all",
        ),
    ] = "1/1",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", rich_help_panel=_WHAT, help="print cells, model calls and an estimate of the time, and stop"
        ),
    ] = False,
    data_root: DataRoot = None,
    max_skipped: MaxSkipped = 0.5,
    device: Device = "auto",
) -> None:
    """Audit models on data sets within budgets, and write one table over all of them.

    Each cell, a model on a data set within a budget, is an audit of its own, saved as it goes on. A cell that fails is
    named, and the others are run. The same command again goes on with what is missing or has failed. Any number of
    processes and machines may do so at once in one folder.

    Exit codes: 0 fine, 1 a cell failed, 2 bad input, 3 an error that was not expected.
    """
    quiet_libraries()
    from art_multimodal.datasets.named.place import VARIABLE
    from art_multimodal.evaluations.benchmark.config import read_config
    from art_multimodal.evaluations.benchmark.running import Benchmark, Share

    if data_root is not None:
        # Where data lie is the machine's affair, and no part of what identifies a cell.
        os.environ[VARIABLE] = data_root
    share = Share.parse(cells)
    job = Benchmark(read_config(config), out, DEVICES.find(device), share, max_skipped)
    if dry_run:
        _plan(job)
        return
    outcome = job.run(_watch)
    if is_main_process():
        content = job.write()
        _print(job, content)
        _print_outcome(outcome)
    if outcome.failed:
        raise typer.Exit(CELLS_FAILED)


def _watch(cell: Any, what: str, why: str) -> None:
    say(f"{what}: {cell}" + (f": {why}" if why else ""), error=True)


def _plan(job: Any) -> None:
    """Print what a benchmark is going to cost."""
    from art_multimodal.cli.audit_display import duration
    from art_multimodal.evaluations.benchmark.planning import plan_cells

    planned: list[PlannedCell] = plan_cells(job.share, job.is_finished, job.device)
    table = plain_table("forward", "backward", "texts", "time")
    table.columns[0].no_wrap = False
    sums, seconds, known = [0.0, 0.0, 0.0], 0.0, True
    for one in planned:
        if one.finished or one.reason:
            table.add_row(shown(str(one.cell)), *([""] * 3), "done" if one.finished else "fails")
            continue
        calls = one.calls
        sums = [total + own for total, own in zip(sums, calls, strict=True)]
        seconds += one.seconds or 0.0
        known = known and not one.unknown
        more = "+" if one.unknown else ""
        numbers = [f"{round(number):,}{more}" for number in calls]
        table.add_row(shown(str(one.cell)), *numbers, duration(one.seconds or 0.0))
    mark = "" if known else "+"
    table.add_row("all", *(f"{round(number):,}{mark}" for number in sums), duration(seconds))
    left = sum(not one.finished for one in planned)
    say(f"{len(planned):,} cells, {left:,} to be run; model calls at most:")
    Console().print(table, highlight=False)
    say("time: of a process by itself, from a few passes of each model on its data;")
    say("samples that fall early take less")
    for one in planned:
        if one.reason:
            say(f"fails: {one.cell}: {one.reason}", error=True)
    if any(one.reason for one in planned):
        raise typer.Exit(CELLS_FAILED)


def _print(job: Any, content: dict[str, Any]) -> None:
    """The averages of each budget at its largest radius."""
    for budget in content["budgets"]:
        for role in content["roles"]:
            rows: dict[str, dict[str, Any]] = {one["name"]: {} for one in content["models"]}
            for one in content["numbers"]:
                if (one["budget"], one["radius"], one["data"], one["role"]) == (
                    *(budget["name"], budget["radii"][-1], ""),
                    role,
                ):
                    rows[one["model"]][one["column"]] = one
            table = plain_table(*content["columns"])
            of = f"{budget['name']}, " if budget["name"] else ""
            table.title, table.title_justify = shown(f"{of}{budget['radii'][-1]}, mean accuracy in %: {role}"), "left"
            for name, numbers in rows.items():
                table.add_row(shown(name)[:40], *(_number(numbers.get(column)) for column in content["columns"]))
            Console().print(table, highlight=False)
    say("*: p < 0.05 against the first row, in pairs, by Holm")
    for name in job.files:
        say(f"{name}")


def _number(one: dict[str, Any] | None) -> str:
    if one is None:
        return "-"
    versus = one["versus"]
    return f"{100 * one['accuracy']:.1f}" + ("*" if versus and versus["p_holm"] < 0.05 else "")


def _print_outcome(outcome: Outcome) -> None:
    if outcome.elsewhere:
        say(f"{len(outcome.elsewhere):,} cells are with other processes, or were left: the last one writes the table")
    for cell, failure in outcome.failed[:_NAMED]:
        say(f"failed: {cell}: {failure.reason}", error=True)
    if len(outcome.failed) > _NAMED:
        say(f"and {len(outcome.failed) - _NAMED:,} more failed", error=True)


def amend(
    leaderboard: Annotated[
        Path, typer.Argument(metavar="LEADERBOARD", help="leaderboard.json of a benchmark", show_default=False)
    ],
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="evidence of an audit: see audit --fixtures", show_default=False)
    ],
    by: Annotated[str, typer.Option(metavar="NAME", help="who found it")],
    source: Annotated[
        str, typer.Option(metavar="TEXT", help="where it is described: a paper, a page", show_default=False)
    ] = "",
    date: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="of the entry", show_default="today, UTC")
    ] = None,
    digest: Annotated[
        str | None, typer.Option(metavar="ROOT", help="of the bundle, as it was noted down", show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="where the same weights lie here", show_default="as the leaderboard names it"
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="where the same data lie here", show_default="as the leaderboard names them"),
    ] = None,
    data_root: DataRoot = None,
    batch_size: Annotated[
        int, typer.Option(metavar="N", help="most samples the model sees at once; changes no result")
    ] = 32,
    device: Device = "auto",
) -> None:
    """Lower the numbers of a leaderboard by a break-in of somebody else, if the model itself confirms it.

    The model is asked about every sample of the bundle again, and how far each is from the data is measured here. A
    bundle of another model, of other data, beyond the budget, or one that was changed is refused; old numbers are kept.

    Exit codes: 0 a number was lowered, 1 none falls, 2 bad input or a bundle that is refused, 3 an error that was not
    expected.
    """
    quiet_libraries()
    from art_multimodal.datasets.named.place import VARIABLE
    from art_multimodal.errors import InputError, check_count
    from art_multimodal.evaluations.audit.rendering import percent
    from art_multimodal.evaluations.benchmark.amending import amend as amended

    check_count("batch size", batch_size)
    if data_root is not None:
        os.environ[VARIABLE] = data_root
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    try:
        when = datetime.strptime(date or today, "%Y-%m-%d").strftime("%Y-%m-%d")
    except ValueError:
        raise InputError(f"--date is written 2026-01-31, not {shown(date)[:40]}.") from None
    lowered = amended(
        leaderboard,
        bundle,
        by,
        when,
        source,
        digest,
        None if model is None else model_spec(model),
        None if data is None else data_spec(data),
        batch_size,
        DEVICES.find(device),
    )
    for one in lowered:
        say(f"{one.entry.model['name']} on {one.entry.data['name']}:")
        for column, samples in one.samples.items():
            was, now = (percent(shares[column]) for shares in (one.amendment.was, one.amendment.now))
            say(f"  {column}: {was} is now {now}, {samples:,} samples more are broken")
    if not lowered:
        say("no number falls: every sample that the bundle breaks was broken already")
        raise typer.Exit(NOT_LOWERED)
    say(f"{leaderboard}")


app = typer.Typer(cls=BenchmarkGroup, epilog=EXAMPLES, help="One table over models, data sets and budgets.")
add_command(app, run, EXAMPLES)
add_command(app, amend, EXAMPLES)
