"""Train ``demo:shapes`` and write its weights; on one core about five minutes each, ``cross_attention`` eleven.

The exact commands, from the root of the repository::

    python -m tools.demo_models.train_shapes --fusion all --seed 0
    python -m tools.demo_models.train_shapes --fusion concat --modality image --out image_only.safetensors
    python -m tools.demo_models.train_shapes --fusion concat --modality text --out text_only.safetensors

The last two train controls that see one modality, the other being constant; they stay at chance. Every batch is new.
Beside the answers, throwaway linear readers ask the image features for the scene and the text features for the
question, so that the towers soon find out what there is to tell apart.
"""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from art_multimodal.demo.scenes import KINDS, NOTHING, RELATION_NAMES, SIDE, Batch, make_samples
from art_multimodal.demo.shapes import (
    EMBEDDING,
    FUSIONS,
    WIDTH,
    CrossAttentionShapes,
    LateShapes,
    ShapesModel,
    new_shapes,
    weights_of,
)
from art_multimodal.demo.shapes_data import ShapesData
from tools.demo_models.training import training_options, write_weights

MODALITIES = ("both", "image", "text")


def control(images: Tensor, texts: list[str], modality: str) -> tuple[Tensor, list[str]]:
    """Make the input that a control must not see constant: a grey image, an empty text."""
    if modality == "text":
        images = torch.full_like(images, 0.5)
    if modality == "image":
        texts = [""] * len(texts)
    return images, texts


class Readers(nn.Module):
    """Linear maps from features to the facts of scene and question; thrown away after training.

    :param features: Length of the features.
    :param gain: Brings the features to coordinates of about one; other than 1 for unit vectors.
    """

    def __init__(self, features: int, gain: float) -> None:
        super().__init__()
        self.gain = gain
        self.scene = nn.Linear(features, 3 * KINDS)
        self.question = nn.Linear(features, KINDS + (len(RELATION_NAMES) + 1) + (KINDS + 1))

    def scene_loss(self, features: Tensor, kinds: np.ndarray, centres: np.ndarray) -> Tensor:
        """Which kinds there are, and where those stand."""
        rows, numbers = np.nonzero(kinds != NOTHING)
        columns = kinds[rows, numbers]
        present = torch.zeros(len(kinds), KINDS)
        present[rows, columns] = 1.0
        places = torch.from_numpy(centres[rows, numbers] * np.float32(4 / SIDE) - np.float32(2))
        found = self.scene(self.gain * features).view(len(kinds), KINDS, 3)
        where = F.mse_loss(found[rows, columns, 1:], places)
        return 4 * F.binary_cross_entropy_with_logits(found[..., 0], present) + where

    def question_loss(self, features: Tensor, facts: np.ndarray) -> Tensor:
        """The subject, the relation and the reference."""
        sizes = (KINDS, len(RELATION_NAMES) + 1, KINDS + 1)
        parts = self.question(self.gain * features).split(sizes, dim=1)
        # What a question does without (-1) has the last place.
        targets = torch.from_numpy(facts % np.array(sizes)).unbind(dim=1)
        return torch.stack([F.cross_entropy(part, target) for part, target in zip(parts, targets, strict=True)]).sum()


def losses(model: ShapesModel, readers: Readers, batch: Batch, modality: str) -> tuple[Tensor, Tensor]:
    """The loss of the answers, and that of the readers."""
    images, texts = control(torch.from_numpy(batch.images), batch.questions.texts, modality)
    tokens, labels = model.tokenize(texts), torch.from_numpy(batch.labels)
    scene_rows, question_rows = np.arange(len(texts)), np.arange(len(texts))
    if isinstance(model, CrossAttentionShapes):
        states = model.states(model.pixels(images), tokens)
        image_features, text_features = states[:, : model.patches].mean(dim=1), states[:, model.patches]
        fused = text_features
    else:
        # In a group of four, rows 0 and 1 share an image, 0 and 2 a question: each is embedded once.
        rows = np.arange(len(texts)).reshape(-1, 2, 2)
        scene_rows, question_rows = rows[:, :, 0].ravel(), rows[:, 0].ravel()
        image_features, text_features = model.encode_image(images[scene_rows]), model.encode_text(tokens[question_rows])
        pairs = torch.arange(len(scene_rows)).view(-1, 2)
        fused = model.join(
            image_features[pairs.repeat_interleave(2, dim=1).flatten()], text_features[pairs.repeat(1, 2).flatten()]
        )
    answer = F.cross_entropy(model.predict(fused), labels)
    read = answer.new_zeros(())
    if modality != "text":
        read = read + readers.scene_loss(
            image_features, batch.scenes.kinds[scene_rows], batch.scenes.centres[scene_rows]
        )
    if modality != "image":
        read = read + readers.question_loss(text_features, batch.questions.facts[question_rows])
    return answer, read


@torch.no_grad()
def accuracy(model: ShapesModel, data: ShapesData, modality: str = "both") -> float:
    """Share of right answers; without the other modality where the model is a control."""
    images, texts = control(torch.from_numpy(data.images), list(data.texts), modality)
    return float((model(images, model.tokenize(texts)).argmax(dim=1) == torch.from_numpy(data.labels)).float().mean())


def train(fusion: str, modality: str, steps: int, groups: int, learning_rate: float, seed: int) -> ShapesModel:
    """Return a trained model; equal arguments give equal weights on one kind of machine."""
    # Whatever the seed, the stream is not the one that the data set is drawn from: that one is seeded without the 1.
    rng = np.random.default_rng((1, seed, FUSIONS.index(fusion)))
    torch.manual_seed(seed)
    model, data = new_shapes(fusion), ShapesData()
    features = WIDTH if isinstance(model, CrossAttentionShapes) else EMBEDDING
    readers = Readers(features, gain=features**0.5 if isinstance(model, LateShapes) else 1.0)
    parameters = [*model.parameters(), *readers.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.02, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    started = time.perf_counter()
    for step in range(steps):
        answer, read = losses(model, readers, make_samples(groups, rng), modality)
        optimizer.zero_grad()
        (answer + read / 4).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 200 == 199 or step == steps - 1:
            model.eval()
            print(
                f"{fusion}, {modality}, step {step + 1}: answers {answer.item():.3f}, facts {read.item():.3f}, "
                f"held-out accuracy {accuracy(model, data, modality):.3f}, {time.perf_counter() - started:.0f} s",
                flush=True,
            )
            model.train()
    return model.eval()


def main() -> None:
    parser = training_options(__doc__, steps=6000, learning_rate=2e-3)
    parser.add_argument("--fusion", choices=("all", *FUSIONS), default="all")
    parser.add_argument("--modality", choices=MODALITIES, default="both")
    parser.add_argument("--groups", type=int, default=32, help="groups of four samples in a batch")
    parser.add_argument("--out", help="another file than the one that is shipped; for one fusion")
    arguments = parser.parse_args()
    if arguments.fusion == "all" and arguments.out is not None:
        parser.error("--out needs one --fusion")
    if arguments.modality != "both" and arguments.out is None:
        parser.error("a control needs --out: it must not replace the weights that are shipped")
    torch.set_num_threads(1)
    for fusion in FUSIONS if arguments.fusion == "all" else (arguments.fusion,):
        model = train(
            fusion, arguments.modality, arguments.steps, arguments.groups, arguments.learning_rate, arguments.seed
        )
        write_weights(model, arguments.out or weights_of(fusion))


if __name__ == "__main__":
    main()
