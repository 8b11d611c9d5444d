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
from art_multimodal.evaluations.audit.log import cannot_write, write_atomically
from art_multimodal.evaluations.audit.rendering import render

_RESAMPLES = 1000
#: Corners of a curve that a report draws.
_POINTS = 201


@dataclass(frozen=True)
class DetectionCurve:
    """How an attack is detected.

    :param auc: Area under the ROC curve: the probability that an attacked sample scores higher than a clean one.
    :param auc_ci95: 95 % percentile bootstrap over samples, clean and attacked by themselves.
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
    """ROC curves of a fitted detector."""

    def __init__(self, detector: ModalityDisagreementDetector, batch_size: int = 128, seed: int = 0) -> None:
        """
        :param detector: Fitted on other clean samples than it is evaluated on.
        :param batch_size: Samples per forward pass.
        :param seed: Of the bootstrap.
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
    """Return a 95 % percentile bootstrap interval of the area under the ROC curve.

    It has no width where all samples are in the right order: of ``N`` samples that says nothing about rarer ones.

    :param clean: Scores ``(N,)``.
    :param attacked: Scores ``(M,)``, which should be higher.
    :param seed: Of the resampling.
    """
    # The area is the share of (attacked, clean) that are in the right order, ties counted as half.
    rng = np.random.default_rng(seed)
    rows = rng.multinomial(len(attacked), np.full(len(attacked), 1 / len(attacked)), _RESAMPLES) / len(attacked)
    columns = rng.multinomial(len(clean), np.full(len(clean), 1 / len(clean)), _RESAMPLES) / len(clean)
    order = np.argsort(clean)
    columns, ascending = columns[:, order], clean[order]
    # Share of the clean ones of each resample below each attacked one, and at most as high.
    below = np.concatenate([np.zeros((_RESAMPLES, 1)), columns.cumsum(axis=1)], axis=1)
    shares = [below[:, np.searchsorted(ascending, attacked, side)] for side in ("left", "right")]
    areas = (rows * (shares[0] + shares[1]) / 2).sum(axis=1)
    low, high = np.quantile(areas, [0.025, 0.975])
    return float(low), float(high)


def write_detection_report(result: DetectionResult, folder: Path | str) -> None:
    """Write ``detection.json``, ``detection.md`` and ``detection.html`` with the ROC curves into a folder.

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
