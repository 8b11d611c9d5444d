"""A model over several modalities as a module of one tensor: some modalities come in, the others are bound inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from art_multimodal.errors import InputError
from art_multimodal.estimators.modules import LearningModule, RememberedFeatures
from art_multimodal.models.image_text import ImageText
from art_multimodal.models.multimodal import Inputs, MultimodalModel
from art_multimodal.sample_arrays import check_samples, fields_of

#: Turns what a view is given into the numbers of each modality, ``[N, *shape]``, by name.
Split = Callable[[Tensor], dict[str, Tensor]]


class RowMismatch(InputError):
    """Rows arrived that cannot be matched with what is bound; nothing is guessed.

    >>> view = fusion.image_view(pairs["text"].tolist())
    >>> view.predict(pairs["image"][:3])
    Traceback (most recent call last):
        ...
    art_multimodal.estimators.bound.RowMismatch: 3 images came for 8 texts. A view on several texts takes ...
    """


class BoundFusion(RememberedFeatures):
    """Some modalities to fused vectors, each sample with its own others.

    What is bound is what an attack leaves alone: the other modalities, and the lengths of sequences. Each distinct row
    of it is held once, and embedded once, for as long as the weights are the same.

    :param model: The model.
    :param names: Of the modalities that come in.
    :param others: Samples of the others, or ``None`` where there is nothing else: one for every row that comes in, or
        one per row of every batch, in order.
    :param lengths: Of the sequences among those that come in, ``(N,)`` by name.
    """

    def __init__(
        self,
        model: MultimodalModel,
        names: Sequence[str],
        others: np.ndarray | None,
        lengths: dict[str, np.ndarray] | None = None,
    ) -> None:
        super().__init__()
        # Of pairs the weights keep the names that they have had.
        self.fusion_model = model.model if isinstance(model, ImageText) else model
        self._multimodal = (model,)
        self.names = tuple(names)
        first, row_of = distinct_rows(others, lengths or {})
        self.others: Inputs = {} if others is None else model.parts(others[first])
        self.lengths = {name: torch.from_numpy(of[first].astype(np.int64)) for name, of in (lengths or {}).items()}
        #: For each sample the row of what is bound to it; ``None`` where one row is bound to all.
        self.row_of_sample = None if len(first) <= 1 else torch.from_numpy(row_of)

    @property
    def multimodal(self) -> MultimodalModel:
        """The model as a model over modalities."""
        return self._multimodal[0]

    def binds_as(self, other: BoundFusion) -> bool:
        """Whether another one has the same bound to each row."""
        own, theirs = (
            [*_tensors(one.others), *one.lengths.values(), *([] if one.row_of_sample is None else [one.row_of_sample])]
            for one in (self, other)
        )
        return (
            self.names == other.names
            and list(self.others) == list(other.others)
            and len(own) == len(theirs)
            and all(a.shape == b.shape and torch.equal(a.cpu(), b.cpu()) for a, b in zip(own, theirs, strict=True))
        )

    def rows(self, count: int, device: torch.device) -> Tensor:
        """For each of ``count`` samples the row of what is bound to it.

        :raises RowMismatch: If several rows are bound and the samples are not as many.
        """
        if self.row_of_sample is None:
            return torch.zeros(count, dtype=torch.long, device=device)
        if len(self.row_of_sample) != count:
            raise RowMismatch(self._mismatch(count, len(self.row_of_sample)))
        return self.row_of_sample.to(device)

    def forward(self, parts: dict[str, Tensor], rows: Tensor) -> Tensor:
        """Fuse what comes in with what is bound.

        :param parts: Numbers ``[N, *shape]`` by name.
        :param rows: Of what is bound, for each of them; see :meth:`rows`.
        """
        model, device = self.multimodal, rows.device
        given: Inputs = {
            name: model.numbers(name, values, self.lengths_of(name, rows)) for name, values in parts.items()
        }
        known = self._seen_others(device)
        return model.meet(
            {
                name: model.see(name, given[name]) if name in given else known[name].take(rows)
                for name in model.modalities
            }
        )

    def lengths_of(self, name: str, rows: Tensor) -> Tensor | None:
        """The lengths of a sequence that comes in; the largest, where none are bound."""
        if name in self.lengths:
            return self.lengths[name].to(rows.device)[rows]
        modality = self.multimodal.modalities[name]
        return torch.full_like(rows, modality.shape[0] or 0) if modality.variable else None

    def _seen_others(self, device: torch.device) -> Inputs:
        model = self.multimodal

        def compute() -> Inputs:
            return {name: model.see(name, part.to(device, model.dtype)) for name, part in self.others.items()}

        if not self.others or not model.separate_towers:
            return compute()

        weights = (*self.fusion_model.parameters(), *self.fusion_model.buffers())
        return self.remember(self.fusion_model, weights, compute)

    def _mismatch(self, count: int, bound: int) -> str:
        one = "image" if [self.multimodal.modalities[name].kind for name in self.names] == ["image"] else "sample"
        texts = list(self.others) == ["text"]
        row, rows = ("text", "texts") if texts else ("bound row", "bound rows")
        return (
            f"{count} {one}s came for {bound} {rows}. A view on several {rows} takes exactly one {one} per {row}, in "
            "order, in every call; most attacks do not keep to that. Bind a single one, or use "
            f"{'for_each_pair' if texts else 'for_each_sample'}."
        )


class FusionHead(nn.Module):
    """Fused vectors to scores, as a module that is called, so that ART's ``get_activations`` can hook it.

    :param model: Registered by :class:`BoundFusion`; only referred to here, so weights have one name.
    """

    def __init__(self, model: MultimodalModel) -> None:
        super().__init__()
        self._fusion_model = (model,)

    def forward(self, fused: Tensor) -> Tensor:
        scores = self._fusion_model[0].predict(fused)
        return scores.to(torch.promote_types(torch.float32, scores.dtype))


class BoundModule(LearningModule):
    """One tensor to scores ``[N, K]`` (or probabilities), with everything else bound inside.

    :param fusion: What is bound, and the model.
    :param split: Turns the tensor into the numbers of each modality.
    :param probabilities: Return probabilities instead of scores.
    """

    def __init__(self, fusion: BoundFusion, split: Split, probabilities: bool = False) -> None:
        super().__init__()
        self.fusion = fusion
        self.head = FusionHead(fusion.multimodal)
        self.probabilities = probabilities
        self.split = split

    def forward(self, values: Tensor) -> Tensor:
        bound = self.fusion.rows(len(values), values.device)

        def scores_of(part: Tensor, rows: slice) -> Tensor:
            with self.parameters_in_graph(part):
                scores = self.head(self.fusion(self.split(part), bound[rows]))
                return scores.softmax(dim=1) if self.probabilities else scores

        return self.in_parts(scores_of, values)


def distinct_rows(others: np.ndarray | None, lengths: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Find the distinct rows of what is bound.

    :param others: Samples ``(N,)``, or ``None``.
    :param lengths: Further numbers ``(N,)`` by name.
    :return: Indices of the first of each, and for each row the number of the one that it equals.
    """
    fields = [*([] if others is None else fields_of(others).values()), *lengths.values()]
    if not fields:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    keys = list(zip(*([_key(value) for value in field] for field in fields), strict=True))
    number_of = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    row_of = np.array([number_of[key] for key in keys], dtype=np.int64)
    first = np.unique(row_of, return_index=True)[1] if len(row_of) else row_of
    return first, row_of


