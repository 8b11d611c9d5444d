"""The models that benchmarks attack: the embedded ones, and a dual encoder trained here on CIFAR-10.

    python benchmarks/victims.py [--cifar ../shared/data/cifar10.npz]

trains the latter and keeps it in ``build/victims``; benchmarks do the same when it is not there yet.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from art_multimodal import FusionClassifier, ZeroShotClassifier, image_text_pairs, load_model
from art_multimodal.datasets import LabelledImages, open_data
from art_multimodal.demo.towers import PAD, ByteTextTower, byte_tokens
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.preprocessing import ImagePreprocessing

ROOT = Path(__file__).parents[1]
CIFAR = ROOT.parent / "shared" / "data" / "cifar10.npz"
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_TEMPLATES = (
    "a photo of a {}.",
    "a picture of a {}",
    "an image of the {}",
    "a {}",
    "this is a {}.",
    "one {} here",
)


#: A classifier, samples as it takes them, and their labels.
Victim = tuple[FusionClassifier | ZeroShotClassifier, np.ndarray, np.ndarray]


class Residual(nn.Module):
    """Two 3 x 3 convolutions around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.layers(x))


def _down(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)
    )


class CifarEncoder(DualEncoder):
    """A residual network on 32 x 32 pixels beside the demo models' text tower."""

    def __init__(self) -> None:
        super().__init__(ImagePreprocessing((32, 32), (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)), 64, pad_id=PAD)
        self.visual = nn.Sequential(
            _down(3, 32), _down(32, 64), Residual(64), _down(64, 128), Residual(128), nn.AdaptiveMaxPool2d(1)
        )
        self.projection = nn.Linear(128, 64, bias=False)
        self.text = ByteTextTower(depth=2, context_length=64)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def image_tower(self, pixels: Tensor) -> Tensor:
        return self.projection(self.visual(pixels).flatten(1))

    def text_tower(self, tokens: Tensor) -> Tensor:
        return self.text(tokens)

    def token_ids(self, texts: list[str], length: int) -> Tensor:
        return byte_tokens(texts, length)

    def text_parameters(self) -> list[nn.Parameter]:
        return list(self.text.parameters())


def train_cifar(data: dict[str, np.ndarray], epochs: int, seed: int) -> CifarEncoder:
    """Train on labelled images with prompts of their classes, shifted, mirrored and with patches cut out."""
    torch.manual_seed(seed)
    train = torch.from_numpy(data["x_train"]).permute(0, 3, 1, 2).float() / 255
    labels = torch.from_numpy(data["y_train"].astype(np.int64))
    model = CifarEncoder()
    steps = epochs * len(train) // 128
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    model.train()
    for step in range(steps):
        rows = torch.randint(len(train), (128,), generator=generator)
        padded = F.pad(train[rows], (4, 4, 4, 4), mode="reflect")
        shifts = torch.randint(9, (128, 2), generator=generator).tolist()
        images = torch.stack([p[:, t : t + 32, le : le + 32] for p, (t, le) in zip(padded, shifts, strict=True)])
        mirrored = torch.rand(128, generator=generator) < 0.5
        images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images)
        template = CIFAR_TEMPLATES[step % len(CIFAR_TEMPLATES)]
        logits = model(images, model.tokenize([template.replace("{}", name) for name in CIFAR_CLASSES]))
        loss = F.cross_entropy(logits, labels[rows], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 200 == 0:
            print(f"CIFAR-10 victim: step {step} of {steps}, loss {loss.item():.3f}", flush=True)
    return model.eval()


def cifar_victim(path: Path = CIFAR, epochs: int = 24, seed: int = 0) -> Victim:
    """Return a dual encoder for CIFAR-10 with the 2,000 test images and their labels; trained once, then kept."""
    with np.load(path) as file:
        data = {name: file[name] for name in ("x_train", "y_train", "x_test", "y_test")}
    kept = ROOT / "build" / "victims" / f"cifar10-{epochs}-{seed}.safetensors"
    model = CifarEncoder().eval()
    if kept.is_file():
        model.load_state_dict(load_file(kept))
    else:
        model = train_cifar(data, epochs, seed)
        kept.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, kept)
    classifier = ZeroShotClassifier(model, CIFAR_CLASSES, CIFAR_TEMPLATES[0], device_type="cpu")
    images = np.ascontiguousarray(data["x_test"].transpose(0, 3, 1, 2)).astype(np.float32) / 255
    return classifier, images, data["y_test"].astype(np.int64)


def _arrays(data: LabelledImages) -> tuple[np.ndarray, np.ndarray]:
    rows = range(len(data))
    return np.stack([data.image(row) for row in rows]), np.array([data.label_of(row) for row in rows])


def digits_victim() -> Victim:
    """Return the embedded dual encoder with its held-out digits."""
    data = open_data("demo:digits")
    model = load_model("demo:digits")
    return ZeroShotClassifier(model, data.class_names, data.templates, device_type="cpu"), *_arrays(data)


def shapes_victim(fusion: str) -> Victim:
    """Return an embedded fusion model with its held-out questions."""
    data = open_data("demo:shapes")
    images, labels = _arrays(data)
    pairs = image_text_pairs(images, [data.text_of(row) or "" for row in range(len(data))])
    return FusionClassifier(load_model(f"demo:shapes/{fusion}"), device_type="cpu"), pairs, labels


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cifar", type=Path, default=CIFAR)
    parser.add_argument("--epochs", type=int, default=24)
    options = parser.parse_args()
    classifier, images, labels = cifar_victim(options.cifar, options.epochs)
    accuracy = float((classifier.predict(images).argmax(axis=1) == labels).mean())
    print(json.dumps({"clean accuracy on 2,000 test images": accuracy}))


if __name__ == "__main__":
    main()
