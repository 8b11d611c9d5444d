"""Euclidean certificates of the model itself, without votes: of orthonormal heads on towers whose bounds are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.subject import Subject
from art_multimodal.evaluations.smoothing.verdicts import Verdict
from art_multimodal.models.families.modular.model import ModularModel
from art_multimodal.models.fusions.orthogonal import Orthogonal
from art_multimodal.models.lipschitz import lipschitz_bound

#: Shares of all samples whose radius a report names.
SHARES = (0.75, 0.5, 0.25)


class Radii:
    """How far each modality may move, in the l_2 norm, before the answer of an orthogonal fusion can change.

    | Paper link: https://arxiv.org/abs/2402.06244 (with bounds in the place of its estimates)

    :param subject: Its model has the fusion ``orthogonal``.
    :param constants: An upper bound of the Lipschitz constant of each tower, by the name of the modality.
    :param batch_size: Most samples in one pass.
    """

    def __init__(self, subject: Subject, constants: Mapping[str, float], batch_size: int) -> None:
        self.constants = dict(constants)
        self._asking = subject.estimator.asking(batch_size)
        # Margins are differences, so they are taken in double precision.
        self._fusion: Orthogonal = deepcopy(subject.model.fusion).double()
        self._fusion.requires_grad_(False)

    @classmethod
    def of(cls, subject: Subject, batch_size: int) -> Radii | None:
        """The certificates of a model that has them; ``None`` for any other."""
        model = subject.model
        if not (isinstance(model, ModularModel) and isinstance(model.fusion, Orthogonal)):
            return None
        constants = {}
        for name, modality in model.modalities.items():
            # The bound of a convolution is one for its size; sequences come with a mask.
            shape = [size for size in modality.shape if size is not None]
            if not modality.numeric or modality.variable or len(shape) < len(modality.shape):
                return None
            try:
                constants[name] = lipschitz_bound(model.tower(name).module, shape)
            except InputError:
                return None
        return cls(subject, constants, batch_size)

    @property
    def protocol(self) -> str:
        """One line: what is bounded, and how."""
        return (
            "of the model itself, without votes: orthonormal heads on towers with bounded Lipschitz constants "
            f"({', '.join(f'{name} {of:.4g}' for name, of in self.constants.items())}). Radii are Euclidean lengths in "
            "the units of a modality's values, up to rounding of the model's numbers; a modality that a sample lacks "
            "stays away. Changes of several are covered where the sum of length / radius over the modalities is below 1"
        )

    def added(self, verdicts: Iterable[Verdict], x: np.ndarray) -> list[Verdict]:
        """What the model says of samples, with the radii of these answers.

        :param verdicts: Of each sample.
        :param x: The samples ``(N,)`` as the estimator takes them.
        """
        verdicts = list(verdicts)
        seen = {name: self._asking.see_field(name, field) for name, field in self._asking.fields(x).items()}
        with torch.no_grad():
            fused = self._asking.fused(seen).double().cpu()
            self._fusion.cpu()
            labels = torch.tensor([one.predicted for one in verdicts], dtype=torch.int64)
            constants = torch.tensor(list(self.constants.values()), dtype=torch.float64)
            alone = self._fusion.radii(fused, labels, constants)
            together = self._fusion.radius(fused, labels, constants)
        # What the model's own precision takes for the same is not told apart: nothing is certified there.
        found = zip(verdicts, alone.clamp_min(0).tolist(), together.clamp_min(0).tolist(), strict=True)
        return [replace(one, radii=tuple(each), radius=all_) for one, each, all_ in found]


def radii_results(said: Iterable[Verdict], names: Iterable[str]) -> dict[str, Any]:
    """Of each modality, and of all together, the radius up to which shares of all samples are right and certified.

    :param said: Of each sample what the model says.
    :param names: Of the modalities.
    :return: ``alone`` by modality and ``together``; each has the radius by share, ``None`` where so many are not right.
    """
    said = list(said)
    right = [one for one in said if one.right and one.radius is not None]
    columns = {name: [one.radii[place] for one in right] for place, name in enumerate(names)}
    return {
        "alone": {name: _by_share(column, len(said)) for name, column in columns.items()},
        "together": _by_share([one.radius for one in right if one.radius is not None], len(said)),
    }


def _by_share(radii: list[float], n: int) -> dict[str, float | None]:
    """The largest radius that so many of ``n`` samples have at least."""
    ordered = sorted(radii, reverse=True)
    needed = {share: max(1, int(np.ceil(share * n))) for share in SHARES}
    return {f"{share:g}": ordered[of - 1] if of <= len(ordered) else None for share, of in needed.items()}
