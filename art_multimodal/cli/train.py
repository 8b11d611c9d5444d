"""``art-multimodal train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from art_multimodal.cli.options import (
    Device,
    Norm,
    Task,
    parse_distance,
    parse_names,
    parse_options,
    quiet_libraries,
)
from art_multimodal.errors import InputError
from art_multimodal.processes import is_main_process


def train(
    method: Annotated[str, typer.Argument(help="mmcoa, tecoa, fare, ...: see art-multimodal list methods")],
    model: Annotated[
        str, typer.Argument(help="a dual encoder: demo:digits, open_clip:ARCH/TAG_OR_PATH, hf:ID_OR_PATH, ...")
    ],
    data: Annotated[str, typer.Option(help="demo:NAME, folder:PATH (a folder per class) or csv:PATH")],
    out: Annotated[Path, typer.Option(help="folder for best and last model, state and history")],
    task: Annotated[Task, typer.Option(help="retrieval: train on captions and images")] = Task.classification,
    epochs: Annotated[int, typer.Option(help="passes over the data")] = 10,
    batch_size: Annotated[int, typer.Option(help="samples per step and process")] = 64,
    learning_rate: Annotated[float, typer.Option(help="at its highest")] = 1e-5,
    eps: Annotated[
        str | None, typer.Option(help="radius for images in [0, 1]", show_default="1/255 for norm inf")
    ] = None,
    eps_step: Annotated[str | None, typer.Option(help="length of a step", show_default="2.5 * eps / steps")] = None,
    norm: Annotated[Norm, typer.Option(help="norm of the budget")] = Norm.inf,
    steps: Annotated[int, typer.Option(help="gradient steps of the image attack", min=1)] = 10,
    towers: Annotated[str, typer.Option(help="both, image or text: what is trained")] = "both",
    positives: Annotated[str, typer.Option(help="multi, or index as published for MMCoA")] = "multi",
    option: Annotated[
        list[str] | None, typer.Option(help="of the method: NAME=NUMBER, such as lambda_img=0.5; may be repeated")
    ] = None,
    optimizer: Annotated[str, typer.Option(help="adamw, adam or sgd")] = "adamw",
    schedule: Annotated[str, typer.Option(help="cosine or constant")] = "cosine",
    weight_decay: Annotated[float, typer.Option(help="of the optimizer")] = 1e-4,
    warmup_steps: Annotated[int, typer.Option(help="that lead up to the learning rate")] = 0,
    max_grad_norm: Annotated[
        float | None, typer.Option(help="longer gradients are cut to this length", show_default="none")
    ] = None,
    precision: Annotated[str, typer.Option(help="float32, bf16-attack or bf16")] = "float32",
    train_logit_scale: Annotated[
        bool, typer.Option("--train-logit-scale", help="train the scale of the logits, too")
    ] = False,
    language_model: Annotated[
        str, typer.Option(help="proposes words: demo:mlm, or a masked language model by hub name or folder")
    ] = "demo:mlm",
    protect: Annotated[
        str | None, typer.Option(help="words that text attacks leave alone, separated by commas, or a text file")
    ] = None,
    validation: Annotated[str, typer.Option(help="share that is not trained on, or another data source")] = "0.1",
    validate_every: Annotated[int, typer.Option(help="validate after every so many epochs")] = 1,
    validation_steps: Annotated[
        int | None, typer.Option(help="gradient steps in validation", show_default="as in training")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="most samples, drawn with the seed", show_default="all")] = None,
    templates: Annotated[str | None, typer.Option(help="a prompt with {}, or a text file with one per line")] = None,
    classes: Annotated[str | None, typer.Option(help="names separated by commas, or a text file")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="stop at an unreadable image")] = False,
    max_skipped: Annotated[float, typer.Option(help="share of images that may be unreadable; exit code 2 above")] = 0.5,
    device: Annotated[Device, typer.Option(help="where the model runs")] = Device.auto,
    seed: Annotated[int, typer.Option(help="of everything that is drawn")] = 0,
    checkpoint_every: Annotated[
        int | None, typer.Option(help="keep the state after so many steps, too", show_default="each epoch")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="log to OUT/tensorboard")] = False,
) -> None:
    """Train a CLIP-like model against attacks; validate it after each epoch on samples that it is not trained on.

    OUT then is a MODEL: art-multimodal audit checkpoint:OUT. Exit codes: 0 fine, 2 bad input.
    """
    quiet_libraries()
    from art_multimodal.cli.training_display import TrainingDisplay
    from art_multimodal.defences.trainer import TrainingSettings
    from art_multimodal.defences.training_run import RunSettings, TrainingRun

    if norm is Norm.two and eps is None:
        raise InputError("With --norm 2 give --eps: a Euclidean length over the whole image, such as 0.5.")
    radius = parse_distance(eps or "1/255")
    step = min(radius, 2.5 * radius / steps) if eps_step is None else parse_distance(eps_step)
    try:
        training = TrainingSettings(
            towers=towers,
            positives=positives,
            optimizer=optimizer,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            schedule=schedule,
            warmup_steps=warmup_steps,
            max_grad_norm=max_grad_norm,
            norm=norm.value,
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
        method=method,
        model=model,
        data=data,
        training=training,
        options=parse_options(option or []),
        task=task.value,
        epochs=epochs,
        batch_size=batch_size,
        validation=validation,
        validate_every=validate_every,
        validation_steps=validation_steps,
        limit=limit,
        templates=parse_names(templates, "--templates", None),
        classes=parse_names(classes, "--classes", ","),
        protected_words=parse_names(protect, "--protect", ",") or (),
    )
    shown = is_main_process()
    with TrainingDisplay(shown) as display:
        run = TrainingRun(settings, out, device.value, strict, resume, display, max_skipped)
        run.run(checkpoint_every, tensorboard)
    if shown:
        display.end(run)
