"""Options that several commands take, each declared once."""

from __future__ import annotations

from typing import Annotated

import typer

#: Groups of --help.
DATA, RUN = "Images and prompts", "The run"

Templates = Annotated[
    str | None,
    typer.Option(metavar="PROMPT", rich_help_panel=DATA, help="a prompt with {}, or a text file with one per line"),
]
Classes = Annotated[
    str | None,
    typer.Option(metavar="NAMES", rich_help_panel=DATA, help="names separated by commas, or a text file"),
]
NativeSize = Annotated[
    bool, typer.Option("--native-size", rich_help_panel=DATA, help="do not reduce photos to the model's size")
]
DataRoot = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        rich_help_panel=DATA,
        help="where the data sets of data:NAME lie, as torchvision writes them",
        show_default="ART_MULTIMODAL_DATA",
    ),
]
Strict = Annotated[bool, typer.Option("--strict", rich_help_panel=DATA, help="stop at an unreadable image")]
MaxSkipped = Annotated[
    float,
    typer.Option(
        metavar="SHARE", rich_help_panel=DATA, help="share of samples that may be unreadable; exit code 2 above"
    ),
]
Resume = Annotated[bool, typer.Option("--resume", rich_help_panel=RUN, help="go on with the run in --out")]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", rich_help_panel=RUN, help="replace the run in --out; other files are never removed"),
]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda", rich_help_panel=RUN, help="where the model runs")]
