"""``art-multimodal statistics``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from art_multimodal.cli.common import DATA, RUN, DataRoot, Device, MaxSkipped
from art_multimodal.cli.names import DEVICES, data_spec, model_spec
from art_multimodal.cli.options import check_new_file, print_notes, quiet_libraries
from art_multimodal.shown import shown

EXAMPLES = """\
art-multimodal statistics demo:digits --data demo:digits --limit 256 \\
  --out clean.safetensors
art-multimodal audit demo:digits --data demo:digits --eps 6/255 \\
  --attacks image --defence tapt:statistics=clean.safetensors,views=16"""

# Group of --help.
_WHAT = "What is measured"


def statistics(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            rich_help_panel=_WHAT,
            help="a dual encoder whose layers are known: demo:digits, open_clip:ARCH/TAG_OR_PATH",
            show_default=False,
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="DATA",
            rich_help_panel=_WHAT,
            help="clean images, whose labels are not looked at, and better not those of the audit: as for audit",
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", rich_help_panel=_WHAT, help="where they are written, as .safetensors")
    ],
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", rich_help_panel=DATA, help="most images, drawn with the seed", show_default="all"),
    ] = None,
    data_root: DataRoot = None,
    max_skipped: MaxSkipped = 0.5,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", rich_help_panel=RUN, help="replace the file in --out")
    ] = False,
    batch_size: Annotated[
        int, typer.Option(metavar="N", rich_help_panel=RUN, help="most images the model sees at once")
    ] = 32,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(metavar="N", rich_help_panel=RUN, help="of which images are drawn")] = 0,
) -> None:
    """Measure what clean images look like in each layer of a model, for the defence tapt; write it to a file.

    Means and variances of the states behind each layer, over images. The file says of which model and images they are.
    Exit codes: 0 fine, 2 bad input.
    """
    quiet_libraries()
    from art_multimodal.datasets.named.spec import with_root
    from art_multimodal.evaluations.layer_statistics import StatisticsSettings, measure_statistics

    check_new_file(out, overwrite)
    settings = StatisticsSettings(
        model=model_spec(model),
        data=with_root(data_spec(data), data_root),
        limit=limit,
        seed=seed,
        batch_size=batch_size,
    )
    found = measure_statistics(settings, DEVICES.find(device), max_skipped, before=print_notes)
    found.statistics.save(out, found.plugins)
    layers, width = found.statistics.means.shape
    skipped = f" ({found.skipped} could not be read)" if found.skipped else ""
    print(f"measured on {found.statistics.images} images{skipped}: {layers} layers of width {width}")
    print(f"statistics: {shown(out)}")
    print(f"next: art-multimodal audit {shown(settings.model)} --data DATA --defence tapt:statistics={shown(out)}")
