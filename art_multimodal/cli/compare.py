"""``art-multimodal compare``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from art_multimodal.cli.audit_results import plain_table
from art_multimodal.cli.common import RUN
from art_multimodal.cli.display import say
from art_multimodal.errors import InputError
from art_multimodal.shown import shown

if TYPE_CHECKING:
    from art_multimodal.evaluations.evidence.comparing import Comparison

#: The exit code.
REGRESSED = 1
#: Files that are written, and no other is replaced.
FILES = ("comparison.json", "comparison.md")

# A group of --help.
_WHAT = "What is compared"

EXAMPLES = """\
art-multimodal compare before after
art-multimodal compare main/evidence branch/evidence --fail-on-regression \\
  --margin 2 --out compared"""


def compare(
    a: Annotated[
        Path, typer.Argument(metavar="A", rich_help_panel=_WHAT, help="the --out of an audit, or a bundle of evidence")
    ],
    b: Annotated[
        Path,
        typer.Argument(metavar="B", rich_help_panel=_WHAT, help="likewise, of the same data: what has become of it"),
    ],
    fail_on_regression: Annotated[
        bool,
        typer.Option(
            "--fail-on-regression", rich_help_panel=RUN, help="exit code 1 where B is significantly worse on any row"
        ),
    ] = False,
    margin: Annotated[
        float, typer.Option(metavar="POINTS", rich_help_panel=RUN, help="by which a row may be worse all the same")
    ] = 0.0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            rich_help_panel=RUN,
            help="for comparison.json, with the samples that changed, and comparison.md",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Compare two audits of the same samples, row by row: what changed, and whether chance alone would do that.

    Samples are compared in pairs, by McNemar's exact test; p is corrected for the number of rows (Holm). Rows that were
    made with another budget, or other settings, are named and left out.

    Exit codes: 0 fine, 1 --fail-on-regression found one, 2 bad input, 3 an error that was not expected.
    """
    from art_multimodal.evaluations.evidence.comparing import compare as compared

    if not 0 <= margin <= 100:
        raise InputError(f"--margin is a number of points from 0 to 100, not {margin:g}.")
    _check_out(out)
    found = compared(a, b)
    _print(found, margin / 100)
    if out is not None:
        _write(out, found, margin / 100)
    worse = found.regressions(margin / 100)
    for one in worse:
        flips = f"{len(one.lost):,} of {one.n:,} samples lost, {len(one.gained):,} gained"
        say(f"regression: {one.row} by {-100 * one.difference:.1f} points, {flips}", error=fail_on_regression)
    if worse and fail_on_regression:
        raise typer.Exit(REGRESSED)


def _check_out(out: Path | None) -> None:
    """Refuse a place that cannot be written to, or holds something else."""
    from art_multimodal.store import check_place

    if out is None:
        return
    check_place(out)
    if out.is_dir() and (strange := sorted({one.name for one in out.iterdir()} - {*FILES})):
        raise InputError(f"--out {shown(out)} holds {shown(strange[0])}, which is of no comparison. Choose another.")


def _write(out: Path, found: Comparison, margin: float) -> None:
    from art_multimodal.evaluations.evidence.comparing import as_markdown
    from art_multimodal.store import cannot_write, refuse_links, write_atomically

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(out, error) from error
    refuse_links(out, FILES)
    text = json.dumps({**found.as_json(), "margin": margin}, indent=2, ensure_ascii=True, allow_nan=False)
    for name, content in zip(FILES, (text + "\n", as_markdown(found, margin)), strict=True):
        write_atomically(out / name, content)
        say(f"{out / name}")


def _print(found: Comparison, margin: float) -> None:
    say(f"A: {found.model_a}; B: {found.model_b}; {found.samples:,} samples in both")
    Console().print(_table(found, margin), highlight=False)
    say("A, B: accuracy in %; B - A: points, with a 95 % interval in pairs; +, -: samples")
    say("that are right now, and wrong; p: McNemar's exact test, by Holm; *: worse")
    for line in found.differences:
        say(f"differs: {line}")
    by_reason: dict[str, list[str]] = {}
    for row, why in found.left_out.items():
        by_reason.setdefault(why, []).append(row)
    for why, rows in by_reason.items():
        say(f"not compared, {why}: {', '.join(rows)}")


def _table(found: Comparison, margin: float) -> Any:
    from art_multimodal.evaluations.evidence.comparing import in_points, p_value

    table = plain_table("n", "A", "B", "B - A", "95 % interval", "+", "-", "p")
    # 80 columns do not hold wider gaps.
    table.padding = (0, 1, 0, 0)
    for column in table.columns:
        column.no_wrap = True
    for one in found.rows:
        shares = [f"{100 * share:.1f}" for share in (one.accuracy_a, one.accuracy_b)]
        interval = " to ".join(map(in_points, one.difference_ci95))
        flips = [str(len(one.gained)), str(len(one.lost))]
        p = p_value(one.p_holm).replace(" ", "") + ("*" if one.is_regression(margin) else "")
        cells = [*shares, in_points(one.difference), interval, *flips, p]
        table.add_row(shown(one.row)[:24], str(one.n), *cells)
    return table
