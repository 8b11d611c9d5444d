"""The contract of a model over any modalities: embed each, combine what is there, predict. Torch only, no ART."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from art_multimodal.errors import InputError
from art_multimodal.modalities.modality import Modality
from art_multimodal.models.base import Model
from art_multimodal.models.fusion import Tokens, move_tokens, take_rows
from art_multimodal.prompts import check_class_names
from art_multimodal.sample_arrays import check_samples


@dataclass(frozen=True)
class Part:
    """One modality of a batch, as a tower takes it.

    >>> part = sensors.multimodal.collate(x)["fou"]
    >>> isinstance(part, Part), part.take(torch.tensor([0, 1])).values.shape, part.present.all().item()
    (True, torch.Size([2, 76]), True)

    :param values: Numbers ``[N, *shape]``, or the tokens of texts.
    :param present: Which samples have this modality, booleans ``[N]``. The others hold the modality's fill.
    :param lengths: Of sequences, how many steps each has, ``[N]``; what is behind them is zero.
    """

    values: Tokens
    present: Tensor
    lengths: Tensor | None = None

    def __len__(self) -> int:
        return len(self.present)

    @property
    def mask(self) -> Tensor:
        """Which steps of sequences are within their length, booleans ``[N, T]``.

        Of a sequence that is missing, the first, which is zero: a mean over no steps would be NaN, and so would its
        gradients.
        """
        assert isinstance(self.values, Tensor)
        if self.lengths is None:
            return torch.ones(self.values.shape[:2], dtype=torch.bool, device=self.values.device)
        return torch.arange(self.values.shape[1], device=self.lengths.device) < self.lengths.clamp_min(1)[:, None]

    @property
    def steps(self) -> Tensor:
        """Which steps a sample has, booleans ``[N, T]``: those within its length; none where it is missing."""
        return self.mask & self.present[:, None]

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Part:
        """Bring it to a device, and its numbers to a dtype."""
        lengths = None if self.lengths is None else self.lengths.to(device)
        values = move_tokens(self.values, device)
        if dtype is not None and isinstance(values, Tensor) and values.is_floating_point():
            values = values.to(dtype)
        return Part(values, self.present.to(device), lengths)

    def take(self, rows: Tensor) -> Part:
        """Select samples."""
        lengths = None if self.lengths is None else self.lengths[rows]
        return Part(take_rows(self.values, rows), self.present[rows], lengths)

    def put(self, rows: Tensor, other: Part) -> Part:
        """The same with some samples replaced by those of another part of the same layout."""
        assert isinstance(self.values, Tensor) and isinstance(other.values, Tensor)
        values, present, lengths = self.values.clone(), self.present.clone(), self.lengths
        values[rows], present[rows] = other.values, other.present
        if lengths is not None and other.lengths is not None:
            lengths = lengths.clone()
            lengths[rows] = other.lengths
        return Part(values, present, lengths)

    def with_values(self, values: Tensor) -> Part:
        """The same with other numbers; those behind the length of a sequence are taken out, with their gradient."""
        if self.lengths is not None:
            within = self.steps
            values = torch.where(within.reshape(*within.shape, *[1] * (values.ndim - 2)), values, 0)
        return replace(self, values=values)


#: A batch, by the name of the modality.
Inputs = dict[str, Part]
#: What towers make of it: embeddings ``[N, D]``, by the name of the modality; ``[N, T, D]`` where a model takes steps.
Features = dict[str, Tensor]


class MultimodalModel(Model):
    """A model that answers about samples of several modalities: ``scores = predict(fuse(inputs))``.

    A subclass fills in :meth:`encode` and :meth:`combine`, where each modality is embedded by itself first (an attack
    then computes the tower of an untouched modality once), or :meth:`fuse`, where modalities meet earlier; and
    :meth:`predict`. One that reads texts fills in :meth:`tokenize`.

    | Paper link: https://arxiv.org/abs/2112.12792 (the unified view: generator G, then predictor P)

    >>> model = sensors.multimodal
    >>> isinstance(model, MultimodalModel), model.separate_towers
    (True, True)
    >>> inputs = model.collate(x)
    >>> {name: tuple(part.values.shape) for name, part in inputs.items()}
    {'pix': (8, 1, 16, 15), 'fou': (8, 76), 'kar': (8, 64)}
    >>> model(inputs).shape
    torch.Size([8, 10])

    :param modalities: What the model takes, in the order of the fields.
    :param class_names: Names of the answers, in the order of the scores; distinct, at least two.
    :raises InputError: If two modalities share a name, there is none, or class names cannot be used.
    """

    kind = "multimodal model"
    #: Whether a sample may lack a modality: the model is told, and leaves it out.
    takes_missing = True

    def __init__(self, modalities: Sequence[Modality], class_names: Sequence[str]) -> None:
        super().__init__()
        names = [modality.name for modality in modalities]
        if not names:
            raise InputError("A model needs at least one modality.")
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(f"Two modalities are called {twice[0]!r}; give each a name of its own.")
        self.modalities = {modality.name: modality for modality in modalities}
        self.class_names = check_class_names(class_names)

    @property
    def separate_towers(self) -> bool:
        """Whether each modality is embedded by itself before they meet."""
        return type(self).fuse is MultimodalModel.fuse

    @property
    def takes_steps(self) -> bool:
        """Whether :meth:`combine` takes embeddings of steps, ``[N, T, D]``, beside those of whole modalities."""
        return False

    def collate(self, x: np.ndarray, only: Sequence[str] | None = None) -> Inputs:
        """Turn samples into a batch on the CPU, numbers in the dtype of the weights, and in the same memory if it fits.

        A sample that is missing a modality gets its fill there, and ``present`` says so.

        :param x: Samples ``(N,)`` with all modalities of the model, or those in ``only``.
        :param only: Names of the modalities that are wanted.
        :raises InputError: As :func:`check_samples` does, or if a text is longer than the model reads.
        """
        return self.parts(check_samples(x, self.modalities.values(), only))

    def parts(self, x: np.ndarray) -> Inputs:
        """What :meth:`collate` does, of samples that have been checked, some of the modalities or all.

        A preprocessing defence may have brought their values out of range since.
        """
        cpu = torch.device("cpu")
        parts = {name: self._part(self.modalities[name], x[name]) for name in x.dtype.names or ()}
        return {name: part.to(cpu, self.dtype) for name, part in parts.items()}

    def numbers(self, name: str, values: Tensor, lengths: Tensor | None = None) -> Part:
        """Turn numbers of one modality, as an attack changes them, into a part; a sample that is NaN is missing.

        :param name: Of the modality.
        :param values: Shape ``[N, *shape]``.
        :param lengths: Of sequences, ``[N]``.
        """
        values = values.to(self.dtype)
        gone = torch.isnan(values).flatten(1).all(dim=1)
        if bool(gone.any()):
            fill = torch.as_tensor(self.modalities[name].fill).to(values)
            values = torch.where(gone.reshape(-1, *[1] * (values.ndim - 1)), fill, values)
        return Part(values, ~gone if lengths is None else ~gone & (lengths > 0), lengths).with_values(values)

    def tokenize(self, name: str, texts: Sequence[str]) -> Tokens:
        """Turn texts into one batch of tokens, on the CPU; an empty text is allowed.

        :param name: Of the modality.
        :raises InputError: If a text is longer than the model reads. It is never cut silently.
        """
        raise NotImplementedError(f"{type(self).__name__} reads no texts: it has no tokenize().")

    def encode(self, name: str, part: Part) -> Tensor:
        """Embed one modality: ``[N, D]``; only where the towers are separate.

        Where the model takes steps, it may be ``[N, T, D]``, of a sequence with the steps that came in.

        :param name: Of the modality.
        """
        raise NotImplementedError

    def combine(self, features: Features, present: Mapping[str, Tensor]) -> Tensor:
        """Fuse embeddings: ``[N, D]``; only where the towers are separate.

        :param features: Of all modalities, by name.
        :param present: Which samples have a modality, booleans ``[N]``, by name; of sequences whose steps are
            embedded, which steps they have, ``[N, T]``.
        """
        raise NotImplementedError

    def fuse(self, inputs: Inputs) -> Tensor:
        """Fused vectors ``[N, D]`` of a batch."""
        return self.meet({name: self.see(name, part) for name, part in inputs.items()})

    def see(self, name: str, part: Part) -> Part:
        """What the model makes of one modality by itself: its embedding, or where modalities meet early, itself.

        :param name: Of the modality.
        """
        if not self.separate_towers:
            return part
        embedded = self.encode(name, part)
        of_steps = self.takes_steps and embedded.ndim > 2
        return Part(embedded, part.present, part.lengths if of_steps else None)

    def meet(self, seen: Inputs) -> Tensor:
        """Fused vectors ``[N, D]`` of what :meth:`see` returned for all modalities, in their order."""
        if not self.separate_towers:
            return self.fuse(seen)
        features = {name: part.values for name, part in seen.items() if isinstance(part.values, Tensor)}
        # Embeddings have lengths where they are those of steps.
        present = {name: part.present if part.lengths is None else part.steps for name, part in seen.items()}
        return self.combine(features, present)

    def predict(self, fused: Tensor) -> Tensor:
        """Scores (logits) ``[N, K]`` of fused vectors ``[N, D]``."""
        raise NotImplementedError

    def unimodal_scores(self, features: Features) -> dict[str, Tensor] | None:
        """Scores ``[N, K]`` of each modality alone, by name; ``None`` where a model has none."""
        return None

    @property
    def weighs(self) -> bool:
        """Whether :meth:`unimodal_scores` and :meth:`weights` both say something."""
        return False

    @property
    def by_agreement(self) -> bool:
        """Whether a weight falls with the distance of a modality's prediction from those of the others."""
        return False

    def weights(self, features: Features, present: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """How much the scores of each modality alone count, ``[N]`` by name; ``None`` where a model does not weigh.

        :param features: Of all modalities, by name.
        :param present: Which samples have a modality, booleans ``[N]``, by name. What a sample lacks weighs zero.
        """
        return None

    def forward(self, inputs: Inputs) -> Tensor:
        """Scores ``[N, K]``: :meth:`predict` of :meth:`fuse`."""
        return self.predict(self.fuse(inputs))

    def _part(self, modality: Modality, field: np.ndarray) -> Part:
        present = torch.from_numpy(~modality.missing(field))
        if not modality.numeric:
            return Part(self.tokenize(modality.name, field.tolist()), present)
        values = modality.values(field)
        if modality.variable:
            # A length of 0 has nothing to look at; the tower gets steps of zeros, whose embedding does not count.
            return Part(_tensor(values), present, torch.from_numpy(np.array(field["length"])))
        if not bool(present.all()):
            values = np.where(np.isnan(values), np.asarray(modality.fill, dtype=np.float32), values)
        return Part(_tensor(values), present)


def _tensor(values: np.ndarray) -> Tensor:
    """Numbers as a tensor in the same memory, except where torch has no such view: read-only, or in reverse."""
    fits = values.flags.writeable and all(stride >= 0 for stride in values.strides)
    return torch.from_numpy(values if fits else values.copy())
