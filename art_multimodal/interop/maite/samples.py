"""Pairs and samples of any modalities for MAITE: our classifiers, data and attacks in the protocols of ``pairs``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from art_multimodal.datasets import LabelledImages, LabelledSamples, open_samples
from art_multimodal.datasets.answers import check_questions, open_answers, samples_with_answers
from art_multimodal.errors import InputError, check_count
from art_multimodal.estimators.answers import AnsweringClassifier
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.evaluations.suite.entry import SAMPLES_TOGETHER
from art_multimodal.interop.maite.attack import BatchAttack
from art_multimodal.interop.maite.dataset import InOrder, readable
from art_multimodal.interop.maite.layouts import NamedLayout
from art_multimodal.interop.maite.model import answers_to, name_of, names_by_place
from art_multimodal.interop.maite.pairs import ModalityFacts, MultimodalDatum, facts_of
from art_multimodal.interop.maite.runners import SuiteRunner
from art_multimodal.labels import class_indices
from art_multimodal.modalities import Modality

if TYPE_CHECKING:
    from maite.protocols import DatumMetadata, ModelMetadata

    from art_multimodal.datasets.photos import PhotoTransform


class SamplesModel:
    """A classifier of pairs, or of samples of any modalities, as a ``pairs.Model``.

    :param classifier: A :class:`FusionClassifier`, or an :class:`AnsweringClassifier` of images with texts.
    :param id: What it is called; the class of the model by default.
    :param probabilities: Answer with the softmax of the scores. Scores that are probabilities already stay as they are.
    :param batch_size: Samples per forward pass.
    :raises InputError: For another classifier.
    """

    def __init__(
        self, classifier: Any, *, id: str | None = None, probabilities: bool = False, batch_size: int = 128
    ) -> None:
        self._layout = NamedLayout(modalities_of(classifier), classifier.of_pairs)
        check_count("batch_size", batch_size)
        self.classifier, self.probabilities, self.batch_size = classifier, probabilities, batch_size
        self.metadata: ModelMetadata = {
            "id": id or name_of(classifier),
            "index2label": names_by_place(classifier, None),
        }

    @property
    def modalities(self) -> dict[str, ModalityFacts]:
        """What it takes, by name."""
        return {name: facts_of(modality) for name, modality in self._layout.modalities.items()}

    def __call__(self, batch: Sequence[MultimodalDatum], /) -> list[np.ndarray]:
        """Class scores of samples.

        :param batch: For each modality an array or a text.
        :return: For each sample a row ``(K,)``, float32.
        :raises InputError: For samples that lack a modality, or that cannot be used.
        """
        return answers_to(self._layout.groups(batch), self.classifier, self.batch_size, self.probabilities)

    def __repr__(self) -> str:
        return f"SamplesModel({self.metadata['id']!r} over {', '.join(self.modalities)})"


class SamplesDataset(InOrder):
    """Labelled pairs, or samples of any modalities, as a ``pairs.Dataset``: what a classifier takes, in its classes.

    :param data: As for an audit: ``demo:shapes``, ``csv:PATH``, ``demo:views``, ...; or open already: a
        :class:`LabelledImages` with texts, or a :class:`LabelledSamples`.
    :param classifier: A :class:`FusionClassifier`, or an :class:`AnsweringClassifier` of images with texts.
    :param id: What it is called; how it was named by default.
    :param transform: Applied to every decoded photo of named data.
    :param limit: Most samples.
    :param seed: Draws samples in the order in which an audit with this seed takes them; ``None`` keeps their own order.
    :raises InputError: If the data cannot be used, or have a class that is none of the classifier's.
    """

    def __init__(
        self,
        data: str | LabelledImages | LabelledSamples,
        classifier: Any,
        *,
        id: str | None = None,
        transform: PhotoTransform | None = None,
        limit: int | None = None,
        seed: int | None = None,
    ) -> None:
        modalities = modalities_of(classifier)
        self._layout = NamedLayout(modalities, classifier.of_pairs)
        names, model = classifier.class_names, name_of(classifier)
        called = data if isinstance(data, str) else type(data).__name__
        opened: LabelledImages | LabelledSamples
        #: All samples, where they are in memory; pairs are read when they are asked for.
        self._x: np.ndarray | None = None
        if classifier.of_pairs:
            listed = open_answers(data, model, names, None, transform) if isinstance(data, str) else _pairs(data)
            check_questions(listed, called, model, names)
            places = class_indices(listed.class_names, names)
            opened, labels = listed, [places[listed.label_of(index)] for index in range(len(listed))]
        else:
            wanted = modalities.values()
            opened = open_samples(data, wanted, None, names, model) if isinstance(data, str) else _samples(data)
            self._x, found = samples_with_answers(opened, called, model, modalities, names)
            labels = found.tolist()
        self._labels: list[int] = labels
        super().__init__(opened, names, id or called, limit, seed)

    @property
    def modalities(self) -> dict[str, ModalityFacts]:
        """What samples hold, by name."""
        return {name: facts_of(modality) for name, modality in self._layout.modalities.items()}

    def label_of(self, index: int) -> int:
        return self._labels[index]

    def __getitem__(self, ind: int, /) -> tuple[dict[str, Any], np.ndarray, DatumMetadata]:
        return self.get_input(ind), self.get_target(ind), self.get_metadata(ind)

    def get_input(self, ind: int, /) -> dict[str, Any]:
        """The modalities of a sample: copies.

        :raises InputError: If it cannot be read: a data set of MAITE skips nothing.
        """
        index = self._index(ind)
        if self._x is not None:
            return self._layout.split(self._x[index : index + 1])[0]
        sample = readable(self.data.read, index)
        return {"image": np.array(sample.image, dtype=np.float32), "text": sample.text or ""}

    def __repr__(self) -> str:
        return f"SamplesDataset({self.metadata['id']!r}, {len(self)} samples of {', '.join(self.modalities)})"


class SamplesAttack(BatchAttack[MultimodalDatum, "dict[str, Any]"]):
    """An attack on pairs, or on samples of any modalities, as a ``pairs.Augmentation``.

    The same guarantees as those of :class:`MaiteAttack`.

    :param attack: The name of an attack on pairs or samples, as in ``art-multimodal list attacks``: ``joint``,
        ``text_exhaustive``, ``pgd_multimodal``, ``apgd@depth``, ...
    :param classifier: What is attacked: a :class:`FusionClassifier`, or an :class:`AnsweringClassifier` of images with
        texts.
    :param seed: Of all random numbers.
    :param batch_size: Samples per forward pass.
    :param group_size: Samples that are attacked together.
    :param budget: What may be spent, by the names of an audit's options: ``eps`` (of several modalities a mapping),
        ``norm``, ``steps``, ``max_words``, ``protected_words``, ...
    :raises InputError: For an unknown name, an attack that the classifier does not allow, or a budget that cannot be
        spent.
    """

    def __init__(
        self,
        attack: str,
        classifier: Any,
        *,
        seed: int = 0,
        batch_size: int = 32,
        group_size: int = SAMPLES_TOGETHER,
        **budget: Any,
    ) -> None:
        layout = NamedLayout(modalities_of(classifier), classifier.of_pairs)
        super().__init__(SuiteRunner(classifier, attack, seed, batch_size, budget), layout, group_size)


def modalities_of(classifier: Any) -> Mapping[str, Modality]:
    """What a classifier of pairs or samples takes, by name.

    :raises InputError: For another one.
    """
    of_pairs = isinstance(classifier, AnsweringClassifier) and classifier.of_pairs
    if not isinstance(classifier, FusionClassifier) and not of_pairs:
        raise InputError(
            f"{type(classifier).__name__} is no classifier of pairs or samples: give a FusionClassifier. Classifiers "
            "of images go with MaiteModel, MaiteDataset and MaiteAttack."
        )
    return classifier.modalities


def _pairs(data: Any) -> LabelledImages:
    if not isinstance(data, LabelledImages):
        raise InputError(
            "Data must be named (csv:PATH), or LabelledArrays(images, labels, class_names, texts), not "
            f"{type(data).__name__}."
        )
    return data


def _samples(data: Any) -> LabelledSamples:
    if not isinstance(data, LabelledSamples):
        raise InputError(
            "Data must be named (npz:FILE), or LabelledSampleArrays(x, labels, class_names), not "
            f"{type(data).__name__}."
        )
    return data
