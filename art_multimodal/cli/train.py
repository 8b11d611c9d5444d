"""``art-multimodal train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from art_multimodal.cli.common import (
    RUN,
    Classes,
    DataRoot,
    Device,
    MaxSkipped,
    Overwrite,
    Resize,
    Resume,
    Strict,
    Templates,
)
from art_multimodal.cli.names import DEVICES, NORMS, SCHEDULES, TASKS, data_spec, method_name, model_spec, resize_name
from art_multimodal.cli.options import (
    check_one_of,
    parse_distance,
    parse_distances,
    parse_elements,
    parse_keep,
    parse_names,
    parse_options,
    quiet_libraries,
)
from art_multimodal.errors import InputError
from art_multimodal.processes import is_main_process

EXAMPLES = """\
art-multimodal train tecoa demo:digits --data demo:digits --out robust
art-multimodal train mmcoa open_clip:ViT-B-32/openai --data folder:photos \\
  --eps 1/255 --out robust
art-multimodal train adversarial demo:shapes --data csv:pairs.csv --out robust
art-multimodal train qmf modular:qmf --data npz:samples.npz \\
  --eps rgb=2/255,depth=0.02 --out fused
art-multimodal train ablation modular:late --data demo:views \\
  --keep pix=6,fou=20 --out hidden
