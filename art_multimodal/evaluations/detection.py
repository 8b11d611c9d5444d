"""How well a detector tells attacked samples from clean ones: ROC curves, and a report of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from art.evaluations.evaluation import Evaluation

from art_multimodal.defences.detector.evasion import ModalityDisagreementDetector
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.rendering import render
from art_multimodal.store import cannot_write, write_atomically

#: Corners of a curve that a report draws.
_POINTS = 201


@dataclass(frozen=True)
class DetectionCurve:
    """How an attack is detected.

    :param auc: Area under the ROC curve: the probability that an attacked sample scores higher than a clean one.
    :param auc_ci95: 95 % interval over samples, clean and attacked; see :func:`auc_ci95`.
    :param detected: Share of attacked samples above the detector's threshold.
    :param false_positive_rates: Of the curve, ascending.
    :param true_positive_rates: Likewise.
    :param attacked: Number of attacked samples.
    """

    auc: float
    auc_ci95: tuple[float, float]
    detected: float
    false_positive_rates: list[float]
    true_positive_rates: list[float]
    attacked: int


@dataclass(frozen=True)
class DetectionResult:
    """What :class:`DetectorEvaluation` found.

    :param detector: Class name and parameters.
    :param clean: Number of clean samples.
    :param false_positives: Share of clean samples above the threshold.
    :param curves: By attack.
    """

    detector: dict[str, Any]
    clean: int
    false_positives: float
    curves: dict[str, DetectionCurve]


class DetectorEvaluation(Evaluation):
    """ROC curves of a fitted detector.

    >>> from art_multimodal.defences.detector.evasion import ModalityDisagreementDetector
    >>> detector = ModalityDisagreementDetector(retriever, false_positive_rate=0.2)
    >>> detector.fit(captioned)
    >>> swapped = image_text_pairs(captioned["image"], captioned["text"][::-1].tolist())
    >>> result = DetectorEvaluation(detector).evaluate(captioned, {"swapped": swapped})
    >>> curve = result.curves["swapped"]
    >>> isinstance(result, DetectionResult), isinstance(curve, DetectionCurve), curve.auc > 0.9
    (True, True, True)
    """

    def __init__(self, detector: ModalityDisagreementDetector, batch_size: int = 128, seed: int = 0) -> None:
        """
        :param detector: Fitted on other clean samples than it is evaluated on.
        :param batch_size: Samples per forward pass.
        :param seed: Not used: nothing is drawn.
        """
        self.detector = detector
        self.batch_size = batch_size
        self.seed = seed

    def evaluate(self, clean: np.ndarray, attacked: Mapping[str, np.ndarray]) -> DetectionResult:
        """Compare clean samples with those of each attack.

        :param clean: Pairs ``(N,)`` that the detector was not fitted on.
        :param attacked: For each attack its pairs.
        :raises InputError: If the detector is not fitted, or there are no clean or attacked samples.
        """
        if not len(clean) or not attacked or not all(len(pairs) for pairs in attacked.values()):
            raise InputError("Clean samples and attacked ones are needed to compare, at least one of each.")
        report, flagged = self.detector.detect(clean, batch_size=self.batch_size)
        curves = {}
        for name, pairs in attacked.items():
            found, detected = self.detector.detect(pairs, batch_size=self.batch_size)
            curves[name] = _curve(report["scores"], found["scores"], float(detected.mean()), self.seed)
        parameters = {
            key: str(value) if key == "transformations" else value for key, value in self.detector.get_params().items()
        }
        return DetectionResult(
            {"name": type(self.detector).__name__, **parameters}, len(clean), float(flagged.mean()), curves
        )


def _curve(clean: np.ndarray, attacked: np.ndarray, detected: float, seed: int) -> DetectionCurve:
    from sklearn.metrics import roc_auc_score, roc_curve

    truth = np.repeat([0, 1], [len(clean), len(attacked)])
    scores = np.concatenate([clean, attacked])
    false, true, _ = roc_curve(truth, scores)
    drawn = np.unique(np.linspace(0, len(false) - 1, _POINTS).round().astype(int))
    return DetectionCurve(
        float(roc_auc_score(truth, scores)),
        auc_ci95(clean, attacked, seed),
        detected,
        false[drawn].tolist(),
        true[drawn].tolist(),
        len(attacked),
    )


def auc_ci95(clean: np.ndarray, attacked: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return a 95 % interval of the area under the ROC curve.

    The wider one, at either end, of Newcombe's, which solves for the areas that what was seen is compatible with, as
    Wilson's does for proportions, and has a width where all samples are in the right order, too; and of DeLong's, which
    knows how much clean and attacked scores vary each.

    >>> low, high = auc_ci95(np.arange(10.0), np.arange(10.0) + 20)
    >>> round(low, 1), high
    (0.8, 1.0)

    :param clean: Scores ``(N,)``.
    :param attacked: Scores ``(M,)``, which should be higher.
    :param seed: Not used: nothing is drawn.

    | Paper link: https://doi.org/10.1002/sim.2324 (method 5)
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    # The area is the share of (attacked, clean) that are in the right order, ties counted as half.
    ascending = np.sort(clean)
    places = [np.searchsorted(ascending, attacked, side) for side in ("left", "right")]
    area = float(np.mean(places)) / len(clean)
    pairs, others = len(clean) * len(attacked), (len(clean) + len(attacked)) / 2 - 1

    def beyond(true: float) -> float:
        """How much further the area is from a true one than it may be."""
        variance = true * (1 - true) * (1 + others * ((1 - true) / (2 - true) + true / (1 + true))) / pairs
        return abs(area - true) - norm.ppf(0.975) * np.sqrt(variance)

    # An area of 0 or 1 has no variance, and would be its own end.
    low = 0.0 if beyond(0.0) <= 0 else brentq(beyond, 0.0, area - 1e-9)
    high = 1.0 if beyond(1.0) <= 0 else brentq(beyond, area + 1e-9, 1.0)
    # Of each attacked sample how many clean ones it beats, and the other way round.
    descending = np.sort(attacked)
    lost = [np.searchsorted(descending, clean, side) for side in ("left", "right")]
    error = np.sqrt(
        sum(
            np.mean(of, axis=0).var(ddof=1) / size**2 / len(of[0]) if len(of[0]) > 1 else 0.0
            for of, size in ((places, len(clean)), (lost, len(attacked)))
        )
    )
    half = norm.ppf(0.975) * error
    return float(max(0.0, min(low, area - half))), float(min(1.0, max(high, area + half)))


def write_detection_report(result: DetectionResult, folder: Path | str) -> None:
    """Write ``detection.json``, ``detection.md`` and ``detection.html`` with the ROC curves into a folder.

    >>> curve = DetectionCurve(1.0, (0.7, 1.0), 1.0, [0.0, 1.0], [1.0, 1.0], attacked=8)
    >>> mine = {"name": "mine", "score": "similarity", "false_positive_rate": 0.05}
    >>> write_detection_report(DetectionResult(mine, 8, 0.0, {"swapped": curve}), "detection")
    >>> Path("detection", "detection.html").exists()
    True

    :raises InputError: If they cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    write_atomically(folder / "detection.json", json.dumps(asdict(result), indent=2, allow_nan=False))
    for name in ("detection.md", "detection.html"):
        write_atomically(folder / name, render(name, {"result": result}))
