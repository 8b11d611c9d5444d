"""``art-multimodal export``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from art_multimodal.cli.display import say
from art_multimodal.cli.options import quiet_libraries

EXAMPLES = """\
art-multimodal export audit --as junit,sarif
art-multimodal export audit --as model-card --out card
art-multimodal export audit --as eval-results --dataset ORGANISATION/NAME"""

_FILES, _MEANT = "Files", "What the report does not say"


def export(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="the --out of an audit", rich_help_panel=_FILES, show_default=False)
    ],
    formats: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="FORMATS",
            rich_help_panel=_FILES,
            help="names separated by commas: see art-multimodal list formats",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", rich_help_panel=_FILES, help="of the files", show_default="that of the audit"),
    ] = None,
    mlflow: Annotated[
        bool,
        typer.Option("--mlflow", rich_help_panel=_FILES, help="also log it to MLflow, where MLFLOW_TRACKING_URI says"),
    ] = False,
    plan: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", rich_help_panel=_MEANT, help="of the plan in the repository, for sarif", show_default=False
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            rich_help_panel=_MEANT,
            help="of the benchmark on the Hugging Face Hub, for eval-results",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write the report of an audit in formats that other tools read.

    Nothing is measured anew, and no model is loaded. The report has to be what the log of the run says.
    """
    quiet_libraries()
    from art_multimodal.errors import InputError
    from art_multimodal.evaluations.audit.stored_report import read_report
    from art_multimodal.evaluations.formats import Options
    from art_multimodal.evaluations.formats.mlflow import files_of_run, log_to_mlflow
    from art_multimodal.evaluations.formats.writing import names_of, write_formats

    if formats is None and not mlflow:
        raise InputError("Nothing to export: name formats, such as --as junit,sarif, or give --mlflow.")
    if mlflow:
        # Asked for is a server of the user's own; that MLflow also tells its makers of its use is not.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    names = [] if formats is None else names_of(formats)
    report = read_report(folder)
    kept = files_of_run(folder) if mlflow else []
    paths = write_formats(report, names, out or folder, Options(dataset, plan)) if names else []
    for path in paths:
        say(str(path))
    if mlflow:
        say(f"MLflow run {log_to_mlflow(report, [*kept, *paths], folder)}")
