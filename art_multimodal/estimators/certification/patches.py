"""Votes of a vision transformer that leaves hidden patches out, in place of filling them in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from art_multimodal.ablation import Blocks, Elements
from art_multimodal.errors import InputError
from art_multimodal.estimators.asking.asking import all_present
from art_multimodal.estimators.certification.masks import Ballot
from art_multimodal.estimators.certification.voting import EstimatorVoters
from art_multimodal.models.multimodal import Part


class PatchVoters(EstimatorVoters):
    """A :class:`ZeroShotClassifier` votes about patches; those that are hidden cost nothing.

    A view of ``k`` of ``n`` patches costs ``(1 + k) / (1 + n)`` of an image in the layers. Attackers see the same
    patches only where nothing is resized, so images have the model's size and blocks are its patches.
    """

    def __init__(self, estimator: Any, elements: Mapping[str, Elements], batch_size: int = 128) -> None:
        super().__init__(estimator, elements, batch_size)
        model = getattr(estimator, "dual_encoder", None)
        if not getattr(model, "drops_tokens", False):
            raise InputError(
                "drop_tokens needs a ZeroShotClassifier around a vision transformer with a class token, which this is "
                "not: leave drop_tokens out, and hidden blocks are filled in."
            )
        if estimator.preprocessing_operations:
            raise InputError("drop_tokens does not go through preprocessing defences: leave out one of them.")
        assert model is not None
        self._model = model
        rows, columns = model.token_grid
        height, width = model.image_size
        of = elements["image"]
        if not isinstance(of, Blocks) or (height, width) != (rows * of.size, columns * of.size):
            raise InputError(
                f"With drop_tokens the elements are the model's patches: Blocks of {height // rows} x "
                f"{width // columns} pixels."
            )

    def checked(self, x: np.ndarray) -> np.ndarray:
        x = super().checked(x)
        if x.shape[2:] != tuple(self._model.image_size):
            wanted, given = (" x ".join(map(str, size)) for size in (self._model.image_size, x.shape[2:]))
            raise InputError(
                f"With drop_tokens images have the model's size, {wanted}, not {given}: a pixel that is resized "
                "spreads over several patches."
            )
        return x

    def views(
        self, fields: Mapping[str, np.ndarray], row: int, ballot: Ballot, in_place: bool
    ) -> dict[str, np.ndarray]:
        whole = {name: field for name, field in fields.items() if name != "image"}
        found = super().views(whole, row, ballot, in_place)
        image, kept = fields["image"][row], ballot.kept["image"]
        views = np.empty(len(kept), dtype=[("image", image.dtype, image.shape), ("kept", bool, kept.shape[1:])])
        views["image"], views["kept"] = image, kept
        return {"image": views, **found}

    def see(self, name: str, field: np.ndarray) -> Any:
        if name != "image":
            return super().see(name, field)
        # All are views of one image, whose patches are cut out once; those that keep as many go together.
        image = torch.from_numpy(field["image"][:1].copy()).to(self.asking.device)
        sizes = field["kept"].sum(axis=1)
        found: list[torch.Tensor | None] = [None] * len(field)
        for size in np.unique(sizes):
            rows = np.flatnonzero(sizes == size)
            for start in range(0, len(rows), self.asking.batch_size):
                some = rows[start : start + self.asking.batch_size]
                tokens = torch.from_numpy(np.nonzero(field["kept"][some])[1].reshape(1, len(some), int(size)))
                with torch.no_grad():
                    features = self._model.encode_visible(image, tokens, normalize=False)[0]
                for place, feature in zip(some, features, strict=True):
                    found[place] = feature
        part: Part = all_present(torch.stack([feature for feature in found if feature is not None]))
        return part
