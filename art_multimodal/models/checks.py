"""Whether a dual encoder keeps its contract: what would otherwise be an error from deep inside, or no error at all."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from art_multimodal.errors import InputError

if TYPE_CHECKING:
    from art_multimodal.models.dual_encoder import DualEncoder

#: Texts that every tokenizer should take, of different length.
_TEXTS = ["a cat", "the red house"]
#: Most that an embedding may move when another stands beside it in a batch: far more than rounding.
_MOST_MOVE = 0.05
#: Largest factor of cosines: float32 holds logits up to it, and softmax gradients vanish long before.
_LARGEST_SCALE = 1e6

Returned = TypeVar("Returned")


def check_features(features: Any, rows: int, name: str) -> Tensor:
    """Return embeddings.

    :raises InputError: If they are not one vector of floating numbers for each of ``rows`` inputs.
    """
    if not isinstance(features, Tensor):
        raise InputError(f"{name} must return a tensor of embeddings [N, D], not {type(features).__name__}.")
    if features.ndim != 2 or len(features) != rows or not features.is_floating_point():
        raise InputError(
            f"{name} must return embeddings [N, D] of floating numbers, here [{rows}, D]; it returned {features.dtype} "
            f"of shape {tuple(features.shape)}."
        )
    return features


def check_dual_encoder(model: DualEncoder) -> None:
    """Try a dual encoder on two images and two texts, and say in one line what is wrong with it, if anything.

    Embeddings must be one finite vector per input, as long for images as for texts, of unit length where they are
    asked for so, different for different inputs and the same in any company, and a gradient must reach the pixels.
    The mode and the weights stay as they are.

    >>> check_dual_encoder(load_model("demo:digits"))

    :raises InputError: Naming the method that breaks the contract.
    """
    modes = {part: part.training for part in model.modules()}
    model.eval()
    try:
        _check(model)
    finally:
        for part, training in modes.items():
            part.training = training


def _check(model: DualEncoder) -> None:
    scale = _tried("logit_scale", lambda: float(model.logit_scale.detach().double().exp()))
    if not math.isfinite(scale) or not 0 < scale <= _LARGEST_SCALE:
        raise InputError(
            f"logit_scale is {float(model.logit_scale):.4g}, the natural logarithm of what cosines are multiplied by, "
            f"which makes that {scale:.4g}. For a factor of 100 give math.log(100)."
        )
    tokens = _tried("tokenize", lambda: model.tokenize(_TEXTS)).to(model.device)
    if not isinstance(tokens, Tensor) or len(tokens) != len(_TEXTS):
        raise InputError(f"tokenize must return a tensor with a row for each text, here {len(_TEXTS)}.")
    channels = model.preprocess.mean.numel()
    images = torch.linspace(0, 1, 2 * channels * math.prod(model.image_size), dtype=torch.float64)
    images = (images * 997 % 1).float().view(2, channels, *model.image_size).to(model.device).requires_grad_(True)
    pictures = _tried("encode_image", lambda: model.encode_image(images))
    with torch.no_grad():
        texts = _tried("encode_text", lambda: model.encode_text(tokens))
        for name, features, encode in (
            ("encode_image", pictures, lambda: model.encode_image(images[:1])),
            ("encode_text", texts, lambda: model.encode_text(tokens[:1])),
        ):
            _check_embeddings(name, features.detach(), _tried(name, encode))
    if pictures.shape[1] != texts.shape[1]:
        raise InputError(
            f"encode_image returns embeddings of length {pictures.shape[1]}, encode_text of length {texts.shape[1]}: "
            "both must lie in one space."
        )
    if not pictures.requires_grad:
        raise InputError(
            "encode_image gives no gradient to the pixels: every attack by gradients would fail, which would look like "
            "robustness. Leave out torch.no_grad, detach and numpy in it."
        )
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(pictures.float().cumsum(dim=1).sum(), images, allow_unused=True)
    if gradient is None or not bool(gradient.abs().sum() > 0):
        raise InputError("encode_image gives no gradient to the pixels: they take no part in its embeddings.")


def _check_embeddings(name: str, features: Tensor, alone: Tensor) -> None:
    """Check unit embeddings of two inputs, and that of the first one by itself."""
    check_features(features, 2, name)
    features, alone = features.float(), check_features(alone, 1, name).float()
    if not bool(features.isfinite().all()):
        raise InputError(f"{name} returns NaN or infinite values. Are the weights damaged, or does it overflow?")
    lengths = features.norm(dim=1)
    if bool((lengths == 0).any()):
        raise InputError(f"{name} returns an embedding of zeros, which has no direction to compare.")
    if bool(((lengths - 1).abs() > 0.01).any()):
        raise InputError(
            f"{name} must return unit embeddings where normalize=True; theirs have length {float(lengths[0]):.4g}. "
            "Divide by their norm: F.normalize(features, dim=-1)."
        )
    if torch.equal(features[0], features[1]):
        raise InputError(f"{name} returns the same embedding for different inputs: does it use them?")
    if float((F.normalize(alone[0], dim=0) - features[0]).norm()) > _MOST_MOVE:
        raise InputError(
            f"{name} embeds an input in another way when others stand beside it. Does a layer mix the batch (batch "
            "normalisation in training mode, a mean over all rows), or is padding not masked?"
        )


def _tried(name: str, call: Callable[[], Returned]) -> Returned:
    """Return what a call returns; an error in somebody's own code becomes one line."""
    try:
        return call()
    except InputError:
        raise
    except Exception as error:
        message = " ".join(str(error).split())
        raise InputError(f"{name} fails with {type(error).__name__}: {message:.200}") from error
