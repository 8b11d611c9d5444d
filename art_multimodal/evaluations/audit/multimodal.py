"""The task of classifying samples of any modalities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from art_multimodal.datasets import LabelledSamples
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.evaluations.audit.counting import CountedModel
from art_multimodal.evaluations.audit.defending import Views
from art_multimodal.evaluations.audit.drawing import keep_drawings
from art_multimodal.evaluations.audit.lines import Classified, Pictured, SampleRecord
from art_multimodal.evaluations.audit.subject import Subject
from art_multimodal.evaluations.suite import SAMPLES, Attacked, PreparedAttack
from art_multimodal.models.fusions import Fusion
from art_multimodal.models.fusions.fusion import DOUBTS
from art_multimodal.models.multimodal import MultimodalModel
from art_multimodal.sample_arrays import field_bytes

#: Of how many samples, before any attack, it is said what is doubtful about their scores; and how many at once.
LOOKED_AT, _TOGETHER = 200, 50


@dataclass(frozen=True)
class OneSample:
    """A labelled sample.

    :param name: Names it in reports.
    :param x: An array of one sample, with a field for each modality.
    :param label: Index into the model's class names.
    """

    name: str
    x: np.ndarray
    label: int


class MultimodalSubject(Subject):
    """A classifier of samples with labelled ones.

    :param model: The model.
    :param x: All samples ``(N,)`` as the model takes them, checked.
    :param labels: Of each the index into the model's class names.
    :param data: Where they come from.
    """

    task = SAMPLES

    def __init__(
        self, model: MultimodalModel, x: np.ndarray, labels: np.ndarray, data: LabelledSamples, device_type: str
    ) -> None:
        self.model, self.data, self.seed = model, data, 0
        self._counted = CountedModel(model).train(model.training)
        self.estimator: FusionClassifier = FusionClassifier(self._counted, device_type=device_type)
        self.views = Views(self.estimator, self.estimator, self.estimator)
        self.class_names = model.class_names
        self._x, self._labels = x, labels

    def read(self, index: int) -> OneSample:
        return OneSample(self.data.name_of(index), self._x[index : index + 1], int(self._labels[index]))

    def check_readable(self, order: np.ndarray, max_skipped: float) -> None:
        """Nothing: all samples are in memory."""

    def contents(self, index: int, sample: OneSample) -> Iterator[bytes | memoryview]:
        yield f"{index} {sample.label}".encode()
        for name in sample.x.dtype.names or ():
            yield from field_bytes(sample.x[name])

    def shape_of(self, sample: OneSample) -> tuple[int, ...]:
        """All are of one array."""
        return ()

    def stack(self, samples: Sequence[OneSample]) -> np.ndarray:
        return np.concatenate([sample.x for sample in samples])

    def labels(self, samples: Sequence[OneSample]) -> np.ndarray:
        return np.array([sample.label for sample in samples], dtype=np.int64)

    def look(self, order: np.ndarray) -> None:
        x = self._x[order[:LOOKED_AT]]
        self.own_notes += tuple(
            f"of {count} of {len(x)} samples {DOUBTS[name]}" for name, count in self._doubts(x).items()
        )

    def attacked(self, prepared: PreparedAttack, naive: bool, x: np.ndarray, y: np.ndarray, seed: int) -> Attacked:
        attacked = super().attacked(prepared, naive, x, y, seed)
        return replace(attacked, flags={**attacked.flags, **self._doubts(attacked.x)})

    def _doubts(self, x: np.ndarray) -> dict[str, int]:
        """How many samples the fusion says of that their scores mean something else than they seem to, by name."""
        fusion = getattr(self.model, "fusion", None)
        if not isinstance(fusion, Fusion) or type(fusion).doubts is Fusion.doubts:
            return {}
        asking, found = self.estimator.asking(_TOGETHER), Counter[str]()
        for start in range(0, len(x), _TOGETHER):
            with torch.no_grad():
                doubts = fusion.doubts(*asking.features(asking.all_seen(x[start : start + _TOGETHER])))
            found.update({name: int(of.sum()) for name, of in doubts.items()})
        return {name: count for name, count in found.items() if count}

    def counted(self) -> AbstractContextManager[dict[str, int]]:
        return self._counted.counted()

    def scores(self, attacked: Attacked, batch_size: int) -> np.ndarray:
        return self.estimator.predict(attacked.x, batch_size=batch_size)

    def answers(self, indices: Sequence[int], samples: Sequence[OneSample], batch_size: int) -> list[SampleRecord]:
        predicted = self.estimator.predict_labels(self.stack(samples), batch_size=batch_size)
        return [
            SampleRecord(index, sample.name, Classified(sample.label, int(label)))
            for index, sample, label in zip(indices, samples, predicted, strict=True)
        ]

    def judged(
        self, indices: Sequence[int], samples: Sequence[OneSample], attacked: Attacked, batch_size: int
    ) -> list[SampleRecord]:
        assert attacked.labels is not None
        rows = zip(indices, samples, attacked.labels, attacked.said_of_each(), strict=True)
        return [
            SampleRecord(index, sample.name, Classified(sample.label, int(label)), detail)
            for index, sample, label, detail in rows
        ]

    def show(
        self, folder: Path, attack: str, record: SampleRecord, sample: OneSample, attacked: Attacked, row: int
    ) -> Pictured:
        after = attacked.x[row : row + 1]
        files = keep_drawings(folder, attack, record.index, self.model.modalities, sample.x, after)
        return Pictured(files=files)

    def prepare(self, order: np.ndarray, batch_size: int) -> str:
        """Nothing: a sample's answer depends on no other sample."""
        return ""

    def select(self, order: np.ndarray) -> None:
        """Nothing: all samples have been checked."""

    def describe(self, spec: str) -> dict[str, Any]:
        return {**super().describe(spec), "adapter": type(self.model).__name__}
