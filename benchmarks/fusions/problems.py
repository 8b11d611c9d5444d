"""The data sets: samples to train on and others to test on, with three radii for each modality."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from art_multimodal.modalities import Modality, table
from art_multimodal.sample_arrays import samples
from benchmarks.fusions.starts import Start, matching

#: Test samples of a data set, at most.
TESTED = 300
#: Where measuring data lie that no package holds.
SHARED = Path(__file__).parents[3] / "shared" / "data"


@dataclass(frozen=True)
class Problem:
    """What is learned and tested.

    :param modalities: What a sample consists of, in the order of the fields.
    :param train: Samples and labels to train on.
    :param test: Others, which nothing is chosen by.
    :param radii: Of the l_inf balls, small, middle and large, by name.
    :param epochs: Passes over the samples.
    :param start: What towers have learned before, if anything.
    """

    modalities: tuple[Modality, ...]
    class_names: tuple[str, ...]
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    radii: dict[str, tuple[float, float, float]]
    epochs: int
    start: Start | None = None


def _demo(make: Callable[[str], Any], radii: dict[str, tuple[float, float, float]], epochs: int) -> Problem:
    train, test = make("train"), make("test")
    # All classes, as they take turns.
    rows = np.random.default_rng(0).permutation(len(test))[:TESTED]
    return Problem(
        tuple(train.modalities.values()),
        tuple(train.class_names),
        (train.samples(), train.labels),
        (test.samples(rows), test.labels[rows]),
        radii,
        epochs,
    )


def views() -> Problem:
    """``demo:views``: digits in three views, any two of which say nearly everything."""
    from art_multimodal.demo.views_data import ViewsData

    return _demo(ViewsData, dict.fromkeys(("pix", "fou", "kar"), (0.05, 0.1, 0.2)), 30)


def _spoken(task: str, pairings: int, epochs: int) -> Problem:
    """Pairs of the embedded set to test on, and pairs of other written digits and other speakers to train on.

    :param pairings: How often each digit and each recording stands in a pair to train on, with another one each time.
    """
    from art_multimodal.demo.spoken import label_of
    from art_multimodal.demo.spoken_data import SpokenData
    from art_multimodal.demo.views_data import ViewsData
    from tools.demo_models.cut_spoken import HELD_OUT, SEED, paired, spectrograms

    test, written = SpokenData(task), ViewsData("train")
    with np.load(SHARED / "spoken_digits.npz") as file:
        given = {name: file[name] for name in ("samples", "offsets", "digit", "speaker", "take")}
    # As many of each digit and speaker as there are written digits.
    rows = np.flatnonzero(~np.isin(given["speaker"], HELD_OUT) & (given["take"] < 25))
    digits = given["digit"][rows].astype(np.int64)
    drawn = [paired(task, written.labels, digits, given["speaker"][rows], SEED + number) for number in range(pairings)]
    seen, heard = np.concatenate(drawn).T
    frames = [one.astype(np.float32) / 255 for one in spectrograms(given, rows.tolist())]
    speech = [frames[row] for row in heard]
    train = samples(digit=written.samples(seen)["pix"], speech=speech)
    labels = label_of(task, written.labels[seen], digits[heard])
    tested = np.random.default_rng(0).permutation(len(test))[:TESTED]
    return Problem(
        tuple(test.modalities.values()),
        tuple(test.class_names),
        (train, labels),
        (test.samples(tested), test.labels[tested]),
        {"digit": (0.05, 0.1, 0.2), "speech": (0.01, 0.02, 0.05)},
        epochs,
    )


def spoken_redundant() -> Problem:
    """``demo:spoken/redundant``: a written and a spoken digit, both the same."""
    return _spoken("redundant", 1, 20)


def spoken_complementary() -> Problem:
    """``demo:spoken/complementary``: the sum of a written and a spoken digit, of which neither says anything alone."""
    # Of one pairing no fusion learns to add.
    return _spoken("complementary", 8, 15)


def night() -> Problem:
    """``demo:night``: shapes by colours and by heat; which sensor is good varies from sample to sample."""
    from art_multimodal.demo.night_data import NightData

    return _demo(NightData, dict.fromkeys(("rgb", "thermal"), (2 / 255, 4 / 255, 8 / 255)), 20)


def rgbd() -> Problem:
    """``demo:rgbd``: whether colours and depth show one place; each alone says nothing."""
    from art_multimodal.demo.rgbd_data import RgbdData

    return replace(_demo(RgbdData, dict.fromkeys(("rgb", "depth"), (2 / 255, 4 / 255, 8 / 255)), 10), start=matching)


def rosmap() -> Problem:
    """ROSMAP: mRNA, methylation and miRNA of 351 brains, Alzheimer's or not (as prepared for MOGONET)."""
    names = ("mrna", "methylation", "mirna")
    with np.load(SHARED / "rosmap.npz") as file:
        parts = {
            part: samples(**{name: file[f"{name}_{part}"].astype(np.float32) for name in names})
            for part in ("train", "test")
        }
        labels = {part: file[f"y_{part}"].astype(np.int64) for part in parts}
    modalities = tuple(
        table(name, parts["train"][name].shape[1], fill=parts["train"][name].mean(axis=0)) for name in names
    )
    # With few samples of many columns no model withstands more.
    radii = dict.fromkeys(names, (0.002, 0.005, 0.01))
    train, test = ((parts[part], labels[part]) for part in ("train", "test"))
    return Problem(modalities, ("control", "Alzheimer's"), train, test, radii, 60)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    one.__name__: one for one in (views, rosmap, spoken_redundant, spoken_complementary, night, rgbd)
}
