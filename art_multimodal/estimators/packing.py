"""A genuine ART classifier over several modalities of a model, packed into one vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from art_multimodal.errors import InputError
from art_multimodal.estimators.bound import BoundFusion, bound_samples
from art_multimodal.estimators.views import View, checked_lengths, known_shape
from art_multimodal.modalities.modality import Modality
from art_multimodal.models.multimodal import MultimodalModel
from art_multimodal.sample_arrays import check_samples, samples

if TYPE_CHECKING:
    from typing import Self


class PackedView(View):
    """A model over several modalities seen as a classifier of one vector ``(N, D)``, in units of each one's own eps.

    A coordinate is ``(value - low) / eps``, so that the ball of radius 1 is the product of the modalities' balls
    (l_inf), or the ellipsoid in which the squares of their shares of eps sum to 1 (l_2). ART's attacks run on it as
    they are, with ``eps=1``. Where all numeric modalities are packed and there is no text, nothing is bound, and rows
    cannot be mixed up. Made by :meth:`FusionClassifier.packed_view`.

    >>> view = sensors.packed_view(["pix", "fou"], eps={"pix": 0.1, "fou": 0.05}, others=x)
    >>> isinstance(view, PackedView), view.input_shape
    (True, (316,))
    >>> bool((view.unpack(view.pack(x), x)["fou"] == x["fou"]).all())
    True
    """

    def __init__(
        self,
        model: MultimodalModel,
        eps: Mapping[str, float],
        others: np.ndarray | None = None,
        lengths: Mapping[str, np.ndarray] | None = None,
        *,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        box: str = "clip_values",
        loss: nn.Module | None = None,
        probabilities: bool = False,
        **settings: Any,
    ) -> None:
        """
        :param model: The model; shared, not copied.
        :param eps: Radius of the ball of each modality that is packed, by name, in its own units.
        :param others: Samples of the modalities that are not packed: one, or one per row.
        :param lengths: Of the sequences that are packed, by name; default: the largest for all.
        :param shapes: Of samples, where a modality leaves them open.
        :param box: ``"clip_values"`` for arrays of bounds; ``"inside"`` for one pair of numbers, with the box kept by
            the module: attacks that index the bounds as numbers (JSMA, ZOO) want it.
        :param loss: Default: cross-entropy.
        :param probabilities: Predict probabilities instead of scores.
        :param settings: Further ones of ``PyTorchClassifier``: optimizer, defences, device.
        :raises InputError: If modalities are unknown, missing or too many, or an eps is not positive.
        """
        names = [name for name in model.modalities if name in eps]
        if strange := [name for name in eps if name not in model.modalities]:
            raise InputError(f"eps is given for {strange[0]!r}; the model has {', '.join(model.modalities)}.")
        if not names:
            raise InputError("Name at least one modality to pack: eps={'rgb': 2/255, ...}.")
        if wrong := [name for name in names if not (isinstance(eps[name], Real) and 0 < eps[name] < np.inf)]:
            raise InputError(f"eps of {wrong[0]} must be a positive number, not {eps[wrong[0]]!r}.")
        if box not in ("clip_values", "inside"):
            raise InputError(f"box must be 'clip_values' or 'inside', not {box!r}.")
        bound = bound_samples(model, names, others)
        known = {name: checked_lengths(model.modalities[name], of, bound) for name, of in (lengths or {}).items()}
        packing = Packing(
            [model.modalities[name] for name in names],
            [known_shape(model.modalities[name], (shapes or {}).get(name)) for name in names],
            [float(eps[name]) for name in names],
            clamp=box == "inside",
        )
        high = packing.high.numpy()
        super().__init__(
            model,
            BoundFusion(model, names, bound, known),
            packing,
            input_shape=(len(high),),
            clip_values=(np.zeros_like(high), high) if box == "clip_values" else (0.0, float(high.max())),
            loss=loss,
            probabilities=probabilities,
            **settings,
        )
        self.packing = packing
        self._bound, self._lengths, self._box = bound, known, box

    def _again(self, model: MultimodalModel, **settings: Any) -> Self:
        names = [modality.name for modality in self.packing.modalities]
        return type(self)(
            model,
            dict(zip(names, self.packing.eps, strict=True)),
            self._bound,
            self._lengths,
            shapes=dict(zip(names, self.packing.shapes, strict=True)),
            box=self._box,
            **settings,
        )

    def pack(self, x: np.ndarray) -> np.ndarray:
        """Return the vectors ``(N, D)`` of samples.

        :raises InputError: As :func:`check_samples`, or if sequences have other lengths than those that are bound.
        """
        x = check_samples(x, self.multimodal.modalities.values())
        self._check_lengths(x)
        return self.packing.pack(x)

    def unpack(self, packed: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return samples with the numbers of vectors.

        What a vector leaves as it was is exactly that of ``x``; what is behind the length of a sequence stays zero.

        :param packed: Shape ``(N, D)``.
        :param x: The samples that were packed: they give everything else.
        """
        x = check_samples(x, self.multimodal.modalities.values())
        return self.packing.unpack(packed, x)

    def _check_lengths(self, x: np.ndarray) -> None:
        fusion = self.model.fusion
        rows = fusion.rows(len(x), torch.device("cpu"))
        for modality in self.packing.modalities:
            bound = fusion.lengths_of(modality.name, rows)
            if bound is not None and not np.array_equal(bound.numpy(), modality.lengths(x[modality.name])):
                raise InputError(
                    f"{modality.name}: the sequences have other lengths than the view. Give it the same samples: "
                    "packed_view(names, eps, others=x)."
                )


