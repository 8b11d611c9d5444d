"""``art-multimodal preprocessing``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from art_multimodal.cli.common import DATA, RUN, Classes, DataRoot, Device, MaxSkipped, Templates
from art_multimodal.cli.names import DEVICES, data_spec, model_spec, resize_name
from art_multimodal.cli.options import parse_names, quiet_libraries
from art_multimodal.errors import check_count
from art_multimodal.shown import shown

#: Exit codes: something else was deployed; the photos cannot tell.
DIFFERS, CANNOT_TELL = 1, 2

EXAMPLES = """\
art-multimodal preprocessing open_clip:ViT-B-32/openai \\
  --data folder:photos --resize opencv_linear
art-multimodal preprocessing hf:openai/clip-vit-base-patch32 \\
  --data folder:photos --deployed pipeline.npz"""

# Group of --help.
_WHAT = "What is compared"

_VERDICTS = {
    True: "the same preprocessing",
    False: "NOT the same preprocessing",
    None: "none. Every photo has the size that the model takes, so nothing was resized and any resize would pass; give "
    "photos as large as those that the service gets",
}


def preprocessing(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", rich_help_panel=_WHAT, help="a dual encoder: see list models")
    ],
    data: Annotated[
        str, typer.Option(metavar="DATA", rich_help_panel=_WHAT, help="photos: folder:PATH, csv:PATH, data:NAME, ...")
    ],
    resize: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_WHAT,
            help="the resize that is deployed: see list resizes",
            show_default=False,
        ),
    ] = None,
    deployed: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_WHAT,
            help="or what the deployed pipeline feeds to the model: a .npz file with pixels, (N, 3, h, w), normalised, "
            "of the first N photos, or of those in names",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", rich_help_panel=DATA, help="most photos, in their order", show_default="all"),
    ] = None,
    templates: Templates = None,
    classes: Classes = None,
    data_root: DataRoot = None,
    max_skipped: MaxSkipped = 0.5,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", rich_help_panel=RUN, help="the numbers as JSON", show_default=False),
    ] = None,
    device: Device = "auto",
) -> None:
    """Check that the preprocessing that is deployed is the model's own, in pixels and in answers.

    Exit codes: 0 it is, 1 it differs, 2 bad input, photos among it of which none has to be resized.
    """
    quiet_libraries()
    from art_multimodal.datasets.named.spec import with_root
    from art_multimodal.evaluations.preprocessing import ROUNDING, compare_preprocessing
    from art_multimodal.store import write_atomically

    check_count("limit", limit)
    found = compare_preprocessing(
        model_spec(model),
        with_root(data_spec(data), data_root),
        resize_name(resize),
        deployed,
        limit,
        parse_names(classes, "--classes", ","),
        parse_names(templates, "--templates", None),
        DEVICES.find(device),
        max_skipped,
    )
    skipped = f" ({found.skipped} could not be read)" if found.skipped else ""
    print(f"photos: {found.photos}{skipped}, {found.resized} of them resized")
    print(
        f"pixels: largest difference {found.largest:.2f} of 255 ({shown(found.worst)}), root mean square "
        f"{found.root_mean_square:.2f}; {100 * found.beyond_rounding:.2f} % differ by more than rounding does "
        f"({ROUNDING:g} steps at most)"
    )
    print(f"embeddings: smallest cosine {found.least_cosine:.4f}")
    print(
        f"answers: {100 * found.labels_changed:.1f} % of the photos get another class; accuracy "
        f"{100 * found.own_accuracy:.1f} % by the model's own preprocessing, {100 * found.deployed_accuracy:.1f} % by "
        "the deployed one"
    )
    print(f"verdict: {_VERDICTS[found.same]}")
    if out is not None:
        write_atomically(out, json.dumps(found.as_json(), indent=2) + "\n")
    if not found.same:
        raise typer.Exit(CANNOT_TELL if found.same is None else DIFFERS)
