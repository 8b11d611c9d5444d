"""Cut the data of ``demo:views`` out of the UCI digits: three of six views, rounded to a byte, in two fixed halves.

The exact command, from the root of the repository::

    python -m tools.demo_models.cut_views digit_views.npz

The file given holds *Multiple Features* (van Breukelen, Duin, Tax and den Hartog 1998; UCI Machine Learning Repository,
https://doi.org/10.24432/C5HC70, CC BY 4.0) as arrays: ``pix`` ``(2000, 16, 15)`` of 0 to 6, ``fou`` ``(2000, 76)``,
``kar`` ``(2000, 64)`` and labels ``y``. Of each class a half is drawn for training, and the classes take turns in both
halves; the digits that are there twice all stand in the training half. The range of each column is that of the training
half; what the other half has outside is brought to its ends.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from art_multimodal.demo.views import DATA

SEED = 19980101
#: The most ink that a pixel has.
INK = 6
#: Stands in the file; one entry, as their order would differ from run to run.
ABOUT = (
    "Multiple Features: 2,000 handwritten digits in the views pix, fou and kar, rounded to bytes. Source: van "
    "Breukelen, Duin, Tax, den Hartog 1998, UCI Machine Learning Repository, doi.org/10.24432/C5HC70. Licence: "
    "CC BY 4.0, creativecommons.org/licenses/by/4.0."
)


def halves(pixels: np.ndarray, labels: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Rows of the training and of the test half, drawn class by class; the classes take turns.

    :param pixels: Shape ``(N, H, W)``. A digit that is there twice goes to the training half, both times.
    :param labels: Shape ``(N,)``, equally many of each class.
    """
    rng = np.random.default_rng(seed)
    _, number, counts = np.unique(pixels.reshape(len(pixels), -1), axis=0, return_inverse=True, return_counts=True)
    once = (counts == 1)[number.ravel()]

    def of_class(label: int) -> np.ndarray:
        rows = rng.permutation(np.flatnonzero(labels == label))
        return rows[np.argsort(once[rows], kind="stable")]

    drawn = np.stack([of_class(label) for label in np.unique(labels)], axis=1)
    return {"train": drawn[: len(drawn) // 2].ravel(), "test": drawn[len(drawn) // 2 :].ravel()}


def cut(given: dict[str, np.ndarray], seed: int = SEED) -> dict[str, np.ndarray]:
    """Return what is shipped: bytes of each view and half, labels, and of the training half ranges and means.

    :param given: ``pix``, ``fou``, ``kar`` and ``y``.
    """
    rows = halves(given["pix"], given["y"], seed)
    kept: dict[str, np.ndarray] = {f"{half}.labels": given["y"][of].astype(np.uint8) for half, of in rows.items()}
    for name in ("pix", "fou", "kar"):
        values = given[name].astype(np.float64)
        if name == "pix":
            low, high = np.zeros(values.shape[1:]), np.full(values.shape[1:], INK)
            # Whole numbers: what a byte holds is exact.
            steps = INK
        else:
            low, high = values[rows["train"]].min(axis=0), values[rows["train"]].max(axis=0)
            steps = 255
        shares = np.clip((values - low) / (high - low), 0, 1)
        kept |= {f"{half}.{name}": np.rint(shares[of] * steps).astype(np.uint8) for half, of in rows.items()}
        kept[f"{name}.mean"] = shares[rows["train"]].mean(axis=0).astype(np.float32)
        kept[f"{name}.low"], kept[f"{name}.high"] = low.astype(np.float32), high.astype(np.float32)
        outside = float(((values[rows["test"]] < low) | (values[rows["test"]] > high)).mean())
        print(f"{name}: {outside:.2%} of the test half's numbers lie outside the training half's range")
    return {name: np.ascontiguousarray(array) for name, array in kept.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="an .npz file with pix, fou, kar and y")
    parser.add_argument("--out", type=Path, default=DATA)
    arguments = parser.parse_args()
    with np.load(arguments.file, allow_pickle=False) as given:
        kept = cut({name: given[name] for name in ("pix", "fou", "kar", "y")})
    save_file(kept, arguments.out, metadata={"about": ABOUT})
    print(f"wrote {arguments.out.stat().st_size} bytes to {arguments.out}")


if __name__ == "__main__":
    main()