class Packing:
    """How the numbers of several modalities lie in one vector.

    :param modalities: In order.
    :param shapes: Of a sample of each.
    :param eps: Unit of each.
    :param clamp: Whether vectors outside the box are brought into it on the way to the model.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        shapes: Sequence[tuple[int, ...]],
        eps: Sequence[float],
        clamp: bool = False,
    ) -> None:
        self.modalities, self.shapes, self.eps, self.clamp = list(modalities), list(shapes), list(eps), clamp
        bounds = [
            [np.broadcast_to(np.asarray(bound, dtype=np.float32), shape).ravel() for bound in modality.clip_values]
            for modality, shape in zip(self.modalities, self.shapes, strict=True)
        ]
        self.low = torch.from_numpy(np.concatenate([low for low, _ in bounds]))
        self.unit = torch.cat(
            [torch.full((len(low),), unit, dtype=torch.float32) for (low, _), unit in zip(bounds, eps, strict=True)]
        )
        self.high = (torch.from_numpy(np.concatenate([high for _, high in bounds])) - self.low) / self.unit
        self.sizes = [len(low) for low, _ in bounds]

    def __call__(self, packed: Tensor) -> dict[str, Tensor]:
        low, unit, high = (part.to(packed.device, packed.dtype) for part in (self.low, self.unit, self.high))
        if self.clamp:
            packed = torch.minimum(packed.clamp_min(0), high)
        parts = (low + packed * unit).split(self.sizes, dim=1)
        return {
            modality.name: part.reshape(len(packed), *shape)
            for modality, part, shape in zip(self.modalities, parts, self.shapes, strict=True)
        }

    def pack(self, x: np.ndarray) -> np.ndarray:
        parts = [m.values(x[m.name]).reshape(len(x), -1) for m in self.modalities]
        return (np.concatenate(parts, axis=1) - self.low.numpy()) / self.unit.numpy()

    def unpack(self, packed: np.ndarray, x: np.ndarray) -> np.ndarray:
        before, fields = self.pack(x), {name: x[name] for name in x.dtype.names or ()}
        same = packed == before
        # Bounds are kept to the last digit: attacks and the way back both round.
        numbers = self(torch.from_numpy(np.ascontiguousarray(packed, dtype=np.float32)))
        start = 0
        for modality, shape, size in zip(self.modalities, self.shapes, self.sizes, strict=True):
            own = modality.values(x[modality.name])
            kept = same[:, start : start + size].reshape(len(x), *shape)
            low, high = (np.asarray(bound, dtype=np.float32) for bound in modality.clip_values)
            changed = np.clip(numbers[modality.name].numpy(), low, high)
            fields[modality.name] = modality.with_values(x[modality.name], np.where(kept, own, changed))
            start += size
        return samples(**fields)
