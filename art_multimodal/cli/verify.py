"""``art-multimodal verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from art_multimodal.cli.audit_results import plain_table
from art_multimodal.cli.common import RUN, Device
from art_multimodal.cli.display import say
from art_multimodal.cli.names import DEVICES, model_spec
from art_multimodal.cli.options import quiet_libraries
from art_multimodal.shown import shown

if TYPE_CHECKING:
    from art_multimodal.evaluations.evidence.bundle import Bundle
    from art_multimodal.evaluations.evidence.rescoring import Rescoring

#: The exit code.
NOT_CONFIRMED = 1
#: Samples that are named.
_NAMED = 10

# A group of --help.
_WHAT = "What is verified"

EXAMPLES = """\
art-multimodal audit demo:digits --data demo:digits --fixtures all
art-multimodal verify audit/evidence --digest 5f0c...
art-multimodal verify audit/evidence demo:digits/robust"""


def verify(
    bundle: Annotated[
        Path,
        typer.Argument(
            metavar="BUNDLE", rich_help_panel=_WHAT, help="the folder evidence of an audit, or that of the audit itself"
        ),
    ],
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            rich_help_panel=_WHAT,
            help="another model that is asked about the same samples; without it the one that the bundle names",
            show_default=False,
        ),
    ] = None,
    digest: Annotated[
        str | None,
        typer.Option(
            metavar="ROOT",
            rich_help_panel=_WHAT,
            help="as the audit printed it: SHA-256 of manifest.json, which stands for every byte",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            rich_help_panel=RUN,
            help="writes every image as a PNG of 8 bits, to be looked at: pass and number of the sample name it",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[
        int,
        typer.Option(metavar="N", rich_help_panel=RUN, help="most samples the model sees at once; changes no result"),
    ] = 32,
    device: Device = "auto",
) -> None:
    """Check every byte of a bundle of evidence, ask its model again about every sample, and compare.

    The report has to be what the log says, and attacked samples are measured against the budget. Samples are also asked
    about with images of 8 bits, as they would come out of a file. What the model says may differ from the log by the
    rounding of another machine: such samples are counted by themselves.

    Exit codes: 0 every sample is confirmed, or another model was asked; 1 the same model says something else, or a
    sample is beyond the budget; 2 a bundle that was changed or cannot be used, 3 an error that was not expected.
    """
    quiet_libraries()
    from art_multimodal.errors import check_count
    from art_multimodal.evaluations.evidence.bundle import Bundle
    from art_multimodal.evaluations.evidence.looking import check_empty, write_images
    from art_multimodal.evaluations.evidence.rescoring import rescore

    check_count("batch size", batch_size)
    if images is not None:
        check_empty(images, bundle)
    opened = Bundle(bundle, digest)
    manifest = opened.manifest
    say(f"bundle: {len(manifest.files) + 1:,} files, every byte as it was closed; fixtures: {manifest.fixtures}")
    say(f"digest: {opened.digest}" + ("" if digest is None else ", as given"))
    found = rescore(opened, None if model is None else model_spec(model), batch_size, DEVICES.find(device))
    _print(opened, found)
    if images is not None:
        say(f"{images}: {write_images(opened, found.reader, images):,} images")
    if (found.same_model and not found.confirmed) or not found.within_budget:
        raise typer.Exit(NOT_CONFIRMED)


def _print(bundle: Bundle, found: Rescoring) -> None:
    from art_multimodal.evaluations.evidence.manifest import PLAN_FILE
    from art_multimodal.evaluations.evidence.rescoring import NOT_RESCORED, unkept_reason

    own = bundle.header["model"]
    pages = "" if found.pages else ", report.md, report.html"
    say(f"report: report.json, samples.csv{pages} say what the log says")
    if found.pages:
        say(f"not compared: report.md, report.html: {found.pages}")
    if "plan" in bundle.header:
        kept = PLAN_FILE in bundle.manifest.files
        say(f"plan: {f'{PLAN_FILE} is the text that the run names' if kept else 'its text was not kept'}")
    same = "the same" if found.same_weights else "not the same"
    say(f"model: {found.model}; the bundle's: {own['spec']}")
    say(f"weights: {same}, {found.weights_sha256[:12]}... here and {own['weights_sha256'][:12]}... in the bundle")
    Console().print(_table(found), highlight=False)
    if not found.same_model:
        say("n: samples that are kept and that the bundle's model had right before the attack")
    totals = {what: sum(getattr(one, what) for one in found.tallies.values()) for what in _TALLIES}
    asked = totals["same"] + totals["near"] + totals["other"]
    say(f"verdicts: {totals['same']:,} of {asked:,} as in the log")
    if totals["near"]:
        say(f"near ties: {totals['near']:,} differ, by no more than the rounding of another machine")
        _name(found.near)
    if totals["unkept"]:
        say(f"not kept: {totals['unkept']:,} samples {unkept_reason(bundle)}; the log's word stands for them")
    if found.changed:
        what = "differ" if found.same_model else "differ, of another model"
        say(f"other verdicts: {totals['other']:,} {what}", style="red" if found.same_model else None)
        if found.same_model:
            _name(found.changed)
    _print_distances(bundle, found)
    for what, why in NOT_RESCORED.items():
        say(f"not asked again: {what}: {why}")


def _print_distances(bundle: Bundle, found: Rescoring) -> None:
    """How far attacked samples are from those before, and which are further away than the run declares."""
    from art_multimodal.evaluations.budget_settings import distance

    measured, budget = found.distances, bundle.header["budget"]
    if measured.moved:
        table = plain_table("modality", "moved", "eps")
        for (attack, modality), moved in measured.moved.items():
            sizes = (distance(budget, size, "modalities" not in budget) for size in (moved.farthest, moved.eps))
            table.add_row(shown(attack)[:36], shown(modality)[:20], *sizes)
        Console().print(table, highlight=False)
    within = measured.measured - len(measured.beyond)
    say(f"budget: {within:,} of {measured.measured:,} samples keep to it")
    for one in measured.beyond[:_NAMED]:
        say(f"  {shown(one.attack)}: {shown(one.name)[:40]}: {shown(one.said)}", style="red")
    if len(measured.beyond) > _NAMED:
        say(f"  and {len(measured.beyond) - _NAMED:,} more")
    if measured.unbound:
        names = ", ".join(map(shown, measured.unbound))
        # Wrapped: there may be many.
        Console().print(f"not measured, for no distance binds them: {names}", highlight=False, markup=False)


_TALLIES = ("same", "near", "other", "unkept")


def _name(changed: list[Any]) -> None:
    for one in changed[:_NAMED]:
        say(f"  {shown(one.attack)}: {shown(one.name)[:60]} was {one.logged[:40]}, is {one.now[:40]}")
    if len(changed) > _NAMED:
        say(f"  and {len(changed) - _NAMED:,} more")


def _table(found: Rescoring) -> Any:
    from art_multimodal.evaluations.audit.rendering import percent

    eight = ["8 bit"] if found.eight_bit is not None else []
    table = plain_table("n", "report", "re-scored", *eight, "near", "other")
    for name, row in found.report.items():
        columns = [row, found.now[name], *([found.eight_bit[name]] if found.eight_bit is not None else [])]
        tally = found.tallies.get(name)
        counts = ["", ""] if tally is None else [str(tally.near), str(tally.other)]
        table.add_row(shown(name)[:36], str(row["n"]), *(percent(one["accuracy"]) for one in columns), *counts)
    return table
