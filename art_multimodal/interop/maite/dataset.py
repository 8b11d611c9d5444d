"""Labelled images as a data set of MAITE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from art_multimodal.datasets import LabelledImages, UnreadableSample, open_images
from art_multimodal.errors import InputError, check_count
from art_multimodal.interop.maite.records import SampleMetadata

if TYPE_CHECKING:
    from maite.protocols import DatasetMetadata, DatumMetadata

    from art_multimodal.datasets.photos import PhotoTransform


class InOrder:
    """The order of a data set, its metadata and its targets, which every kind has.

    :param data: With a length, and a name of each sample.
    :param labels: Of each sample, by its index in the data, the index among ``class_names``.
    :param class_names: In the order of the targets.
    :param id: What the data are called.
    :param limit: Most samples.
    :param seed: Draws samples in the order in which an audit with this seed takes them; ``None`` keeps their own order.
    """

    def __init__(self, data: Any, class_names: Sequence[str], id: str, limit: int | None, seed: int | None) -> None:
        check_count("limit", limit)
        check_count("The seed", seed, least=0, most=2**63 - 1)
        self.data = data
        count = len(data)
        order = np.arange(count) if seed is None else np.random.default_rng(seed).permutation(count)
        self.order = order[:limit]
        self.metadata: DatasetMetadata = {"id": id, "index2label": dict(enumerate(class_names))}
        self._eye = np.eye(len(class_names), dtype=np.float32)

    def __len__(self) -> int:
        return len(self.order)

    def label_of(self, index: int) -> int:
        """Index among the class names of a sample, by its index in the data."""
        return int(self.data.label_of(index))

    def get_target(self, ind: int, /) -> np.ndarray:
        """The one-hot row ``(K,)`` of a sample, float32, without reading anything else."""
        return self._eye[self.label_of(self._index(ind))].copy()

    def get_metadata(self, ind: int, /) -> SampleMetadata:
        """Name and place of a sample, without reading anything else."""
        index = self._index(ind)
        return {"id": self.data.name_of(index), "place": int(ind) % len(self.order)}

    def _index(self, ind: int) -> int:
        """Index in the data of the sample at a place.

        :raises IndexError: If there is none.
        """
        if not -len(self.order) <= ind < len(self.order):
            raise IndexError(f"There are {len(self.order)} samples, and no place {ind}.")
        return int(self.order[ind])


class MaiteDataset(InOrder):
    """Labelled images as a ``Dataset`` (and ``FieldwiseDataset``) of MAITE, each read when it is asked for.

    A sample is an image ``(3, H, W)``, float32 in [0, 1]; a one-hot row ``(K,)``; and ``{"id": name, "place": n}``.

    :param data: As for ``open_images``; or open already: a :class:`LabelledImages`, such as ``LabelledArrays(images,
        labels, class_names)``.
    :param id: What it is called; how it was named by default.
    :param classes: Class names instead of the data's own, where they are named.
    :param transform: Applied to every decoded photo of named data. An audit takes ``model.preprocess.reduce_photo``.
    :param limit: Most samples.
    :param seed: Draws samples in the order in which an audit with this seed takes them; ``None`` keeps their own order.
    :raises InputError: If the data cannot be used.
    """

    data: LabelledImages

    def __init__(
        self,
        data: str | LabelledImages,
        *,
        id: str | None = None,
        classes: Sequence[str] | None = None,
        transform: PhotoTransform | None = None,
        limit: int | None = None,
        seed: int | None = None,
    ) -> None:
        opened = open_images(data, classes, transform) if isinstance(data, str) else data
        if not isinstance(opened, LabelledImages):
            raise InputError(
                "Data must be named (folder:PATH), or LabelledArrays(images, labels, class_names), not "
                f"{type(opened).__name__}."
            )
        if opened is data and classes is not None:
            raise InputError(f"{type(data).__name__} has class names: give others there, and leave out classes.")
        super().__init__(
            opened, opened.class_names, id or (data if isinstance(data, str) else type(data).__name__), limit, seed
        )

    def __getitem__(self, ind: int, /) -> tuple[np.ndarray, np.ndarray, DatumMetadata]:
        return self.get_input(ind), self.get_target(ind), self.get_metadata(ind)

    def get_input(self, ind: int, /) -> np.ndarray:
        """The image of a sample, ``(3, H, W)``, float32 in [0, 1]; a copy.

        :raises InputError: If it cannot be read: a data set of MAITE skips nothing.
        """
        return readable(lambda index: np.array(self.data.image(index), dtype=np.float32), self._index(ind))

    def __repr__(self) -> str:
        return f"MaiteDataset({self.metadata['id']!r}, {len(self)} samples)"


def readable(read: Any, index: int) -> Any:
    """What is read of a sample.

    :raises InputError: If it cannot be.
    """
    try:
        return read(index)
    except UnreadableSample as error:
        raise InputError(
            f"{error.name}: {error.reason}. A data set of MAITE skips no sample: take it out, or mend it."
        ) from None
