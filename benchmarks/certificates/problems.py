"""The data sets of two sensors, what is counted in each, and how much of it a vote sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from art_multimodal.ablation import Blocks, Elements, Points, Steps, mean_fill
from art_multimodal.modalities import Modality, spectrogram
from art_multimodal.sample_arrays import samples
from benchmarks.fusions.starts import Start, matching

#: Test samples of a data set, and how many of these are attacked.
TESTED, ATTACKED = 100, 25
#: Views that each modality is cut into: 8 x 8 = 64 votes.
GROUPS = 8


@dataclass(frozen=True)
class Problem:
    """What is learned, tested and certified.

    :param elements: What is counted and hidden in each modality, by name; the fill is the mean of what is trained on.
    :param keep: How many elements of each modality a vote sees: an eighth.
    :param epochs: Of training under masks.
    :param start: What towers have learned before, if anything.
    """

    class_names: tuple[str, ...]
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    elements: Mapping[str, Elements]
    keep: Mapping[str, int]
    epochs: int
    start: Start | None = None

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What a sample consists of, in the order of the fields."""
        return tuple(one.modality for one in self.elements.values())


def _problem(
    class_names: tuple[str, ...],
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    elements: Mapping[str, Elements],
    epochs: int,
    seed: int = 0,
) -> Problem:
    rows = np.random.default_rng(seed).permutation(len(test[1]))[:TESTED]
    filled = {name: of.with_fill(mean_fill(of.modality, train[0][name])) for name, of in elements.items()}
    counts = {name: int(of.count(train[0][name][:1])[0]) for name, of in filled.items()}
    keep = {name: count // GROUPS for name, count in counts.items()}
    return Problem(class_names, train, (test[0][rows], test[1][rows]), filled, keep, epochs)


def views() -> Problem:
    """Two views of `demo:views`: a digit's pixels in blocks of 4 x 4, and its Fourier coefficients"""
    from art_multimodal.demo.views_data import ViewsData

    parts = {}
    for split in ("train", "test"):
        data = ViewsData(split)
        x = data.samples()
        parts[split] = (samples(pix=x["pix"], fou=x["fou"]), data.labels)
    elements = {"pix": Blocks(data.modalities["pix"], 4), "fou": Points(data.modalities["fou"])}
    return _problem(tuple(data.class_names), parts["train"], parts["test"], elements, 60)


def spoken() -> Problem:
    """`demo:spoken/redundant`: a written digit in blocks of 4 x 4, and the same spoken, stretched to 16 steps"""
    from art_multimodal.demo.spoken_data import SpokenData

    data = SpokenData("redundant")
    x = data.samples()
    values, lengths = x["speech"]["values"], x["speech"]["length"]
    steps = np.stack([_stretched(one[:length]) for one, length in zip(values, lengths, strict=True)])
    x, labels = samples(digit=x["digit"], speech=steps), data.labels
    # Each written digit and each recording stands in one pair; classes take turns.
    train, test = (x[:700], labels[:700]), (x[700:], labels[700:])
    speech = spectrogram("speech", STEPS, values.shape[2], variable=False)
    elements = {"digit": Blocks(data.modalities["digit"], 4), "speech": Steps(speech)}
    return _problem(tuple(data.class_names), train, test, elements, 80)


def night() -> Problem:
    """`demo:night`: shapes by colours and by heat, each in blocks of 8 x 8; which sensor is good varies"""
    from art_multimodal.demo.night_data import NightData

    parts = [(data.samples(), data.labels) for data in (NightData("train"), NightData("test"))]
    data = NightData("test")
    return _problem(tuple(data.class_names), *parts, {name: Blocks(of, 8) for name, of in data.modalities.items()}, 30)


def rgbd() -> Problem:
    """`demo:rgbd`: whether colours and depth, in blocks of 8 x 8, show one place; each alone says nothing"""
    from art_multimodal.demo.rgbd_data import RgbdData

    parts = [(data.samples(), data.labels) for data in (RgbdData("train"), RgbdData("test"))]
    data = RgbdData("test")
    made = _problem(tuple(data.class_names), *parts, {name: Blocks(of, 8) for name, of in data.modalities.items()}, 15)
    return replace(made, start=matching)


#: Steps that a recording is stretched to.
STEPS = 16


def _stretched(frames: np.ndarray) -> np.ndarray:
    """A recording of any length as so many steps, between whose frames values are interpolated."""
    at = np.linspace(0, len(frames) - 1, STEPS)
    low = np.floor(at).astype(int)
    share = (at - low)[:, None].astype(np.float32)
    return frames[low] * (1 - share) + frames[np.minimum(low + 1, len(frames) - 1)] * share


def fewer(problem: Problem, train: int, test: int, epochs: int) -> Problem:
    """A problem in miniature."""
    return replace(
        problem,
        train=tuple(part[:train] for part in problem.train),
        test=tuple(part[:test] for part in problem.test),
        epochs=epochs,
    )


PROBLEMS: dict[str, Callable[[], Problem]] = {one.__name__: one for one in (views, spoken, night, rgbd)}
