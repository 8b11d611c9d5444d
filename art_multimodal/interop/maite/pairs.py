"""A proposal: protocols for models and data of several modalities, in the manner of MAITE's own.

They are MAITE's generic protocols with one more choice of the input: a mapping from the name of a modality to its array
or text. An image-text pair is ``{"image": array, "text": string}``. What is generic in MAITE, such as ``evaluate``,
works with them as it is. What is added is one attribute, ``modalities``, which says what the mappings hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypedDict, runtime_checkable

from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from maite.protocols import AugmentationMetadata, DatasetMetadata, DatumMetadata, ModelMetadata

#: One sample: for each modality an array, without a batch axis, or a text. A sequence is as long as the sample. What is
#: missing is a sequence of length 0, an empty text, or NaN throughout.
MultimodalDatum: TypeAlias = Mapping[str, ArrayLike]


class ModalityFacts(TypedDict):
    """What a modality is.

    ``kind``: ``"image"``, ``"text"``, ``"sequence"``, ...; ``shape``: of one sample, ``None`` where a length is left
    open, empty of texts; ``variable``: whether the first axis is as long as the sample; ``low`` and ``high``: the
    smallest and the largest value, ``None`` of texts.
    """

    kind: str
    shape: tuple[int | None, ...]
    variable: bool
    low: float | None
    high: float | None


@runtime_checkable
class Model(Protocol):
    """A model over several modalities: a batch of mappings in, a row of class scores ``(K,)`` for each out."""

    metadata: ModelMetadata

    @property
    def modalities(self) -> Mapping[str, ModalityFacts]:
        """What it takes, by name."""
        ...

    def __call__(self, batch: Sequence[MultimodalDatum], /) -> Sequence[ArrayLike]:
        """Answer a batch."""
        ...


@runtime_checkable
class Dataset(Protocol):
    """Samples of several modalities by place: a mapping, a one-hot row ``(K,)``, and metadata with an ``id``."""

    metadata: DatasetMetadata

    @property
    def modalities(self) -> Mapping[str, ModalityFacts]:
        """What samples hold, by name."""
        ...

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def __getitem__(self, ind: int, /) -> tuple[MultimodalDatum, ArrayLike, DatumMetadata]:
        """The sample at a place."""
        ...


@runtime_checkable
class Augmentation(Protocol):
    """A change to a batch of samples of several modalities; an attack is one."""

    metadata: AugmentationMetadata

    def __call__(
        self, batch: tuple[Sequence[MultimodalDatum], Sequence[ArrayLike], Sequence[DatumMetadata]], /
    ) -> tuple[Sequence[MultimodalDatum], Sequence[ArrayLike], Sequence[DatumMetadata]]:
        """The batch as it is changed; what was given stays as it is."""
        ...


def facts_of(modality: Any) -> ModalityFacts:
    """What a :class:`Modality` of ours is; of bounds that differ within a sample the outermost.

    >>> from art_multimodal.modalities import image
    >>> facts_of(image("rgb", 3, 8, 8))
    {'kind': 'image', 'shape': (3, 8, 8), 'variable': False, 'low': 0.0, 'high': 1.0}
    """
    import numpy as np

    low, high = (None, None) if not modality.numeric else modality.clip_values
    return {
        "kind": modality.kind,
        "shape": tuple(modality.shape),
        "variable": bool(modality.variable),
        "low": None if low is None else float(np.min(low)),
        "high": None if high is None else float(np.max(high)),
    }
