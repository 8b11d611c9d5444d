"""Demos whose models are a small tower of convolutions for each image, in several fusions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from art_multimodal.demo.packed import load_packed
from art_multimodal.demo.views import WEIGHTS, WIDTH
from art_multimodal.errors import unknown_name
from art_multimodal.modalities import Image
from art_multimodal.models.families.modular.model import ModularModel, Tower


@dataclass(frozen=True)
class ImagesDemo:
    """A family of embedded models over images, ``demo:NAME/FUSION``.

    :param name: What follows ``demo:``.
    :param modalities: What a sample consists of.
    :param fusions: Names of the registry of fusions; the first is that of plain ``demo:NAME``.
    :param class_names: Names of the classes.
    """

    name: str
    modalities: tuple[Image, ...]
    fusions: tuple[str, ...]
    class_names: tuple[str, ...]

    def new(self, fusion: str) -> ModularModel:
        """Return an untrained model.

        :raises InputError: If there is no such fusion.
        """
        if fusion not in self.fusions:
            raise unknown_name(f"fusion of demo:{self.name}", fusion, self.fusions)
        towers = [Tower(modality, convolutions(modality.shape[0] or 0), WIDTH) for modality in self.modalities]
        return ModularModel(towers, fusion, self.class_names)

    def weights_of(self, fusion: str) -> Path:
        """Where the weights of a fusion are shipped."""
        return WEIGHTS / f"{self.name}_{fusion}.safetensors"

    def load(self, fusion: str) -> ModularModel:
        """Return ``demo:NAME/FUSION`` with its trained weights, in evaluation mode.

        :raises InputError: If there is no such fusion.
        """
        model = self.new(fusion)
        model.load_state_dict(load_packed(self.weights_of(fusion)))
        return model.eval()


def convolutions(channels: int) -> nn.Module:
    """Three convolutions, each of which halves an image of 32 x 32, and a linear map to the embedding.

    The first layer brings images to one mean and one contrast, since those by night are dark and flat.
    """
    layers: list[nn.Module] = [nn.GroupNorm(1, channels)]
    for before, after, size in ((channels, 16, 5), (16, 32, 3), (32, 32, 3)):
        convolution = nn.Conv2d(before, after, size, stride=2, padding=size // 2)
        layers += [convolution, nn.GroupNorm(4, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 4 * 4, WIDTH))
