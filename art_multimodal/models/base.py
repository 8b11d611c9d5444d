"""What every model here has: a dtype, a device, and what readers must know of it. Torch only, no ART."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from art_multimodal.modalities import Modality, image, text
from art_multimodal.models.preprocessing import ImagePreprocessing

if TYPE_CHECKING:
    from typing import Self


class Model(nn.Module):
    """Base of all models: of images and texts, and of any modalities."""

    #: What such a model is called.
    kind: ClassVar[str] = "model"
    #: Digest of the file whose code made the model (``python:FILE:FUNCTION``).
    source_sha256: str | None = None
    #: Name of the family that saves and loads it; ``None`` where there is none.
    family: str | None = None
    #: What to do then.
    why_unsaved = (
        "Save its state_dict with safetensors yourself; models of open_clip, transformers and the demos are saved, "
        "and what this package makes of them."
    )
    #: What a reader of results must know about how the model was loaded: something left out, resized or changed.
    notes: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        # A list, which views of the model share: what one of them trains, all of them have.
        self._mode_changes = [0]

    def facts(self) -> dict[str, Any]:
        """What tells it from other models of its kind, besides its weights, in JSON types."""
        return {}

    @property
    def mode_changes(self) -> int:
        """How often the mode has changed. Meanwhile weights may have been written in ways that torch does not see."""
        return self._mode_changes[0]

    def train(self, mode: bool = True) -> Self:
        self._mode_changes[0] += any(part.training != mode for part in self.modules())
        return super().train(mode)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return next((p.dtype for p in self.parameters() if p.is_floating_point()), self._instead_of_weights.dtype)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next((p.device for p in self.parameters()), self._instead_of_weights.device)

    @property
    def _instead_of_weights(self) -> Tensor:
        """Has the dtype and the device of a model without weights."""
        return torch.empty(0)


class ImageTextModel(Model):
    """Base of :class:`DualEncoder` and :class:`FusionModel`.

    :param preprocess: Resize and normalisation; part of the model, so that perturbations live in the caller's pixels.
    """

    def __init__(self, preprocess: ImagePreprocessing) -> None:
        super().__init__()
        self.preprocess = preprocess

    def facts(self) -> dict[str, Any]:
        facts = {**super().facts(), "image_size": list(self.image_size)}
        return facts | ({"resize": self.preprocess.interpolation} if self.preprocess.is_deployed else {})

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels that the image tower works on."""
        return self.preprocess.size

    @property
    def _instead_of_weights(self) -> Tensor:
        return self.preprocess.mean

    @property
    def modalities(self) -> dict[str, Modality]:
        """What samples consist of: an image and a text."""
        fill = self.mean_colour
        return {"image": image("image", len(fill), fill=fill), "text": text("text")}

    @property
    def mean_colour(self) -> np.ndarray:
        """The colour ``(C, 1, 1)`` that the image tower sees as zero, float32."""
        return self.preprocess.mean.float().cpu().numpy().copy()

    def pixels(self, images: Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` in [0, 1] as the image tower sees them, in the dtype of the weights."""
        return self.preprocess(images).to(self.dtype)
