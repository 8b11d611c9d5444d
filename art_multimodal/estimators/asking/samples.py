"""A batch of samples in which some modalities change, and the others are held: embedded once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from art_multimodal.estimators.bound import BoundFusion, bound_samples
from art_multimodal.estimators.defences import defended_fields
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.modules import frozen
from art_multimodal.sample_arrays import fields_of


class SomeModalities:
    """Ask a classifier about samples of which some modalities change, and the others stay as they are.

    In evaluation mode, with the weights left out of the graph: a gradient is that of the numbers alone.

    :param estimator: The classifier.
    :param x: Samples ``(N,)``, as the classifier takes them.
    :param names: Of the modalities that change; they hold numbers.
    :raises InputError: If one is unknown or holds texts.
    """

    def __init__(self, estimator: FusionClassifier, x: np.ndarray, names: Sequence[str]) -> None:
        model = estimator.multimodal
        self.estimator, self.names, self.device = estimator, tuple(names), estimator.device
        estimator.model.eval()
        left = [name for name in x.dtype.names or () if name not in names]
        others = defended_fields(model.modalities, estimator.defences, x[left], fit=False) if left else None
        lengths = {name: model.modalities[name].lengths(x[name]) for name in names if model.modalities[name].variable}
        self._fusion = BoundFusion(model, names, bound_samples(model, names, others), lengths)
        self._rows = self._fusion.rows(len(x), self.device)
        fields = fields_of(x)
        #: What changes, as it is in the samples: numbers ``[N, *shape]`` by name.
        self.clean = {
            name: torch.from_numpy(np.ascontiguousarray(model.modalities[name].values(fields[name]))).to(self.device)
            for name in names
        }
        #: Where it may: 1 within the length of a sequence, 0 behind it, shaped to broadcast.
        self.within = {name: self._steps(name, lengths.get(name)) for name in names}

    def fused(self, parts: dict[str, Tensor]) -> Tensor:
        """Fused vectors ``[N, D]``.

        :param parts: Numbers ``[N, *shape]`` of all that changes, behind the defences.
        """
        with frozen(self.estimator.model):
            return self._fusion(parts, self._rows)

    def scores(self, fused: Tensor) -> Tensor:
        """Scores ``[N, K]`` of fused vectors, in the precision of the weights and at least in single precision."""
        with frozen(self.estimator.model):
            scores = self._fusion.multimodal.predict(fused)
        return scores.to(torch.promote_types(torch.float32, scores.dtype))

    def _steps(self, name: str, lengths: np.ndarray | None) -> Tensor:
        clean = self.clean[name]
        shape = (len(clean), *[1] * (clean.ndim - 1))
        if lengths is None:
            return torch.ones(shape, device=self.device)
        steps = torch.arange(clean.shape[1], device=self.device) < torch.from_numpy(np.array(lengths)).to(
            self.device
        ).unsqueeze(1)
        return steps.to(clean.dtype).reshape(*steps.shape, *shape[2:])
