"""The contract of a CLIP-like model: two towers into one space. Torch only, no ART."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from art_multimodal.errors import InputError
from art_multimodal.models.base import ImageTextModel
from art_multimodal.models.causal_text import CausalText, encode_sharing_prefixes
from art_multimodal.models.layered_images import LayeredImages
from art_multimodal.models.preprocessing import ImagePreprocessing
from art_multimodal.models.visible_patches import PatchTower, encode_visible
from art_multimodal.texts import as_texts


class DualEncoder(ImageTextModel):
    """A model with an image tower and a text tower that share an embedding space.

    A subclass adapts one library's models by filling in :meth:`image_tower`, :meth:`text_tower`, :meth:`token_ids` and
    the attributes below. Callers use :meth:`encode_image`, :meth:`encode_text` and :meth:`tokenize`.

    >>> model = load_model("demo:digits")
    >>> isinstance(model, DualEncoder)
    True
    >>> texts = model.encode_text(model.tokenize(["a photo of the handwritten digit zero."]))
    >>> (model.encode_image(torch.from_numpy(images)) @ texts.T).shape
    torch.Size([8, 1])

    :param preprocess: Resize and normalisation; part of the model, so that perturbations live in the caller's pixels.
    :param context_length: The most tokens that the text tower reads, special tokens included.
    :param pad_id: The id that fills a row of tokens after its end.
    """

    kind = "dual encoder"
    #: Natural logarithm of the similarity's scale, one element: ``logits = exp(logit_scale) * cosine + logit_bias``.
    logit_scale: Tensor
    #: Added to the logits by sigmoid-trained models (SigLIP); ``None`` elsewhere.
    logit_bias: Tensor | None = None

    def __init__(self, preprocess: ImagePreprocessing, context_length: int, pad_id: int = 0) -> None:
        super().__init__(preprocess)
        self.context_length = context_length
        self.pad_id = pad_id

    def facts(self) -> dict[str, Any]:
        return {
            **super().facts(),
            "context_length": self.context_length,
            "logit_scale": float(self.logit_scale.detach().float().exp()),
        }

    def encode_image(self, images: Tensor, normalize: bool = True) -> Tensor:
        """Embed images.

        :param images: Shape ``[N, C, H, W]``, values in [0, 1], any height and width, any floating dtype.
        :param normalize: Whether to scale each embedding to unit length.
        :return: Shape ``[N, D]``, in the dtype of the weights.
        """
        features = self.image_tower(self.pixels(images))
        return F.normalize(features, dim=-1) if normalize else features

    def encode_visible(self, images: Tensor, tokens: Tensor, normalize: bool = True) -> Tensor:
        """Embed images of which some patches are visible: hidden ones take no part, and cost nothing.

        Exactly what attention gives in which the hidden patches do not exist, at the cost of ``(1 + k) / (1 + n)`` of
        an image in the layers. Patches are those of the image as the tower sees it. Where the caller's images have
        another size, a pixel of theirs spreads over neighbouring patches when they are resized: to hide pixels of
        theirs, hide them before (:class:`~art_multimodal.ablation.Blocks`).

        :param images: As for :meth:`encode_image`.
        :param tokens: Numbers of the visible patches, row by row as in :attr:`token_grid`, ``[N, k]``, or ``[N, V, k]``
            for ``V`` views of each image, whose resize and patches are then computed once. Each patch once; ``k`` may
            be 0.
        :param normalize: Whether to scale each embedding to unit length.
        :return: Shape ``[N, D]``, or ``[N, V, D]``, in the dtype of the weights.
        :raises InputError: If the model does not drop tokens (:attr:`drops_tokens`), or these are no patches of it.
        """
        features = encode_visible(self._patches, self.pixels(images), tokens)
        return F.normalize(features, dim=-1) if normalize else features

    def encode_text(self, tokens: Tensor, normalize: bool = True) -> Tensor:
        """Embed tokenised texts.

        :param tokens: Shape ``[M, L]``, from :meth:`tokenize`.
        :param normalize: Whether to scale each embedding to unit length.
        :return: Shape ``[M, D]``, in the dtype of the weights.
        """
        features = self.text_tower(tokens)
        return F.normalize(features, dim=-1) if normalize else features

    def encode_texts_sharing_prefixes(self, tokens: Tensor, normalize: bool = True) -> tuple[Tensor, int]:
        """Embed tokenised texts, and compute what texts have in common from their beginning on once.

        Where the text tower is not known to be causal this is :meth:`encode_text`. Embeddings are equal but for
        rounding.

        :param tokens: Shape ``[M, L]``, at least one row, from :meth:`tokenize`.
        :param normalize: Whether to scale each embedding to unit length.
        :return: Shape ``[M, D]``, on the device of the weights; and how many tokens went through the tower, padding
            not counted.
        """
        tower = self.causal_text if self.shares_prefixes else None
        if tower is None:
            return self.encode_text(tokens.to(self.device), normalize=normalize), self.count_tokens(tokens)
        features, count = encode_sharing_prefixes(tower, tokens, self.device)
        return F.normalize(features, dim=-1) if normalize else features, count

    def count_tokens(self, tokens: Tensor) -> int:
        """How many of the tokens ``[M, L]`` belong to texts, special tokens included, padding not."""
        # The padding token may also be a token of texts ("!").
        columns = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
        return int(((tokens != self.pad_id) * columns).amax(dim=1).sum())

    def tokenize(self, texts: Sequence[str], allow_empty: bool = False) -> Tensor:
        """Turn texts into token ids of shape ``[M, context_length]``.

        :param texts: Strings; a single one is one text.
        :param allow_empty: Take an empty text for what it is, instead of for a mistake.
        :raises InputError: If a text is empty or longer than the context. It is never cut silently.
        """
        texts = as_texts(texts)
        for text in texts:
            if not text.strip() and not allow_empty:
                raise InputError("A text is empty. Give every class and caption at least one word.")
        tokens = self.token_ids(texts, self.context_length)
        # A text fits if more room changes nothing. Padding alone would not tell: the end token that a tokenizer puts
        # where it cuts may be the padding token (CLIP and SigLIP in transformers), or be blanked out (CLIPA).
        full = (tokens[:, -2:] != self.pad_id).any(dim=1).nonzero().flatten().tolist()
        roomier = self.token_ids([texts[row] for row in full], self.context_length + 1) if full else tokens[:0]
        for row, wider in zip(full, roomier, strict=True):
            if wider[-1] != self.pad_id or not torch.equal(wider[:-1], tokens[row]):
                text = texts[row]
                raise InputError(
                    f"A text needs more than the {self.context_length} tokens that this model reads: "
                    f"{text[:60]!r}{'...' if len(text) > 60 else ''} ({len(text)} characters). Shorten it."
                )
        return tokens

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        """Return the logits of every image against every text, shape ``[N, M]``."""
        logits = self.logit_scale.exp() * self.encode_image(images) @ self.encode_text(tokens).T
        return logits if self.logit_bias is None else logits + self.logit_bias

    def text_parameters(self) -> list[nn.Parameter]:
        """The parameters that text embeddings depend on; a superset is allowed."""
        return list(self.parameters())

    @property
    def causal_text(self) -> CausalText | None:
        """The text tower in parts, where it is known to be causal."""
        return None

    @property
    def shares_prefixes(self) -> bool:
        """Whether :meth:`encode_texts_sharing_prefixes` shares anything.

        Not if a subclass, or somebody from outside, has changed what :meth:`encode_text` computes, but not
        :attr:`causal_text`.
        """
        kind = type(self)
        if kind.encode_text is not DualEncoder.encode_text or {"encode_text", "text_tower"} & set(vars(self)):
            return False
        tower, parts = (next(k for k in kind.__mro__ if name in vars(k)) for name in ("text_tower", "causal_text"))
        return issubclass(parts, tower) and self.causal_text is not None

    @property
    def patch_tower(self) -> PatchTower | None:
        """The image tower in parts, where it is known to be a vision transformer with a class token."""
        return None

    @property
    def layered_images(self) -> LayeredImages | None:
        """The image tower layer by layer, where it is known to be a vision transformer."""
        return None

    @property
    def drops_tokens(self) -> bool:
        """Whether :meth:`encode_visible` can leave patches out: not where images meet convolutions or are pooled.

        Nor if a subclass, or somebody from outside, has changed what :meth:`encode_image` computes.
        """
        return type(self).encode_image is DualEncoder.encode_image and self._knows_patches

    @property
    def token_grid(self) -> tuple[int, int]:
        """How many patches an image has, down and across.

        :raises InputError: If the model does not drop tokens.
        """
        return self._patches.grid

    @property
    def _knows_patches(self) -> bool:
        return self._is_image_tower("patch_tower") and self.patch_tower is not None

    @property
    def known_layers(self) -> LayeredImages | None:
        """:attr:`layered_images`, unless a subclass or somebody from outside has changed :meth:`image_tower` alone."""
        return self.layered_images if self._is_image_tower("layered_images") else None

    def _is_image_tower(self, parts: str) -> bool:
        """Whether a property of this name was written for the :meth:`image_tower` that there is."""
        kind = type(self)
        if {"encode_image", "image_tower"} & set(vars(self)):
            return False
        tower, own = (next(k for k in kind.__mro__ if name in vars(k)) for name in ("image_tower", parts))
        return issubclass(own, tower)

    @property
    def _patches(self) -> PatchTower:
        tower = self.patch_tower if self.drops_tokens else None
        if tower is None:
            raise InputError(
                f"This {type(self).__name__} cannot leave out patches of an image: it is not known to be a vision "
                "transformer with a class token. Hide pixels instead: art_multimodal.ablation.Blocks."
            )
        return tower

    def image_tower(self, pixels: Tensor) -> Tensor:
        """Embed preprocessed images ``[N, C, *image_size]`` without normalising: ``[N, D]``."""
        raise NotImplementedError

    def text_tower(self, tokens: Tensor) -> Tensor:
        """Embed tokens ``[M, context_length]`` without normalising: ``[M, D]``."""
        raise NotImplementedError

    def token_ids(self, texts: list[str], length: int) -> Tensor:
        """Tokenise to exactly ``length`` columns, padded with ``pad_id`` on the right; what does not fit is cut."""
        raise NotImplementedError
