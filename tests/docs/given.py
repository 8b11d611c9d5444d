"""What pages take for granted: photos, captioned images, a model of the reader's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from art_multimodal import FusionClassifier, ModularModel, Tower, image_text_pairs, samples
from art_multimodal.datasets import open_captioned, open_data
from art_multimodal.modalities import image, table


def write_photos(folder: Path) -> None:
    """A folder for each class, with two photos in it: larger than a model sees them, as photos are."""
    data = open_data("demo:digits")
    for index in range(20):
        path = folder / data.class_names[data.label_of(index)] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo = Image.fromarray((255 * data.image(index).transpose(1, 2, 0)).round().astype(np.uint8))
        photo.resize((64, 64)).save(path)


def captioned(pairs: bool = False) -> Any:
    """Images with captions, or both in one."""
    scenes = open_captioned("demo:scenes", None)
    images = np.stack([scenes.image(index) for index in range(4)])
    captions = [scenes.captions_of(index)[0] for index in range(4)]
    return image_text_pairs(images, captions) if pairs else (images, captions)


def sensors() -> tuple[FusionClassifier, np.ndarray]:
    """A model over pictures and sound, and samples."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    rgb, audio = image("rgb", 3, 8, 8), table("audio", 6)
    nets = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), nn.Linear(6, 4)
    model = ModularModel([Tower(rgb, nets[0], width=4), Tower(audio, nets[1], width=4)], "concat", ["no", "yes"])
    x = samples(rgb=rng.random((3, 3, 8, 8), dtype=np.float32), audio=rng.random((3, 6), dtype=np.float32))
    return FusionClassifier(model, device_type="cpu"), x


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pixels, self.words, self.head = nn.Linear(3, 4), nn.Embedding(99, 4), nn.Linear(4, 2)

    def body(self, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return self.pixels(pixels.mean(dim=(2, 3))) + self.words(tokens).mean(dim=1)


def towers() -> tuple[_Net, Any]:
    """A net of images and tokens, and its tokenizer."""

    def tokenizer(texts: list[str]) -> torch.Tensor:
        return torch.tensor([[len(word) for word in (text.split() + [""] * 8)[:8]] for text in texts])

    return _Net().eval(), tokenizer
