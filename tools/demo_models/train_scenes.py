"""Train ``demo:scenes`` and write its weights; about five minutes on one core.

The exact command, from the root of the repository::

    python -m tools.demo_models.train_scenes --seed 0

The objective is CLIP's, with several positives: a caption is a positive of every image in the batch that shows the
same objects. Every batch is new. A throwaway linear reader, the same for both towers, is asked which objects there are,
so that the towers soon find out what there is to tell apart. Single objects come first.
"""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from art_multimodal.demo.scene_captions import random_caption
from art_multimodal.demo.scene_encoder import EMBEDDING, WEIGHTS, SceneEncoder
from art_multimodal.demo.scenes import KINDS, NOTHING, draw, place_objects
from art_multimodal.demo.scenes_data import ScenesData, object_sets
from tools.demo_models.train_digits import multi_positive_loss
from tools.demo_models.training import training_options, write_weights

#: Shares of scenes with one, two and three objects at the start and from two fifths of the training on.
_EASY, _FULL = np.array([0.8, 0.2, 0.0]), np.array([0.1, 0.35, 0.55])


class Curriculum:
    """Draws sets of objects, small ones first.

    :param sets: All sets, ``int`` ``[S, 3]``.
    """

    def __init__(self, sets: np.ndarray) -> None:
        self.sets = sets
        self.of_size = [np.flatnonzero((sets != NOTHING).sum(axis=1) == size) for size in (1, 2, 3)]

    def draw(self, count: int, progress: float, rng: np.random.Generator) -> np.ndarray:
        """Rows of ``sets``, ``int`` ``[count]``, at a progress of the training in [0, 1]."""
        weight = min(1.0, 2.5 * progress)
        sizes = rng.choice(3, size=count, p=(1 - weight) * _EASY + weight * _FULL)
        return np.array([rng.choice(self.of_size[size]) for size in sizes])


@torch.no_grad()
def recall_at_1(model: SceneEncoder, data: ScenesData, number: int) -> tuple[float, float]:
    """Recall of images by their captions, and of captions by their images.

    :param number: Which of the captions of each image are taken: 0 or 1.
    """
    tokens = model.tokenize([captions[number] for captions in data.captions])
    logits = model(torch.from_numpy(data.images), tokens)
    truth = torch.arange(len(data))
    by_caption, by_image = logits.argmax(dim=0) == truth, logits.argmax(dim=1) == truth
    return float(by_caption.float().mean()), float(by_image.float().mean())


def embed_texts(model: SceneEncoder, texts: list[str], groups: int = 4) -> Tensor:
    """Embed texts, those of about one length together: the same values in less time."""
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    parts = np.array_split(np.array(order), groups)
    features = torch.cat([model.encode_text(model.tokenize([texts[row] for row in part])) for part in parts])
    return features[torch.from_numpy(np.argsort(order))]


def losses(model: SceneEncoder, reader: nn.Linear, images: Tensor, texts: list[str], kinds: np.ndarray) -> Tensor:
    """The contrastive loss and that of the reader, for images and texts of the same objects row by row."""
    present = torch.from_numpy((kinds[:, :, None] == np.arange(KINDS)).any(axis=1)).float()
    image_features, text_features = model.encode_image(images), embed_texts(model, texts)
    logits = model.logit_scale.exp() * image_features @ text_features.T
    positives = (present[:, None] == present[None]).all(dim=2).float()
    read = sum(
        F.binary_cross_entropy_with_logits(reader(EMBEDDING**0.5 * features), present)
        for features in (image_features, text_features)
    )
    return multi_positive_loss(logits, positives) + 2 * read


def train(steps: int, batch_size: int, learning_rate: float, seed: int) -> SceneEncoder:
    """Return a trained model; equal arguments give equal weights on one kind of machine."""
    # Whatever the seed, the stream is not the one that the data set is drawn from: that one is seeded without the 1.
    rng = np.random.default_rng((1, seed))
    torch.manual_seed(seed)
    model, reader, data = SceneEncoder(), nn.Linear(EMBEDDING, KINDS), ScenesData()
    curriculum = Curriculum(object_sets())
    parameters = [*model.parameters(), *reader.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.05, betas=(0.9, 0.98))
    # Up, level for most of the time, and down: the towers meet late and all at once, for which steps must be large.
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 100, (steps - step) / (0.3 * steps))
    )
    started = time.perf_counter()
    for step in range(steps):
        kinds = curriculum.sets[curriculum.draw(batch_size, step / steps, rng)]
        texts = [random_caption(row[row != NOTHING].tolist(), rng) for row in kinds]
        images = torch.from_numpy(draw(place_objects(kinds, rng), rng))
        loss = losses(model, reader, images, texts, kinds)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        if step % 200 == 199 or step == steps - 1:
            model.eval()
            known, unseen = recall_at_1(model, data, 0), recall_at_1(model, data, 1)
            print(
                f"step {step + 1}: loss {loss.item():.3f}, recall@1 of images and of captions "
                f"{known[0]:.3f} {known[1]:.3f}, in unseen wordings {unseen[0]:.3f} {unseen[1]:.3f}, "
                f"{time.perf_counter() - started:.0f} s",
                flush=True,
            )
            model.train()
    return model.eval()


def main() -> None:
    parser = training_options(__doc__, steps=1000, learning_rate=2e-3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--out", default=str(WEIGHTS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = train(arguments.steps, arguments.batch_size, arguments.learning_rate, arguments.seed)
    write_weights(model, arguments.out)


if __name__ == "__main__":
    main()
