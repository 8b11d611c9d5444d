"""``art-multimodal transfer``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from art_multimodal.cli.audit_results import plain_table
from art_multimodal.cli.common import RUN, Classes, DataRoot, Device, Overwrite, Resume, Templates
from art_multimodal.cli.display import say
from art_multimodal.cli.names import DEVICES, NORMS, data_spec, model_spec
from art_multimodal.cli.options import check_one_of, parse_distance, parse_names, print_notes, quiet_libraries
from art_multimodal.errors import InputError
from art_multimodal.shown import shown

EXAMPLES = """\
art-multimodal transfer demo:digits demo:digits/robust --data demo:digits
art-multimodal transfer open_clip:ViT-B-32/openai open_clip:RN50/openai \\
  open_clip:ViT-B-16/openai --data folder:photos --eps 8/255 --limit 100"""

# Groups of --help.
_WHAT, _ATTACK = "Models and data", "The attack"


def transfer(
    model: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL MODEL...", rich_help_panel=_WHAT, help="dual encoders: see list models", show_default=False
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", rich_help_panel=_WHAT, help="labelled images: see list data; needed", show_default=False
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", rich_help_panel=_WHAT, help="most samples, drawn with the seed", show_default="all"),
    ] = None,
    templates: Templates = None,
    classes: Classes = None,
    data_root: DataRoot = None,
    eps: Annotated[
        str, typer.Option(metavar="RADIUS", rich_help_panel=_ATTACK, help="how far images in [0, 1] may move")
    ] = "8/255",
    eps_step: Annotated[
        str | None,
        typer.Option(
            metavar="LENGTH", rich_help_panel=_ATTACK, help="length of a step", show_default="2.5 * eps / steps"
        ),
    ] = None,
    norm: Annotated[
        str, typer.Option(metavar="inf|2", rich_help_panel=_ATTACK, help="that eps is measured in")
    ] = "inf",
    steps: Annotated[int, typer.Option(metavar="N", rich_help_panel=_ATTACK, help="gradient steps")] = 50,
    ensemble: Annotated[
        str,
        typer.Option(
            metavar="logits|embeddings",
            rich_help_panel=_ATTACK,
            help="what is raised, and averaged over several models",
        ),
    ] = "logits",
    decay: Annotated[
        float, typer.Option(metavar="SHARE", rich_help_panel=_ATTACK, help="momentum, from 0 (none) to 1")
    ] = 1.0,
    diversity: Annotated[
        float,
        typer.Option(
            metavar="CHANCE", rich_help_panel=_ATTACK, help="that an image is made smaller and padded in a step"
        ),
    ] = 0.5,
    crops: Annotated[
        int, typer.Option(metavar="N", rich_help_panel=_ATTACK, help="local crops in each step; 0 takes whole images")
    ] = 0,
    scales: Annotated[
        str | None,
        typer.Option(
            metavar="N/N/...",
            rich_help_panel=_ATTACK,
            help="looks at the whole image at these scales, too, such as 0.5/0.75/1.25/1.5",
            show_default="none",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", rich_help_panel=RUN, help="folder for the reports")] = Path(
        "transfer"
    ),
    resume: Resume = False,
    overwrite: Overwrite = False,
    batch_size: Annotated[
        int,
        typer.Option(metavar="N", rich_help_panel=RUN, help="most images a model sees at once; changes no result"),
    ] = 32,
    device: Device = "auto",
    seed: Annotated[
        int, typer.Option(metavar="N", rich_help_panel=RUN, help="of the choice of samples and of the attacks")
    ] = 0,
) -> None:
    """Make images on each of several models, score them on all: how far attacks carry over.

    Rows are made on, columns are asked; noise of the same size, and of three models or more all others at once, are
    further rows. Writes report.html, report.md, transfer.csv and transfer.json after every row.

    Exit codes: 0 fine, 2 bad input, 3 an error that was not expected.
    """
    if data is None:
        raise InputError("Missing option '--data'. For example: --data folder:photos. See art-multimodal transfer -h.")
    check_one_of(resume, overwrite)
    quiet_libraries()
    from art_multimodal.datasets.named.spec import with_root
    from art_multimodal.evaluations.audit.transfer_options import OPTIONS
    from art_multimodal.evaluations.transfer import TransferSettings, run_transfer

    found_norm = NORMS.find(norm)
    if found_norm == "2" and eps == "8/255":
        raise InputError("With --norm 2 give --eps: a Euclidean length over the whole image, such as 0.5.")
    settings = TransferSettings(
        tuple(map(model_spec, model or ())),
        with_root(data_spec(data), data_root),
        limit,
        parse_names(templates, "--templates", None),
        parse_names(classes, "--classes", ","),
        found_norm,
        parse_distance(eps, "--eps"),
        None if eps_step is None else parse_distance(eps_step, "--eps-step"),
        steps,
        ensemble.lower(),
        decay,
        diversity,
        crops,
        () if scales is None else OPTIONS["scales"].read("--scales", scales),
        seed,
        batch_size,
    )
    report = run_transfer(
        settings, out, DEVICES.find(device), resume, overwrite, lambda source: say(f"made on {shown(source)}: scored")
    )
    print_notes(report["notes"])
    _print(report)
    for name in ("report.html", "report.md", "transfer.csv", "transfer.json"):
        say(f"{out / name}")


def _print(report: dict[str, Any]) -> None:
    from rich.console import Console

    from art_multimodal.evaluations.audit.rendering import percent

    cells = {(cell["source"], cell["target"]): cell for cell in report["cells"]}
    table = plain_table(*(shown(name)[-20:] for name in report["models"]))
    say("success in %: rows are made on, columns are asked; in brackets a white box")
    table.add_row("accuracy before", *(percent(one).removesuffix(" %") for one in report["accuracy"].values()))
    for source in report["sources"]:
        row = []
        for target in report["models"]:
            cell = cells[source, target]
            said = percent(cell["rate"]).removesuffix(" %")
            row.append(f"({said})" if cell["white_box"] else said)
        table.add_row(shown(source)[-24:], *row)
    Console().print(table, highlight=False)
