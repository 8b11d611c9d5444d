"""One's own model as a fusion model, from a few callables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from art_multimodal.errors import InputError
from art_multimodal.models.fusion import FusionModel, Tokens
from art_multimodal.models.preprocessing import ImagePreprocessing
from art_multimodal.models.texts import check_texts


class _FromCallables(FusionModel):
    """What :class:`CustomFusion` and :class:`CustomLateFusion` share: tokens, scores, and where the weights are."""

    why_unsaved = (
        "It calls functions of your own, and code is never saved: keep the weights of its module with safetensors, and "
        "load it by python:FILE:FUNCTION."
    )

    def __init__(
        self,
        predict: Callable[[Tensor], Tensor],
        tokenize: Callable[[list[str]], Any],
        class_names: Sequence[str],
        image_size: int | tuple[int, int],
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        module: nn.Module | None = None,
        resize_mode: str = "squash",
    ) -> None:
        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        super().__init__(ImagePreprocessing(size, mean, std, resize_mode=resize_mode), class_names)
        self._predict = predict
        self._tokenize = tokenize
        self.module = module

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        texts = check_texts(texts)
        tokens = self._tokenize(texts)
        parts = dict(tokens) if isinstance(tokens, Mapping) else {"tokens": tokens}
        for name, part in parts.items():
            if not isinstance(part, Tensor):
                raise InputError(
                    f"tokenize must return a tensor or a dict of tensors; {name!r} is {type(part).__name__}. "
                    'A tokenizer of transformers needs padding=True and return_tensors="pt".'
                )
            if len(part) != len(texts):
                raise InputError(f"tokenize must return one row per text: {name!r} has {len(part)} for {len(texts)}.")
        return parts if isinstance(tokens, Mapping) else tokens

    def predict(self, fused: Tensor) -> Tensor:
        return check_scores(self._predict(fused), fused, self.class_names)


class CustomFusion(_FromCallables):
    """A fusion model of one's own, given as three callables.

    Each may be a function, a method or an ``nn.Module``. A module among them is part of the model. The modules that
    functions and methods use must be given as ``module``: their parameters decide dtype and device, and are moved,
    frozen, saved and trained.

    >>> pixels, words, head = torch.nn.Linear(3, 4), torch.nn.EmbeddingBag(256, 4), torch.nn.Linear(4, 2)
    >>> model = CustomFusion(
    ...     fuse=lambda images, tokens: pixels(images.mean(dim=(2, 3))) * words(tokens),
    ...     predict=head,
    ...     tokenize=lambda texts: torch.tensor([list(text.encode()[:32].ljust(32)) for text in texts]),
    ...     class_names=["no", "yes"],
    ...     image_size=32,
    ...     module=torch.nn.ModuleList([pixels, words, head]),
    ... )
    >>> FusionClassifier(model).predict(pairs).shape
    (8, 2)

    :param fuse: Maps normalised images ``[N, C, *image_size]`` and tokens to fused vectors ``[N, D]``.
    :param predict: Maps fused vectors to scores (logits) ``[N, K]``.
    :param tokenize: Maps a list of texts to token ids ``[N, L]`` or to a dict of tensors of ``N`` rows each, as a
        tokenizer of transformers returns. It should raise where a text is too long, take an empty text, and give a text
        the same tokens in any company, apart from padding that ``fuse`` ignores.
    :param class_names: Names of the ``K`` classes.
    :param image_size: Height and width in pixels that ``fuse`` works on, or one number for both.
    :param mean: Per channel, subtracted from images in [0, 1].
    :param std: Per channel, divides.
    :param module: Holds the parameters that ``fuse`` and ``predict`` use.
    :param resize_mode: As for :class:`ImagePreprocessing`.
    :raises InputError: On use, if a callable returns something of another shape.
    """

    def __init__(
        self,
        fuse: Callable[[Tensor, Any], Tensor],
        predict: Callable[[Tensor], Tensor],
        tokenize: Callable[[list[str]], Any],
        class_names: Sequence[str],
        image_size: int | tuple[int, int],
        **options: Any,
    ) -> None:
        super().__init__(predict, tokenize, class_names, image_size, **options)
        self._fuse = fuse

    def joint_tower(self, pixels: Tensor, tokens: Tokens) -> Tensor:
        return _check_fused(self._fuse(pixels, tokens), len(pixels), "fuse")


class CustomLateFusion(_FromCallables):
    """A fusion model of one's own whose towers are separate, so that attacks compute an untouched modality once.

    >>> pixels, words, head = torch.nn.Linear(3, 4), torch.nn.EmbeddingBag(256, 4), torch.nn.Linear(4, 2)
    >>> model = CustomLateFusion(
    ...     encode_image=lambda images: pixels(images.mean(dim=(2, 3))),
    ...     encode_text=words,
    ...     join=torch.mul,
    ...     predict=head,
    ...     tokenize=lambda texts: torch.tensor([list(text.encode()[:32].ljust(32)) for text in texts]),
    ...     class_names=["no", "yes"],
    ...     image_size=32,
    ...     module=torch.nn.ModuleList([pixels, words, head]),
    ... )
    >>> FusionClassifier(model).predict(pairs).shape
    (8, 2)

    :param encode_image: Maps normalised images ``[N, C, *image_size]`` to features ``[N, ...]``.
    :param encode_text: Maps tokens to features ``[N, ...]``, of a shape that the lengths of the texts do not change.
    :param join: Maps image features and text features to fused vectors ``[N, D]``.

    The other parameters are those of :class:`CustomFusion`.

    :raises InputError: On use, if a callable returns something of another shape.
    """

    def __init__(
        self,
        encode_image: Callable[[Tensor], Tensor],
        encode_text: Callable[[Any], Tensor],
        join: Callable[[Tensor, Tensor], Tensor],
        predict: Callable[[Tensor], Tensor],
        tokenize: Callable[[list[str]], Any],
        class_names: Sequence[str],
        image_size: int | tuple[int, int],
        **options: Any,
    ) -> None:
        super().__init__(predict, tokenize, class_names, image_size, **options)
        self._encode_image = encode_image
        self._encode_text = encode_text
        self._join = join

    def image_tower(self, pixels: Tensor) -> Tensor:
        return self._encode_image(pixels)

    def text_tower(self, tokens: Tokens) -> Tensor:
        return self._encode_text(tokens)

    def join(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        return _check_fused(self._join(image_features, text_features), len(image_features), "join")


def check_scores(scores: Any, fused: Tensor, class_names: Sequence[str]) -> Tensor:
    """Return scores.

    :raises InputError: If they are not one column per class and one row per fused vector.
    """
    expected = (len(fused), len(class_names))
    if not isinstance(scores, Tensor) or tuple(scores.shape) != expected:
        raise InputError(
            f"predict must return scores [N, K], here {expected}: one column per class name; "
            f"it returned {_shape(scores)}."
        )
    return scores


def _check_fused(fused: Any, rows: int, name: str) -> Tensor:
    if not isinstance(fused, Tensor) or fused.ndim != 2 or len(fused) != rows:
        raise InputError(f"{name} must return fused vectors [N, D], here [{rows}, D]; it returned {_shape(fused)}.")
    return fused


def _shape(returned: Any) -> str:
    return f"a tensor of shape {tuple(returned.shape)}" if isinstance(returned, Tensor) else type(returned).__name__
