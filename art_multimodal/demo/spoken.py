"""``demo:spoken``: small models that see a handwritten digit and hear a spoken one, for two tasks.

The spectrograms are made of a part of the *Free Spoken Digit Dataset* (Z. Jackson and others),
https://github.com/Jakobovski/free-spoken-digit-dataset, licence CC BY-SA 4.0, which they carry, too. The handwritten
digits are those of ``demo:views``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from art_multimodal.demo.captions import DIGIT_NAMES
from art_multimodal.demo.packed import load_packed
from art_multimodal.demo.views import WEIGHTS, convolutions, views
from art_multimodal.errors import unknown_name
from art_multimodal.modalities import Modality, spectrogram
from art_multimodal.models.families.modular.model import ModularModel, Tower

#: Spectrograms of the speakers of the test, and which written digit each recording is paired with.
DATA = Path(__file__).parent / "data" / "spoken_digits.safetensors"
#: The tasks with their class names. Complementary: the last numeral of the sum. Redundant: what both show.
TASKS = {"complementary": tuple(f"sum {numeral}" for numeral in range(10)), "redundant": DIGIT_NAMES}
#: Names of the registry of fusions.
FUSIONS = ("concat", "late", "gated")

#: Frames of a spectrogram at most, and its mel bands.
STEPS, BANDS = 48, 32
WIDTH, CHANNELS, PARTS = 32, 32, 6


def label_of(task: str, seen: np.ndarray | int, heard: np.ndarray | int) -> np.ndarray:
    """Labels of written and spoken digits.

    :raises InputError: If there is no such task.
    """
    return (np.asarray(seen) + heard) % 10 if _known(task) == "complementary" else np.asarray(seen)


def modalities() -> tuple[Modality, ...]:
    """What a sample consists of: an image, ``digit``, and a log-mel spectrogram, ``speech``.

    A number of ``speech`` is a level: 1 is that of the recording's loudest bin, and 0 lies 60 decibels below it, so
    that an eps of 0.05 is 3 decibels. What is removed becomes silence.
    """
    return replace(views()[0], name="digit"), spectrogram("speech", STEPS, BANDS)


class SpokenModel(ModularModel):
    """A model of ``demo:spoken``, untrained; it is saved by its name, since its tower of speech is code.

    :param task: One of :data:`TASKS`.
    :param fusion: One of :data:`FUSIONS`.
    :raises InputError: If there is no such task or fusion.
    """

    family = "demo"

    def __init__(self, task: str, fusion: str) -> None:
        if fusion not in FUSIONS:
            raise unknown_name("fusion of demo:spoken", fusion, FUSIONS)
        digit, speech = modalities()
        towers = [Tower(digit, convolutions(digit.shape), WIDTH), Tower(speech, SpeechEncoder(), WIDTH)]
        super().__init__(towers, fusion, TASKS[_known(task)])
        self.name = f"spoken/{task}/{fusion}"


def new_spoken(task: str, fusion: str) -> SpokenModel:
    """Return an untrained model: see :class:`SpokenModel`."""
    return SpokenModel(task, fusion)


def weights_of(task: str, fusion: str) -> Path:
    """Where the weights of a model are shipped."""
    return WEIGHTS / f"spoken_{task}_{fusion}.safetensors"


def load_spoken(task: str = "complementary", fusion: str = "concat") -> SpokenModel:
    """Return ``demo:spoken/TASK/FUSION`` with its trained weights, in evaluation mode.

    :raises InputError: If there is no such task or fusion.
    """
    model = new_spoken(task, fusion)
    model.load_state_dict(load_packed(weights_of(task, fusion)))
    return model.eval()


class SpeechEncoder(nn.Module):
    """Embed the spectrograms of single words, each of its own length.

    The mean of each band over time is taken out and the rest brought to one scale, since voices and microphones differ
    in both. Two convolutions over time follow, then the means over six overlapping parts of the word, whatever its
    length, and a linear map. What is behind the length changes nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv1d(channels, CHANNELS, 3, padding=1) for channels in (BANDS, CHANNELS))
        self.out = nn.Linear(CHANNELS * PARTS, WIDTH)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Embeddings ``[N, WIDTH]``.

        :param values: Spectrograms ``[N, T, BANDS]``.
        :param mask: Which frames are within the length, ``[N, T]``, at least one of each.
        """
        within = mask[:, :, None].to(values.dtype)
        count = within.sum(dim=1, keepdim=True)
        level = (values - (values * within).sum(dim=1, keepdim=True) / count) * within
        variance = level.square().sum(dim=(1, 2), keepdim=True) / (count * values.shape[2])
        hidden = (level / (variance + 1e-3).sqrt()).transpose(1, 2)
        for convolution in self.convolutions:
            hidden = torch.relu(convolution(hidden)) * within.transpose(1, 2)
        return self.out((hidden @ _parts(within)).flatten(1))


def _parts(within: Tensor) -> Tensor:
    """Weights of the frames in the mean over each part of a word: ``[N, T, PARTS]``, a hat around its middle."""
    count = within.sum(dim=1, keepdim=True)
    frames, parts = (torch.arange(size, device=within.device) for size in (within.shape[1], PARTS))
    # Where a frame lies, in parts; those at the ends belong to the first and the last alone.
    place = ((frames[:, None] + 0.5) / count * PARTS - 0.5).clamp(0, PARTS - 1)
    weights = (1 - (place - parts).abs()).clamp_min(0) * within
    # Of words with fewer frames than parts some parts have none.
    return weights / weights.sum(dim=1, keepdim=True).clamp_min(1e-6)


def _known(task: str) -> str:
    if task not in TASKS:
        raise unknown_name("task of demo:spoken", task, TASKS)
    return task
