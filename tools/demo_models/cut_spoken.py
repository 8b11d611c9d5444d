"""Make the data of ``demo:spoken`` of recordings: log-mel spectrograms of two speakers, and pairs with written digits.

The exact command, from the root of the repository::

    python -m tools.demo_models.cut_spoken spoken_digits.npz

The file given holds the *Free Spoken Digit Dataset* (Z. Jackson and others,
https://github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0) as arrays: recording ``i``, at 8 kHz, is
``samples[offsets[i]:offsets[i + 1]]``, int16; ``digit`` and ``speaker`` say what it is, ``(3000,)``. What is written is
derived from it and carries the same licence.

Of six speakers the last two are kept for the test, with all of their recordings; the models hear the other four in
training. Each of the 1,000 recordings is paired with one of the 1,000 written digits of the test half of
``demo:views``, and each of those stands in one pair:

- *redundant*: both show the same digit, which is the label.
- *complementary*: the label is the last numeral of the sum. There are ten pairs of each two digits, so that whoever
  knows one of the two, even without error, is right about the sum in one of ten.

Labels take turns in both; half of the ten pairs are of each speaker.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch.nn import functional as F

from art_multimodal.demo.spoken import BANDS, DATA, STEPS, TASKS, label_of
from art_multimodal.demo.views_data import ViewsData

SEED = 20260101
#: Speakers, by their numbers in the file, whom no model hears in training.
HELD_OUT = (4, 5)
#: In samples: of a frame, and from one to the next: 32 and 16 milliseconds.
FRAME, HOP, RATE = 256, 128, 8000
#: In decibels: what a spectrogram holds below its loudest bin, and how far below the loudest frame a word begins.
RANGE, ONSET = 60.0, 25.0
#: The lowest and the highest frequency, in hertz.
FREQUENCIES = (60.0, 4000.0)
#: Stands in the file; one entry, as their order would differ from run to run.
ABOUT = (
    "Log-mel spectrograms of 1,000 recordings of spoken English digits by two speakers, and the rows of written digits "
    "that they are paired with. Derived from the Free Spoken Digit Dataset, Z. Jackson and others, "
    "github.com/Jakobovski/free-spoken-digit-dataset. Licence of the source and of this file: CC BY-SA 4.0, "
    "creativecommons.org/licenses/by-sa/4.0."
)


def mel_matrix(bands: int = BANDS) -> torch.Tensor:
    """Triangles over the frequencies of a frame, evenly spaced in mel: ``[FRAME // 2 + 1, bands]``."""
    low, high = (2595 * np.log10(1 + frequency / 700) for frequency in FREQUENCIES)
    edges = 700 * (10 ** (np.linspace(low, high, bands + 2) / 2595) - 1)
    of_bin = (np.arange(FRAME // 2 + 1) * RATE / FRAME)[:, None]
    rising = (of_bin - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - of_bin) / (edges[2:] - edges[1:-1])
    return torch.from_numpy(np.clip(np.minimum(rising, falling), 0, None)).float()


def log_mel(recording: np.ndarray) -> np.ndarray:
    """Make the spectrogram of a recording: bytes ``(T, BANDS)``, at most ``STEPS`` frames.

    255 is the loudest bin, 0 what is :data:`RANGE` decibels below it, or lower. Silence before and after the word is
    cut off; of what is still too long the part with the most energy stays.

    :param recording: ``(N,)``, whole numbers.
    """
    wave = torch.from_numpy(recording.astype(np.float32) / 2**15)
    wave = wave - wave.mean()
    spectrum = torch.stft(
        wave, FRAME, HOP, window=torch.hann_window(FRAME), center=True, pad_mode="constant", return_complex=True
    )
    power = spectrum.abs().square().T @ mel_matrix()
    loudness = _decibels(power.sum(dim=1))
    heard = torch.nonzero(loudness > loudness.max() - ONSET).flatten()
    # A frame before and one after it: what is soft at the ends of a word.
    within = slice(max(0, int(heard[0]) - 1), int(heard[-1]) + 2)
    level = _decibels(power[within])
    shares = ((level - level.max()) / RANGE + 1).clamp(0, 1)
    if len(shares) > STEPS:
        energy = F.pad(shares.sum(dim=1).cumsum(0), (1, 0))
        start = int((energy[STEPS:] - energy[:-STEPS]).argmax())
        shares = shares[start : start + STEPS]
    return (shares * 255).round().byte().numpy()


def spectrograms(given: Mapping[str, np.ndarray], rows: Sequence[int]) -> list[np.ndarray]:
    """The spectrograms of some recordings."""
    offsets = given["offsets"]
    return [log_mel(given["samples"][offsets[row] : offsets[row + 1]]) for row in rows]


def taking_turns(labels: np.ndarray, kinds: np.ndarray, rng: np.random.Generator) -> dict[int, np.ndarray]:
    """Rows of each label in an order that is drawn, in which the kinds take turns, equally many of each.

    :param labels: Shape ``(N,)``.
    :param kinds: Shape ``(N,)``.
    """

    def of(label: int) -> np.ndarray:
        drawn = [rng.permutation(np.flatnonzero((labels == label) & (kinds == kind))) for kind in np.unique(kinds)]
        return np.stack(drawn, axis=1).ravel()

    return {int(label): of(label) for label in np.unique(labels)}


def paired(task: str, seen: np.ndarray, heard: np.ndarray, speakers: np.ndarray, seed: int = SEED) -> np.ndarray:
    """Draw pairs: rows of written digits and of recordings ``(N, 2)``, each row once, the labels taking turns.

    :param task: One of the tasks of ``demo:spoken``.
    :param seen: Written digits ``(N,)``, equally many of each: a multiple of ten.
    :param heard: Spoken digits, likewise.
    :param speakers: Who speaks, ``(N,)``, equally many recordings of each digit.
    :param seed: Of the draw.
    """
    rng = np.random.default_rng((seed, list(TASKS).index(task)))
    written = taking_turns(seen, np.zeros_like(seen), rng)
    spoken = taking_turns(heard, speakers, rng)
    share = len(seen) // 100
    of_label: dict[int, list[np.ndarray]] = {label: [] for label in range(10)}
    for a in range(10):
        for b in range(10):
            if task == "redundant" and a == b:
                of_label[a].append(np.stack([written[a], spoken[a]], axis=1))
            elif task == "complementary":
                rows = written[a][share * b : share * (b + 1)], spoken[b][share * a : share * (a + 1)]
                of_label[int(label_of(task, a, b))].append(np.stack(rows, axis=1))
    drawn = [rng.permutation(np.concatenate(of_label[label])) for label in range(10)]
    return np.stack(drawn, axis=1).reshape(-1, 2)


def cut(given: Mapping[str, np.ndarray], seen: np.ndarray, seed: int = SEED) -> dict[str, np.ndarray]:
    """Return what is shipped: frames, their numbers, digits and speakers of recordings, and the pairs of each task.

    :param given: ``samples``, ``offsets``, ``digit`` and ``speaker``.
    :param seen: The written digits that are paired with recordings, as many as those.
    """
    rows = np.flatnonzero(np.isin(given["speaker"], HELD_OUT))
    made = spectrograms(given, rows.tolist())
    digits, speakers = given["digit"][rows], given["speaker"][rows]
    pairs = {f"{task}.pairs": paired(task, seen, digits, speakers, seed).astype(np.uint16) for task in TASKS}
    kept = {
        "frames": np.concatenate(made),
        "lengths": np.array([len(one) for one in made], dtype=np.uint8),
        "digits": digits.astype(np.uint8),
        "speakers": speakers.astype(np.uint8),
        **pairs,
    }
    return {name: np.ascontiguousarray(array) for name, array in kept.items()}


def read(path: Path) -> dict[str, np.ndarray]:
    """Read the recordings."""
    with np.load(path, allow_pickle=False) as given:
        return {name: given[name] for name in ("samples", "offsets", "digit", "speaker")}


def _decibels(power: torch.Tensor) -> torch.Tensor:
    return 10 * torch.log10(power.clamp_min(1e-12))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="an .npz file with samples, offsets, digit and speaker")
    parser.add_argument("--out", type=Path, default=DATA)
    arguments = parser.parse_args()
    kept = cut(read(arguments.file), ViewsData().labels)
    save_file(kept, arguments.out, metadata={"about": ABOUT})
    print(f"{kept['lengths'].mean():.1f} frames on average, {(kept['lengths'] == STEPS).mean():.1%} are at the limit")
    print(f"wrote {arguments.out.stat().st_size} bytes to {arguments.out}")


if __name__ == "__main__":
    main()
