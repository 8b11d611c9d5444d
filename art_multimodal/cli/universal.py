"""``art-multimodal universal``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from art_multimodal.cli.common import RUN, Classes, DataRoot, Device, MaxSkipped, Templates
from art_multimodal.cli.names import DEVICES, NORMS, data_spec, model_spec
from art_multimodal.cli.options import check_new_file, parse_distance, parse_names, print_notes, quiet_libraries
from art_multimodal.errors import InputError
from art_multimodal.shown import shown

EXAMPLES = """\
art-multimodal universal demo:digits --data demo:digits --eps 16/255 \\
  --out uap.safetensors
art-multimodal universal open_clip:ViT-B-32/openai open_clip:RN50/openai \\
  --data folder:photos --eps 12/255 --arms 1 --out uap.safetensors
art-multimodal universal hf:openai/clip-vit-base-patch32 \\
  --data folder:photos --patch 64 --target "a photo of a toaster" \\
  --out patch.safetensors
art-multimodal audit open_clip:ViT-L-14/openai --data folder:photos \\
  --eps 12/255 --universal uap.safetensors"""

# Groups of --help.
_WHAT, _LEARNING = "What is learned, and on what", "Learning"


def universal(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            rich_help_panel=_WHAT,
            help="dual encoders, one or several: demo:digits, open_clip:ARCH/TAG_OR_PATH, hf:ID_OR_PATH, ...",
            show_default=False,
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="DATA", rich_help_panel=_WHAT, help="images, whose labels are not looked at: as for audit"
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", rich_help_panel=_WHAT, help="where it is written, as .safetensors")
    ],
    eps: Annotated[
        str | None,
        typer.Option(
            metavar="RADIUS", rich_help_panel=_WHAT, help="how far images move", show_default="8/255 for norm inf"
        ),
    ] = None,
    norm: Annotated[str, typer.Option(metavar="inf|2", rich_help_panel=_WHAT, help="norm of the budget")] = "inf",
    target: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            rich_help_panel=_WHAT,
            help="what all images are to be taken for: a text, or with --loss cross_entropy the name of a class",
            show_default="anything but what they are",
        ),
    ] = None,
    patch: Annotated[
        int | None,
        typer.Option(
            metavar="SIDE",
            rich_help_panel=_WHAT,
            help="learn a patch of so many pixels a side instead, to be put anywhere",
            show_default=False,
        ),
    ] = None,
    share: Annotated[
        float,
        typer.Option(metavar="SHARE", rich_help_panel=_WHAT, help="largest share of an image that the patch covers"),
    ] = 0.15,
    loss: Annotated[
        str,
        typer.Option(
            metavar="similarity|cross_entropy",
            rich_help_panel=_LEARNING,
            help="of embeddings before and after; or over the class prompts, whose answers before stand for labels",
        ),
    ] = "similarity",
    steps: Annotated[int, typer.Option(metavar="N", rich_help_panel=_LEARNING, help="number of steps")] = 200,
    eps_step: Annotated[
        str | None,
        typer.Option(
            metavar="LENGTH",
            rich_help_panel=_LEARNING,
            help="length of a step",
            show_default="eps / 8; of a patch 8/255",
        ),
    ] = None,
    arms: Annotated[
        int, typer.Option(metavar="N", rich_help_panel=_LEARNING, help="models that a bandit chooses for each step")
    ] = 1,
    batch_size: Annotated[int, typer.Option(metavar="N", rich_help_panel=_LEARNING, help="images of a step")] = 32,
    limit: Annotated[
        int | None,
        typer.Option(
            metavar="N", rich_help_panel=_LEARNING, help="most images, drawn with the seed", show_default="all"
        ),
    ] = None,
    templates: Templates = None,
    classes: Classes = None,
    data_root: DataRoot = None,
    max_skipped: MaxSkipped = 0.5,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", rich_help_panel=RUN, help="replace the file in --out")
    ] = False,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(metavar="N", rich_help_panel=RUN, help="of everything that is drawn")] = 0,
) -> None:
    """Learn one perturbation, or one patch, for all images on dual encoders; write it to a file.

    How far it carries to other images and other models is what art-multimodal audit --universal FILE measures. Exit
    codes: 0 fine, 2 bad input.
    """
    quiet_libraries()
    from art_multimodal.attacks.evasion.universal import save_universal
    from art_multimodal.datasets.named.spec import with_root
    from art_multimodal.evaluations.universal import UniversalSettings, learn_universal

    norm = NORMS.find(norm)
    if norm == "2" and eps is None and patch is None:
        raise InputError("With --norm 2 give --eps: a Euclidean length over the whole image, such as 0.5.")
    if patch is not None and eps is not None:
        raise InputError("A patch has no radius: leave out --eps, or --patch.")
    check_new_file(out, overwrite)
    settings = UniversalSettings(
        models=tuple(map(model_spec, models)),
        data=with_root(data_spec(data), data_root),
        norm=norm,
        eps=parse_distance(eps or "8/255", "--eps"),
        eps_step=None if eps_step is None else parse_distance(eps_step, "--eps-step"),
        steps=steps,
        arms=arms,
        loss=loss,
        target=target,
        patch=patch,
        share=share,
        batch_size=batch_size,
        limit=limit,
        seed=seed,
        templates=parse_names(templates, "--templates", None),
        classes=parse_names(classes, "--classes", ","),
    )
    learned = learn_universal(settings, DEVICES.find(device), max_skipped, verbose=True, before=print_notes)
    save_universal(learned.universal, out, learned.plugins)
    skipped = f" ({learned.skipped} could not be read)" if learned.skipped else ""
    print(f"learned on {learned.images} images{skipped}; of these answers change, by surrogate:")
    for record, flips in zip(learned.records, learned.flips, strict=True):
        print(f"  {shown(record.name)}: {100 * flips:.1f} % (asked in {record.pulls} steps)")
    kind = "perturbation" if patch is None else "patch"
    print(f"{kind}: {shown(out)}")
    if patch is None:
        reach = eps or "8/255"
        print(
            f"next: art-multimodal audit MODEL --data DATA --norm {norm} --eps {shown(reach)} --universal {shown(out)}"
        )
