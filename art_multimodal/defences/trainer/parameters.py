"""Which parameters belong to which tower, and which of them are trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from art_multimodal.defences.trainer.settings import TrainingSettings
from art_multimodal.errors import InputError
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.fusion import FusionModel
from art_multimodal.models.multimodal import MultimodalModel


def trained_parameters(
    model: DualEncoder | FusionModel | MultimodalModel, settings: TrainingSettings
) -> dict[str, nn.Parameter]:
    """The parameters that training moves, by name; of a fusion model all that are not frozen.

    To which tower a parameter belongs is asked of autograd: what an image embedding depends on is the image tower's.

    :raises InputError: If all of them are frozen, or one tower of a fusion model is asked for.
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if isinstance(model, FusionModel | MultimodalModel):
        if settings.towers != "both":
            raise InputError(
                f"A fusion model is trained as a whole: towers must be 'both', not {settings.towers!r}. Freeze "
                "parameters (requires_grad_(False)) instead."
            )
        if not named:
            raise InputError("The model is frozen: no parameter has requires_grad=True. Unfreeze some.")
        return named
    scale = model.logit_scale
    of_scale = {name for name, p in named.items() if p is scale} or _depends(scale, named)
    wanted: set[str] = set()
    was_training = model.training
    model.eval()
    try:
        with torch.enable_grad():
            if settings.towers != "text":
                channels = model.preprocess.mean.numel()
                image = torch.zeros(1, channels, *model.image_size, device=model.device)
                wanted |= _depends(model.encode_image(image, normalize=False), named)
            if settings.towers != "image":
                wanted |= _depends(model.encode_text(model.tokenize(["a"]).to(model.device), normalize=False), named)
    finally:
        model.train(was_training)
    if not wanted:
        which = "Both towers are" if settings.towers == "both" else f"The {settings.towers} tower is"
        raise InputError(
            f"{which} frozen: no parameter has requires_grad=True. Unfreeze some, or choose other `towers`."
        )
    wanted = wanted | of_scale if settings.train_logit_scale else wanted - of_scale
    return {name: p for name, p in named.items() if name in wanted}


def _depends(output: Tensor, named: dict[str, nn.Parameter]) -> set[str]:
    if not named or not output.requires_grad:
        return set()
    gradients = torch.autograd.grad(output.sum(), list(named.values()), allow_unused=True)
    return {name for name, gradient in zip(named, gradients, strict=True) if gradient is not None}


@contextmanager
def only(model: nn.Module, trained: dict[str, nn.Parameter]) -> Iterator[None]:
    """Leave all other parameters out of graphs; the flags, the gradients and the mode are as before afterwards."""
    before = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    was_training = model.training
    kept = {id(p) for p in trained.values()}
    for parameter, _, _ in before:
        parameter.requires_grad_(id(parameter) in kept)
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, flag, gradient in before:
            parameter.requires_grad_(flag)
            parameter.grad = gradient
        model.train(was_training)


def set_mode(model: nn.Module, settings: TrainingSettings, trains: Callable[[str], bool] | None = None) -> None:
    """Bring a model into the mode of a training step.

    :param trains: Which parameters the step trains, by their names; ``None`` for all. Where a batch normalisation is
        none of them, its statistics stay as well.
    """
    model.train(settings.training_mode)
    for name, part in model.named_modules():
        if isinstance(part, _BatchNorm):
            part.train(settings.update_batch_norm and (trains is None or trains(f"{name}.weight")))


def moving_tensors(model: nn.Module, trained: dict[str, nn.Parameter], settings: TrainingSettings) -> dict[str, Tensor]:
    """Everything that training writes to, by its name in the state of the model."""
    statistics = {
        f"{prefix}.{name}" if prefix else name: buffer
        for prefix, part in model.named_modules()
        if settings.update_batch_norm and isinstance(part, _BatchNorm)
        for name, buffer in part.named_buffers(recurse=False)
    }
    return {**trained, **statistics}
