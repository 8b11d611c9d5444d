"""Train ``demo:spoken`` and write its weights; on one core about a minute each.

The exact command, from the root of the repository::

    python -m tools.demo_models.train_spoken spoken_digits.npz --task all --fusion all --seed 0

The file is that of ``cut_spoken``. Pairs are drawn anew in every step, of the written digits in the training half of
``demo:views`` and of recordings by the speakers who are not held out. Four speakers are few: recordings are stretched
in time and frequency, tilted, and filled with noise, and each tower learns beside its task to tell its own digit, by a
head that is thrown away. Each modality of each sample is missing now and then, and the model is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from art_multimodal.demo.spoken import BANDS, FUSIONS, STEPS, TASKS, label_of, new_spoken, weights_of
from art_multimodal.demo.spoken_data import SpokenData
from art_multimodal.demo.views_data import ViewsData
from art_multimodal.models.families.modular.model import ModularModel
from art_multimodal.models.multimodal import Inputs, Part
from tools.demo_models.cut_spoken import HELD_OUT, read, spectrograms
from tools.demo_models.train_views import with_some_missing
from tools.demo_models.training import training_options, write_weights

BATCH = 64
#: How much the digits that towers tell beside their task count in the loss.
BESIDE = 0.5
#: Frames that a stretched word keeps at least.
SHORTEST = 6


@dataclass(frozen=True)
class Recordings:
    """Spectrograms of speakers that are heard in training.

    :param frames: Shape ``[N, STEPS, BANDS]`` in [0, 1], zero behind the length.
    :param lengths: Shape ``[N]``.
    :param digits: Shape ``(N,)``.
    :param speakers: Shape ``(N,)``.
    """

    frames: Tensor
    lengths: Tensor
    digits: np.ndarray
    speakers: np.ndarray


def recordings_of(given: dict[str, np.ndarray]) -> Recordings:
    """The recordings by all speakers who are not held out."""
    rows = np.flatnonzero(~np.isin(given["speaker"], HELD_OUT))
    made = [torch.from_numpy(one) for one in spectrograms(given, rows.tolist())]
    frames = nn.utils.rnn.pad_sequence([F.pad(made[0], (0, 0, 0, STEPS - len(made[0]))), *made[1:]], batch_first=True)
    lengths = torch.tensor([len(one) for one in made])
    return Recordings(frames / 255, lengths, given["digit"][rows].astype(np.int64), given["speaker"][rows])


def varied(frames: Tensor, lengths: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Other voices and rooms: spectrograms and lengths, each stretched, tilted, and filled with noise by chance.

    :param frames: Shape ``[N, STEPS, BANDS]``.
    :param lengths: Shape ``[N]``.
    """
    count = len(frames)

    def drawn(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, generator=generator)

    stretched = (lengths[:, None] * drawn(0.8, 1.2)).round().clamp(SHORTEST, STEPS)
    step = torch.minimum(torch.arange(STEPS) * lengths[:, None] / stretched, lengths[:, None] - 1.0)
    band = (torch.arange(BANDS) * drawn(0.9, 1.1) + drawn(-1, 1)).clamp(0, BANDS - 1)
    place = torch.stack(
        [
            (2 * band / (BANDS - 1) - 1)[:, None, :].expand(count, STEPS, BANDS),
            (2 * step / (STEPS - 1) - 1)[:, :, None].expand(count, STEPS, BANDS),
        ],
        dim=3,
    )
    changed = F.grid_sample(frames[:, None], place, align_corners=True)[:, 0]
    changed = changed + (drawn(-0.15, 0.15) * torch.linspace(-1, 1, BANDS))[:, None]
    noise = [torch.randn(changed.shape, generator=generator) for _ in range(2)]
    changed = torch.maximum(changed, drawn(0, 0.3)[:, None] + 0.05 * noise[0])
    changed = (changed + drawn(0, 0.05)[:, None] * noise[1]).clamp(0, 1)
    within = torch.arange(STEPS) < stretched
    return changed * within[:, :, None], stretched[:, 0].long()


def train(task: str, fusion: str, heard: Recordings, steps: int, learning_rate: float, seed: int) -> ModularModel:
    """Return a trained model; equal arguments give equal weights on one kind of machine."""
    order = list(TASKS).index(task) * len(FUSIONS) + FUSIONS.index(fusion)
    rng, generator = np.random.default_rng((seed, order)), torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model, written = new_spoken(task, fusion), ViewsData("train")
    pictures = torch.from_numpy(written.samples()["pix"])
    of_digit = [np.flatnonzero(written.labels == digit) for digit in range(10)]
    heads = nn.ModuleDict({name: nn.Linear(tower.width, 10) for name, tower in model.towers.items()})
    parameters = [*model.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, steps + 1, pct_start=0.1)
    for _ in range(steps):
        ours = rng.integers(len(heard.digits), size=BATCH)
        theirs = rng.integers(len(pictures), size=BATCH)
        if task == "redundant":
            theirs = np.array([rng.choice(of_digit[digit]) for digit in heard.digits[ours]])
        shown = {"digit": written.labels[theirs], "speech": heard.digits[ours]}
        frames, lengths = varied(heard.frames[ours], heard.lengths[ours], generator)
        everything = torch.ones(BATCH, dtype=torch.bool)
        batch: Inputs = {
            "digit": Part(pictures[theirs], everything),
            "speech": Part(frames, everything, lengths),
        }
        batch = with_some_missing(batch, rng)
        features = {name: model.encode(name, part) for name, part in batch.items()}
        scores = model.predict(model.combine(features, {name: part.present for name, part in batch.items()}))
        loss = F.cross_entropy(scores, torch.from_numpy(label_of(task, *shown.values())))
        for name, digits in shown.items():
            loss = loss + BESIDE * F.cross_entropy(heads[name](features[name]), torch.from_numpy(digits))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    print(f"{task}, {fusion}: loss {loss.item():.3f}, held-out accuracy {accuracy(model.eval(), task):.3f}", flush=True)
    return model


@torch.no_grad()
def accuracy(model: ModularModel, task: str) -> float:
    """Share of right answers."""
    data = SpokenData(task)
    return float((model(model.collate(data.samples())).argmax(dim=1).numpy() == data.labels).mean())


def main() -> None:
    parser = training_options(__doc__, steps=1500, learning_rate=3e-3)
    parser.add_argument("file", type=Path, help="an .npz file with samples, offsets, digit and speaker")
    parser.add_argument("--task", choices=("all", *TASKS), default="all")
    parser.add_argument("--fusion", choices=("all", *FUSIONS), default="all")
    parser.add_argument("--out", help="another file than the one that is shipped; for one task and fusion")
    arguments = parser.parse_args()
    if "all" in (arguments.task, arguments.fusion) and arguments.out is not None:
        parser.error("--out needs one --task and one --fusion")
    if arguments.steps < 1:
        parser.error("--steps must be at least 1")
    torch.set_num_threads(1)
    heard = recordings_of(read(arguments.file))
    for task in TASKS if arguments.task == "all" else (arguments.task,):
        for fusion in FUSIONS if arguments.fusion == "all" else (arguments.fusion,):
            model = train(task, fusion, heard, arguments.steps, arguments.learning_rate, arguments.seed)
            write_weights(model, arguments.out or weights_of(task, fusion))


if __name__ == "__main__":
    main()