art-multimodal audit checkpoint:robust --data folder:other_photos"""


def _option(metavar: str, group: str, said: str, default: str | bool = True) -> Any:
    """An option as --help shows it.

    :param default: What is shown in the place of a default of ``None``.
    """
    return typer.Option(metavar=metavar, rich_help_panel=group, help=said, show_default=default)


# Groups of --help.
_WHAT, _SCHEDULE, _BUDGET = "What is trained, and how", "Optimisation", "Attacks in training"
_VALIDATION = "Validation"


def train(
    method: Annotated[
        str,
        typer.Argument(
            metavar="METHOD",
            rich_help_panel=_WHAT,
            help="mmcoa, tecoa, fare, ...; of fusion models plain, qmf, ...: see art-multimodal list methods",
        ),
    ],
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            rich_help_panel=_WHAT,
            help="demo:digits, open_clip:ARCH/TAG_OR_PATH, hf:ID_OR_PATH, modular:FUSION, ...",
        ),
    ],
    data: Annotated[
        str,
        _option(
            "DATA",
            _WHAT,
            "data:NAME, folder:PATH (a folder per class), csv:PATH, npz:FILE or demo:NAME; of fusion models with texts",
        ),
    ],
    out: Annotated[
        Path,
        _option("FOLDER", _WHAT, "folder for best and last model, state and history"),
    ],
    task: Annotated[
        str,
        _option("classification|retrieval", _WHAT, "retrieval: train on captions and images"),
    ] = "classification",
    epochs: Annotated[
        int,
        _option("N", _SCHEDULE, "passes over the data"),
    ] = 10,
    batch_size: Annotated[
        int,
        _option("N", _SCHEDULE, "samples per step and process"),
    ] = 64,
    learning_rate: Annotated[
        float | None,
        _option("RATE", _SCHEDULE, "at its highest", "1e-5; of modular:FUSION 1e-3"),
    ] = None,
    eps: Annotated[
        str | None,
        _option(
            "RADIUS",
            _BUDGET,
            "radius for images in [0, 1]; of several modalities rgb=2/255,depth=0.02",
            "1/255; of several: no attack",
        ),
    ] = None,
    attacked: Annotated[
        str,
        _option("joint|in-turn|most-vulnerable", _BUDGET, "which of several modalities a batch is attacked on"),
    ] = "most-vulnerable",
    eps_step: Annotated[
        str | None,
        _option("LENGTH", _BUDGET, "length of a step", "2.5 * eps / steps"),
    ] = None,
    norm: Annotated[
        str,
        _option("inf|2", _BUDGET, "norm of the budget"),
    ] = "inf",
    steps: Annotated[
        int,
        typer.Option(
            metavar="N",
            rich_help_panel=_BUDGET,
            help="gradient steps of the image attack",
            min=1,
        ),
    ] = 10,
    towers: Annotated[
        str,
        _option("both|image|text", _WHAT, "both, image or text: what is trained"),
    ] = "both",
    positives: Annotated[
        str,
        _option("multi|index", _WHAT, "multi, or index as published for MMCoA"),
    ] = "multi",
    option: Annotated[
        list[str] | None,
        _option("NAME=NUMBER", _WHAT, "of the method: NAME=NUMBER, such as lambda_img=0.5; may be repeated"),
    ] = None,
    optimizer: Annotated[
        str,
        _option("adamw|adam|sgd", _SCHEDULE, "adamw, adam or sgd"),
    ] = "adamw",
    schedule: Annotated[
        str,
        _option("cosine|constant", _SCHEDULE, "cosine or constant"),
    ] = "cosine",
    weight_decay: Annotated[
        float,
        _option("NUMBER", _SCHEDULE, "of the optimizer"),
    ] = 1e-4,
    warmup_steps: Annotated[
        int,
        _option("N", _SCHEDULE, "that lead up to the learning rate"),
    ] = 0,
    modality_dropout: Annotated[
        float,
        _option("SHARE", _BUDGET, "how often each of several modalities is missing in training"),
    ] = 0.0,
    max_grad_norm: Annotated[
        float | None,
        _option("LENGTH", _SCHEDULE, "longer gradients are cut to this length", "none"),
    ] = None,
    precision: Annotated[
        str,
        _option("float32|bf16-attack|bf16", _SCHEDULE, "float32, bf16-attack or bf16"),
    ] = "float32",
    train_logit_scale: Annotated[
        bool,
        typer.Option(
            "--train-logit-scale",
            rich_help_panel=_SCHEDULE,
            help="train the scale of the logits, too",
        ),
    ] = False,
    language_model: Annotated[
        str,
        _option("NAME", _BUDGET, "proposes words: demo:mlm, or a masked language model by hub name or folder"),
    ] = "demo:mlm",
    protect: Annotated[
        str | None,
        _option("WORDS", _BUDGET, "words that are left alone in texts, separated by commas, or a text file"),
    ] = None,
    keep: Annotated[
        str | None,
        _option(
            "NAME=N",
            _BUDGET,
            "of methods that hide elements: how many are kept, pix=6,text=3; each choice is as likely",
        ),
    ] = None,
    elements: Annotated[
        str | None,
        _option(
            "NAME=KIND",
            _BUDGET,
            "what they are: pix=blocks:4,text=words; or points, steps",
            "what fits the modality",
        ),
    ] = None,
    validation: Annotated[
        str,
        _option("SHARE_OR_DATA", _VALIDATION, "share that is not trained on, or another data source"),
    ] = "0.1",
    validate_every: Annotated[
        int,
        _option("N", _VALIDATION, "validate after every so many epochs"),
    ] = 1,
    validation_steps: Annotated[
        int | None,
        _option("N", _VALIDATION, "gradient steps in validation", "as in training"),
    ] = None,
    limit: Annotated[
        int | None,
        _option("N", _WHAT, "most samples, drawn with the seed", "all"),
    ] = None,
    templates: Templates = None,
    classes: Classes = None,
    data_root: DataRoot = None,
    resize: Resize = None,
    strict: Strict = False,
    max_skipped: MaxSkipped = 0.5,
    device: Device = "auto",
    seed: Annotated[
        int,
        _option("N", RUN, "of everything that is drawn"),
    ] = 0,
    checkpoint_every: Annotated[
        int | None,
        _option("N", RUN, "keep the state after so many steps, too", "each epoch"),
    ] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            rich_help_panel=RUN,
            help="log to OUT/tensorboard",
        ),
    ] = False,
) -> None:
    """Train a CLIP-like or a fusion model against attacks; after each epoch validate it on samples that it never sees.

    OUT then is a MODEL: art-multimodal audit checkpoint:OUT. Exit codes: 0 fine, 2 bad input.
    """
    check_one_of(resume, overwrite)
    quiet_libraries()
    from art_multimodal.cli.training_display import TrainingDisplay
    from art_multimodal.datasets.named.spec import with_root
    from art_multimodal.defences.trainer import TrainingSettings
    from art_multimodal.defences.training_run import RunSettings, TrainingRun

    norm = NORMS.find(norm)
    if norm == "2" and eps is None:
        raise InputError("With --norm 2 give --eps: a Euclidean length over the whole image, such as 0.5.")
    given = parse_distances(eps or "1/255", "--eps")
    radii = given if isinstance(given, dict) else None
    if radii is not None and eps_step is not None:
        raise InputError(
            "--eps-step is of one radius, that of images: leave it out. Steps of several modalities are 2.5 * eps / "
            "steps, each of its own eps."
        )
    radius = 1 / 255 if isinstance(given, dict) else given
    step = min(radius, 2.5 * radius / steps) if eps_step is None else parse_distance(eps_step, "--eps-step")
    try:
        training = TrainingSettings(
            towers=towers,
            positives=positives,
            optimizer=optimizer,
            # A model that begins from nothing learns faster.
            learning_rate=learning_rate
            if learning_rate is not None
            else (1e-3 if model.startswith("modular:") else 1e-5),
            weight_decay=weight_decay,
            schedule=schedule,
            warmup_steps=warmup_steps,
            max_grad_norm=max_grad_norm,
            modality_dropout=modality_dropout,
            norm=norm,
            eps=radius,
            # Of a radius that cannot be used, the radius is to be named.
            eps_step=step if radius > 0 or eps_step else 1.0,
            max_iter=steps,
            language_model=language_model,
            precision=precision,
            train_logit_scale=train_logit_scale,
            seed=seed,
        )
    except ValueError as error:
        raise InputError(str(error)) from error
    settings = RunSettings(
        method=method_name(method),
        model=model_spec(model),
        data=with_root(data_spec(data), data_root),
        training=training,
        options=parse_options(option or []),
        task=TASKS.find(task),
        epochs=epochs,
        batch_size=batch_size,
        validation=with_root(validation, data_root, needed=False),
        validate_every=validate_every,
        validation_steps=validation_steps,
        limit=limit,
        templates=parse_names(templates, "--templates", None),
        classes=parse_names(classes, "--classes", ","),
        radii=radii,
        attacked=SCHEDULES.find(attacked),
        protected_words=parse_names(protect, "--protect", ",") or (),
        keep=parse_keep(keep),
        elements=parse_elements(elements),
        resize=resize_name(resize),
    )
    shown = is_main_process()
    with TrainingDisplay(shown) as display:
        run = TrainingRun(settings, out, DEVICES.find(device), strict, resume, display, overwrite, max_skipped)
        run.run(checkpoint_every, tensorboard)
    if shown:
        display.end(run)