def bound_samples(model: MultimodalModel, names: Sequence[str], others: np.ndarray | None) -> np.ndarray | None:
    """Return the samples that are bound: all modalities of the model but those that come in.

    Their values have been checked, before the defences.

    :raises InputError: If there is an unknown modality among the names, a text among what comes in, or others are
        missing or too many.
    """
    known = model.modalities
    if strange := [name for name in names if name not in known]:
        raise InputError(f"The model knows no modality {strange[0]!r}; it takes {', '.join(known)}.")
    if texts := [name for name in names if not known[name].numeric]:
        raise InputError(f"{texts[0]} holds texts: a view takes modalities of numbers.")
    left = [name for name in known if name not in names]
    if not left:
        return None
    if others is None:
        raise InputError(f"The view needs samples of the other modalities: {', '.join(left)}.")
    bound = check_samples(others, [known[name] for name in left], values=False)
    if not len(bound):
        raise InputError("The view needs at least one sample of the other modalities.")
    return bound


def _tensors(inputs: Inputs) -> list[Tensor]:
    """All tensors of a batch, in order."""
    found: list[Tensor] = []
    for part in inputs.values():
        found += [part.values] if isinstance(part.values, Tensor) else list(part.values.values())
        found += [part.present, *([] if part.lengths is None else [part.lengths])]
    return found


def _key(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, np.void):
        return value["values"].tobytes(), int(value["length"])
    return value
