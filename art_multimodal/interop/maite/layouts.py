"""How the samples of a batch become the arrays that attacks and classifiers take, and how they come back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from art_multimodal.errors import InputError
from art_multimodal.interop.maite.batches import images_by_shape
from art_multimodal.interop.maite.model import channels_of, check_shape
from art_multimodal.modalities import Modality
from art_multimodal.pairs import image_text_pairs, is_pairs
from art_multimodal.sample_arrays import check_samples, samples
from art_multimodal.shown import brief

#: A sample as it is given, and as it comes back.
Given = TypeVar("Given")
Back = TypeVar("Back")
#: Places in a batch, and what is there as one array.
Group = tuple[np.ndarray, np.ndarray]


class Layout(ABC, Generic[Given, Back]):
    """How a batch is laid out."""

    @abstractmethod
    def groups(self, batch: Sequence[Given]) -> list[Group]:
        """Samples that fit into one array, copied, with their places in the batch.

        :raises InputError: For samples that the classifier does not take.
        """

    @abstractmethod
    def split(self, x: np.ndarray) -> list[Back]:
        """The samples of an array, one by one."""

    def shape_of(self, x: np.ndarray) -> tuple[int, ...]:
        """The shape of a sample as attacks are asked whether they apply to it."""
        return x.shape[1:]


class ImageLayout(Layout[ArrayLike, np.ndarray]):
    """Images ``(C, H, W)``.

    :param classifier: What takes them.
    """

    def __init__(self, classifier: Any) -> None:
        self.classifier = classifier

    def groups(self, batch: Sequence[ArrayLike]) -> list[Group]:
        found = images_by_shape(batch, channels_of(self.classifier))
        for _, images in found:
            check_shape(self.classifier, images)
        return found

    def split(self, x: np.ndarray) -> list[np.ndarray]:
        return list(x)


class NamedLayout(Layout[Mapping[str, Any], dict[str, Any]]):
    """Samples that are mappings from the name of a modality to an array or a text.

    A sequence has as many steps as the sample, and none where it is missing.

    :param modalities: What the classifier takes.
    :param of_pairs: Whether these are an image and a text, and images may differ in size.
    """

    def __init__(self, modalities: Mapping[str, Modality], of_pairs: bool) -> None:
        self.modalities, self.of_pairs = modalities, of_pairs

    def groups(self, batch: Sequence[Mapping[str, Any]]) -> list[Group]:
        if not len(batch):
            return []
        for place, sample in enumerate(batch):
            self._check_names(place, sample)
        if not self.of_pairs:
            fields = {name: [self._whole(name, sample[name]) for sample in batch] for name in self.modalities}
            x = check_samples(samples(**fields), self.modalities.values())
            return [(np.arange(len(batch)), x.copy())]
        texts = [sample["text"] for sample in batch]
        found = images_by_shape([sample["image"] for sample in batch])
        return [
            (places, image_text_pairs(images, [texts[place] for place in places], allow_empty=True))
            for places, images in found
        ]

    def split(self, x: np.ndarray) -> list[dict[str, Any]]:
        return [{name: self._single(name, x[name][row : row + 1]) for name in self.modalities} for row in range(len(x))]

    def shape_of(self, x: np.ndarray) -> tuple[int, ...]:
        return x["image"].shape[1:] if is_pairs(x) else ()

    def _check_names(self, place: int, sample: Any) -> None:
        wanted = ", ".join(self.modalities)
        if not isinstance(sample, Mapping):
            raise InputError(
                f"Sample {place} of the batch is {type(sample).__name__}: give a mapping with an entry for each of "
                f"{wanted}."
            )
        if set(sample) != set(self.modalities):
            raise InputError(
                f"Sample {place} of the batch has {brief(', '.join(map(str, sample)), 120) or 'nothing'}; the model "
                f"takes {wanted}: give each of these and nothing else."
            )

    def _whole(self, name: str, value: Any) -> Any:
        """A value as :func:`samples` takes it in a list."""
        return (
            value
            if not self.modalities[name].numeric or callable(getattr(value, "detach", None))
            else np.asarray(value)
        )

    def _single(self, name: str, field: np.ndarray) -> Any:
        """What one sample has of a modality."""
        modality = self.modalities[name]
        if not modality.numeric:
            return str(field[0])
        values = modality.values(field)[0]
        return np.array(values[: int(modality.lengths(field)[0])] if modality.variable else values, dtype=np.float32)
