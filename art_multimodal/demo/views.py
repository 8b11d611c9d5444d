"""``demo:views``: small models that recognise a handwritten digit from several views of it, in three fusions.

The data are a part of *Multiple Features* (van Breukelen, Duin, Tax and den Hartog 1998), UCI Machine Learning
Repository, https://doi.org/10.24432/C5HC70, licence CC BY 4.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from art_multimodal.demo.captions import DIGIT_NAMES
from art_multimodal.demo.packed import load_packed
from art_multimodal.errors import unknown_name
from art_multimodal.modalities import Modality, image, table
from art_multimodal.models.families.modular.model import ModularModel, Tower
from art_multimodal.models.fusions.fusion import mlp

WEIGHTS = Path(__file__).parent / "weights"
#: The digits in their views, and what was found in the training half: ranges and means.
DATA = Path(__file__).parent / "data" / "digit_views.safetensors"
#: Names of the registry of fusions.
FUSIONS = ("concat", "late", "gated")

WIDTH, HIDDEN = 32, 64


def views() -> tuple[Modality, ...]:
    """The modalities: an image, ``pix``, and tables of Fourier (``fou``) and Karhunen-Loève (``kar``) coefficients.

    A number is the share of its range in the training half, so that an eps of 0.2 is a fifth of each column's range.
    What is removed becomes the mean of the training half: that of all pixels, or of the column.
    """
    from safetensors.numpy import load_file

    found = load_file(DATA)
    (_, height, width), fou, kar = (found[f"train.{name}"].shape for name in ("pix", "fou", "kar"))
    return (
        image("pix", 1, height, width, fill=float(found["pix.mean"].mean())),
        table("fou", fou[1], fill=found["fou.mean"]),
        table("kar", kar[1], fill=found["kar.mean"]),
    )


def new_views(fusion: str) -> ModularModel:
    """Return an untrained model.

    :param fusion: One of :data:`FUSIONS`.
    :raises InputError: If there is no such fusion.
    """
    if fusion not in FUSIONS:
        raise unknown_name("fusion of demo:views", fusion, FUSIONS)
    return ModularModel([_tower(view) for view in views()], fusion, DIGIT_NAMES)


def weights_of(fusion: str) -> Path:
    """Where the weights of a fusion are shipped."""
    return WEIGHTS / f"views_{fusion}.safetensors"


def load_views(fusion: str = "concat") -> ModularModel:
    """Return ``demo:views/FUSION`` with its trained weights, in evaluation mode.

    :raises InputError: If there is no such fusion.
    """
    model = new_views(fusion)
    model.load_state_dict(load_packed(weights_of(fusion)))
    return model.eval()


def _tower(view: Modality) -> Tower:
    if view.kind == "table":
        return Tower(view, mlp([view.shape[0] or 0, HIDDEN, WIDTH]), WIDTH)
    return Tower(view, convolutions(view.shape), WIDTH)


def convolutions(shape: Sequence[int | None]) -> nn.Module:
    """Two convolutions, each of which halves the image, and a linear map to the embedding."""
    channels, height, width = (size or 0 for size in shape)
    # Halves are rounded up.
    patches = -(-height // 4) * -(-width // 4)
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * patches, WIDTH),
    )
