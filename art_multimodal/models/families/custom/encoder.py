"""One's own two-tower model as a dual encoder, from a few callables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from art_multimodal.errors import InputError
from art_multimodal.models.checks import check_dual_encoder, check_features
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.preprocessing import ImagePreprocessing
from art_multimodal.models.texts import check_length, check_texts

#: Where CLIP's own training ends.
_LOG_OF_100 = math.log(100.0)


class CustomDualEncoder(DualEncoder):
    """A dual encoder of one's own, given as three callables.

    Each may be a function, a method or an ``nn.Module``. A module among them, or whose method is among them, is part of
    the model: its parameters decide dtype and device, and are moved, frozen and trained. The modules that plain
    functions use must be given as ``module``.

    >>> pixels, words = torch.nn.Linear(3, 4), torch.nn.EmbeddingBag(256, 4)
    >>> model = CustomDualEncoder(
    ...     encode_image=lambda images: pixels(images.mean(dim=(2, 3))),
    ...     encode_text=words,
    ...     tokenize=lambda texts: torch.tensor([list(text.encode()[:16].ljust(16)) for text in texts]),
    ...     image_size=32,
    ...     module=torch.nn.ModuleList([pixels, words]),
    ... )
    >>> ZeroShotClassifier(model, ["zero", "one"]).predict(images).shape
    (8, 2)

    :param encode_image: Maps normalised images ``[N, C, *image_size]`` to embeddings ``[N, D]``, of any length.
    :param encode_text: Maps what ``tokenize`` returns to embeddings ``[N, D]``, of any length.
    :param tokenize: Maps a list of texts to token ids ``[N, L]``, or to a dict of tensors of that shape, as a tokenizer
        of transformers returns with ``padding=True, return_tensors="pt"``. It should raise where a text is too long,
        and give a text the same tokens in any company, apart from padding that ``encode_text`` ignores.
    :param image_size: Height and width in pixels that ``encode_image`` works on, or one number for both.
    :param mean: Per channel, subtracted from images in [0, 1].
    :param std: Per channel, divides.
    :param logit_scale: Natural logarithm of what cosines are multiplied by, default that of 100; a parameter stays one.
    :param logit_bias: Added to the logits (models trained with a sigmoid).
    :param context_length: The most tokens that ``encode_text`` reads: texts of more are refused. ``None`` if
        ``tokenize`` sees to it.
    :param module: Holds the parameters that functions among the callables use.
    :param resize_mode: As for :class:`ImagePreprocessing`.
    :param check: Try the model on two images and texts at once, see :func:`check_dual_encoder`.
    :raises InputError: If a callable returns something that cannot be used.
    """

    why_unsaved = (
        "It calls functions of your own, and code is never saved: keep the weights of its module with safetensors, and "
        "load it by python:FILE:FUNCTION."
    )
    _bias: Tensor | None

    def __init__(
        self,
        encode_image: Callable[[Tensor], Tensor],
        encode_text: Callable[[Any], Tensor],
        tokenize: Callable[[list[str]], Any],
        image_size: int | tuple[int, int],
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        logit_scale: float | Tensor = _LOG_OF_100,
        logit_bias: float | Tensor | None = None,
        context_length: int | None = None,
        module: nn.Module | None = None,
        resize_mode: str = "squash",
        check: bool = True,
    ) -> None:
        size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        preprocess = ImagePreprocessing((size[0], size[1]), mean, std, resize_mode=resize_mode)
        super().__init__(preprocess, context_length=context_length or 0)
        self._encode_image, self._encode_text, self._tokenize = encode_image, encode_text, tokenize
        owners = [getattr(part, "__self__", None) for part in (encode_image, encode_text)]
        self.parts = nn.ModuleList(dict.fromkeys(part for part in (module, *owners) if isinstance(part, nn.Module)))
        for name, value in (("logit_scale", logit_scale), ("_bias", logit_bias)):
            if isinstance(value, nn.Parameter) or value is None:
                setattr(self, name, value)
            else:
                self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32).detach().clone())
        #: Names of the tensors that tokens consist of; none where they are one.
        self.token_names: tuple[str, ...] = ()
        own = [part for name, part in self.named_children() if name != "preprocess"]
        modes = {part.training for one in own for part in one.modules() if part is not self.parts}
        # What was handed in decides: a model in evaluation mode stays in it.
        for part in (self, self.preprocess, self.parts):
            part.training = True in modes
        if check:
            check_dual_encoder(self)

    @property
    def logit_bias(self) -> Tensor | None:  # type: ignore[override]
        return self._bias

    def tokenize(self, texts: Sequence[str], allow_empty: bool = False) -> Tensor:
        """Turn texts into tokens, ``[M, L]``; ``[M, P, L]`` where they consist of ``P`` tensors.

        :raises InputError: If a text cannot be used, or ``tokenize`` returned something else than tokens.
        """
        texts = check_texts(texts)
        if not allow_empty and not all(text.strip() for text in texts):
            raise InputError("A text is empty. Give every class and caption at least one word.")
        given = self._tokenize(texts)
        parts = dict(given) if isinstance(given, Mapping) else {"tokens": given}
        for name, part in parts.items():
            _check_tokens(name, part, texts)
        shapes = {tuple(part.shape) for part in parts.values()}
        if len(shapes) != 1:
            raise InputError(f"tokenize must return tensors of one shape, not {sorted(shapes)} ({', '.join(parts)}).")
        tokens = torch.stack([part.cpu().long() for part in parts.values()], dim=1)
        if self.context_length:
            self._check_lengths(texts, tokens, parts)
        if not isinstance(given, Mapping):
            return tokens[:, 0]
        self.token_names = tuple(parts)
        return tokens

    def count_tokens(self, tokens: Tensor) -> int:
        masks = [place for place, name in enumerate(self.token_names) if "mask" in name]
        return int(tokens[:, masks[0]].sum()) if masks else len(tokens) * tokens.shape[-1]

    def image_tower(self, pixels: Tensor) -> Tensor:
        return check_features(self._encode_image(pixels), len(pixels), "encode_image")

    def text_tower(self, tokens: Tensor) -> Tensor:
        given: Any = dict(zip(self.token_names, tokens.unbind(1), strict=True)) if tokens.ndim == 3 else tokens
        return check_features(self._encode_text(given), len(tokens), "encode_text")

    def _check_lengths(self, texts: list[str], tokens: Tensor, names: Mapping[str, Tensor]) -> None:
        """Refuse texts of more tokens than the context; padding behind it does no harm and is cut by nobody."""
        masks = [place for place, name in enumerate(names) if "mask" in name]
        for text, row in zip(texts, tokens, strict=True):
            check_length(text, int(row[masks[0]].sum()) if masks else row.shape[-1], self.context_length)


def _check_tokens(name: str, part: Any, texts: list[str]) -> None:
    if not isinstance(part, Tensor):
        raise InputError(
            f"tokenize must return a tensor or a dict of tensors; {name!r} is {type(part).__name__}. "
            'A tokenizer of transformers needs padding=True and return_tensors="pt".'
        )
    if part.ndim != 2 or len(part) != len(texts) or part.is_floating_point():
        raise InputError(
            f"tokenize must return whole numbers [N, L], one row per text; {name!r} is {part.dtype} of shape "
            f"{tuple(part.shape)} for {len(texts)} texts."
        )
