"""Options that several commands take, each declared once."""

from __future__ import annotations

from typing import Annotated, Any

import typer

#: Groups of --help.
DATA, RUN, SMOOTHED = "Images and prompts", "The run", "The smoothed model"

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
Resize = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=DATA,
        help="how photos are resized where the model is deployed, such as opencv_linear: see list resizes",
        show_default="as the model was published",
    ),
]
UniversalFile = Annotated[
    str | None,
    typer.Option(
        "--universal",
        metavar="FILE",
        rich_help_panel="What is attacked, and how",
        help="one perturbation for all images, as art-multimodal universal writes it, or an array: a row of its own",
        show_default=False,
    ),
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

#: What the smoothed model sees; in a certification it must be given.
KEEP = typer.Option(
    metavar="NAME=K,...",
    rich_help_panel=SMOOTHED,
    help="how many elements of each modality a vote sees, such as image=16,text=3; what is not named is seen whole, "
    "and changes of it are not certified",
    show_default=False,
)
Elements = Annotated[
    str | None,
    typer.Option(
        metavar="NAME=KIND,...",
        rich_help_panel=SMOOTHED,
        help="what counts as an element: blocks:SIDE, points, steps or words, such as image=blocks:8,text=words",
        show_default="by the kind of modality",
    ),
]
Edits = Annotated[
    str | None,
    typer.Option(
        metavar="modify|any",
        rich_help_panel=SMOOTHED,
        help="any: elements are also added and deleted (words, steps)",
        show_default="modify",
    ),
]
MasksName = Annotated[
    str | None,
    typer.Option(
        "--masks",
        metavar="NAME",
        rich_help_panel=SMOOTHED,
        help="which elements votes see: see list masks",
        show_default="partition",
    ),
]
Layout = Annotated[
    str | None,
    typer.Option(
        metavar="interleaved|contiguous",
        rich_help_panel=SMOOTHED,
        help="of partition: which elements form a group; contiguous against stickers",
        show_default="interleaved",
    ),
]
Votes = Annotated[
    int | None,
    typer.Option(
        "--samples",
        metavar="N",
        rich_help_panel=SMOOTHED,
        help="of random masks: votes about a sample",
        show_default="1000",
    ),
]
Choosing = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=SMOOTHED,
        help="of random masks: further votes that answer, but for the rule published",
        show_default="100",
    ),
]
Alpha = Annotated[
    float | None,
    typer.Option(
        metavar="CHANCE",
        rich_help_panel=SMOOTHED,
        help="of random masks: with what chance a sample's certificate may be wrong",
        show_default="0.001",
    ),
]
Rule = Annotated[
    str | None,
    typer.Option(
        metavar="majority|paired|published",
        rich_help_panel=SMOOTHED,
        help="of random masks: how chances are bounded",
        show_default="majority",
    ),
]


def attack_steps(default: str) -> Any:
    """The option of the attack on a smoothed model.

    :param default: As help shows it.
    """
    return typer.Option(
        metavar="N",
        rich_help_panel=SMOOTHED,
        help="of an attack on the smoothed model within each budget, beside its certificates; 10 is a start",
        show_default=default,
    )
