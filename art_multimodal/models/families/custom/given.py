"""Models of open_clip and transformers as they are, with what belongs to them, as dual encoders."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from torch import nn

from art_multimodal.errors import InputError
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.fusion import FusionModel
from art_multimodal.models.multimodal import MultimodalModel
from art_multimodal.models.preprocessing import ImagePreprocessing

#: Mean difference of pixels in [0, 1] up to which two ways to prepare an image are the same.
_SAME = 2 / 255


def as_dual_encoder(model: Any, tokenizer: Any = None, processor: Any = None) -> DualEncoder:
    """Return a loaded model behind the :class:`DualEncoder` contract. Its layers, weights and mode stay as they are.

    >>> import open_clip
    >>> from open_clip.model import CLIPTextCfg, CLIPVisionCfg, set_model_preprocess_cfg
    >>> vision = CLIPVisionCfg(layers=1, width=32, head_width=16, patch_size=8, image_size=32)
    >>> net = open_clip.CLIP(32, vision, CLIPTextCfg(width=32, heads=2, layers=1)).eval()
    >>> scaled = open_clip.get_model_preprocess_cfg(net) | {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    >>> set_model_preprocess_cfg(net, scaled)
    >>> model = as_dual_encoder(net, open_clip.get_tokenizer("ViT-B-32"))
    >>> model.encode_text(model.tokenize(["a photo of a cat"])).shape
    torch.Size([1, 32])

    :param model: A model of open_clip (``open_clip.create_model``) or of transformers (``AutoModel.from_pretrained``);
        a :class:`DualEncoder` is returned as it is.
    :param tokenizer: Its tokenizer: ``open_clip.get_tokenizer``, ``AutoTokenizer``. Not needed where a processor of
        transformers holds it.
    :param processor: What prepares its images. For transformers the image processor, or a processor that holds image
        processor and tokenizer (``AutoProcessor``). For open_clip the transform for evaluation; it may be left out,
        since an open_clip model knows its preprocessing, and is compared with it if given.
    :raises InputError: If the model is neither, or something is missing.
    """
    kind = type(model).__name__
    if isinstance(model, DualEncoder):
        if tokenizer is not None or processor is not None:
            raise InputError(f"{kind} has its tokenizer and preprocessing already: leave out tokenizer and processor.")
        return model
    if isinstance(model, FusionModel):
        raise InputError(f"{kind} is a fusion model, which answers about image and text together: FusionClassifier.")
    if isinstance(model, MultimodalModel):
        raise InputError(f"{kind} is a model over {', '.join(model.modalities)}: give it to FusionClassifier.")
    if not isinstance(model, nn.Module):
        raise InputError(f"A model must be a torch module, not {kind}. By name one is loaded with load_model(NAME).")
    if any(base.__module__.split(".")[0] == "open_clip" for base in type(model).__mro__) and hasattr(model, "visual"):
        encoder = _open_clip(model, tokenizer, processor)
    elif hasattr(model, "get_image_features") and hasattr(model, "get_text_features"):
        encoder = _transformers(model, tokenizer, processor)
    else:
        raise InputError(
            f"{kind} is no model of open_clip and none of transformers with image and text features. Wrap it: "
            "CustomDualEncoder(encode_image, encode_text, tokenize, image_size, ...)."
        )
    for part in (encoder, encoder.preprocess):
        part.training = model.training
    return encoder


def _open_clip(model: nn.Module, tokenizer: Any, transform: Any) -> DualEncoder:
    from art_multimodal.models.families.open_clip.encoder import OpenCLIPEncoder

    if tokenizer is None:
        raise InputError(
            f"A model of open_clip ({type(model).__name__}) needs its tokenizer, too: give "
            "tokenizer=open_clip.get_tokenizer(ARCHITECTURE)."
        )
    if not callable(tokenizer):
        raise InputError(f"The tokenizer must be what open_clip.get_tokenizer returns, not {type(tokenizer).__name__}.")
    encoder = OpenCLIPEncoder(model, tokenizer)
    if transform is not None:
        _check_transform(encoder.preprocess, transform)
    return encoder


def _transformers(model: nn.Module, tokenizer: Any, processor: Any) -> DualEncoder:
    from art_multimodal.models.families.hugging_face.encoder import HuggingFaceEncoder

    tokenizer = getattr(processor, "tokenizer", None) if tokenizer is None else tokenizer
    processor = getattr(processor, "image_processor", processor)
    missing = [name for name, part in (("tokenizer", tokenizer), ("processor", processor)) if part is None]
    if missing:
        raise InputError(
            f"A model of transformers ({type(model).__name__}) needs its {' and its '.join(missing)}, too: give "
            "processor=AutoProcessor.from_pretrained(NAME), or tokenizer= and processor= one by one."
        )
    if not hasattr(tokenizer, "pad_token_id"):
        raise InputError(f"The tokenizer must be one of transformers, not {type(tokenizer).__name__}.")
    return HuggingFaceEncoder(model, tokenizer, processor)


def _check_transform(preprocess: ImagePreprocessing, transform: Any) -> None:
    """Refuse a transform that prepares images in another way than the model says of itself."""
    height, width = preprocess.size
    across, down = torch.meshgrid(torch.linspace(0, 1, 2 * width), torch.linspace(0, 1, 3 * height), indexing="xy")
    ramps = (torch.stack([across, down, across * down]) * 255).round().to(torch.uint8)
    picture = Image.fromarray(ramps.permute(1, 2, 0).numpy())
    try:
        theirs = transform(picture)
        ours = preprocess(ramps[None].float() / 255)[0]
        difference = float(((theirs - ours) * preprocess.std).abs().mean())
    except Exception as error:
        message = " ".join(str(error).split())
        raise InputError(f"The processor does not prepare a picture: {type(error).__name__}: {message:.150}") from error
    if not difference < _SAME:
        raise InputError(
            "The processor prepares images in another way than the model's own preprocess_cfg says. Give the transform "
            "for evaluation, or create the model with the settings that it was trained with (image_mean, image_std, "
            "image_interpolation, image_resize_mode)."
        )
