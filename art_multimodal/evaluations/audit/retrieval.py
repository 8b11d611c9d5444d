"""The task of retrieval: a dual encoder finds captions of images, and images of captions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from art_multimodal.datasets import CaptionedImages, Sample, UnreadableSample
from art_multimodal.datasets.reading import unreadable_texts
from art_multimodal.errors import InputError
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.evaluations.audit.defending import Views
from art_multimodal.evaluations.audit.lines import Ranked, SampleRecord
from art_multimodal.evaluations.audit.subject import Subject
from art_multimodal.evaluations.suite import RETRIEVAL, Attacked, Detail
from art_multimodal.groups import first_rows, numbered
from art_multimodal.pairs import image_text_pairs
from art_multimodal.shown import shown

_TEXTS_PER_BATCH = 256


class RetrievalSubject(Subject):
    """A retriever with captioned images.

    A sample is an image with its captions. Its ranks are those in the gallery of all samples: that of the best of its
    own captions among all captions, and of the image among all images for each caption. An attacked sample stands with
    its own attacked image and captions among the clean others, so ranks do not depend on how samples are batched.
    Captions that other samples share with it, and their images, are passed over.

    :param views: Retrievers. With random defences embeddings are means over draws.
    :param data: Captioned images.
    :param seed: Of random defences.
    """

    task = RETRIEVAL
    # One that is found second now may be found eleventh later.
    only_right = False

    def __init__(self, views: Views[ImageTextRetriever], data: CaptionedImages, seed: int = 0) -> None:
        self.views, self.seed = views, seed
        estimator = views.adaptive
        self.model = estimator.dual_encoder
        self.estimator: ImageTextRetriever = estimator
        self.data: CaptionedImages = data
        self._label: dict[int, int] = {}
        self._place: dict[int, int] = {}
        #: Captions of each sample that the model can read, and why a sample has none.
        self._captions: dict[int, tuple[str, ...]] = {}
        self._reason: dict[int, str] = {}
        #: Places of images with the same pixels, by each of them.
        self._twins: dict[int, list[int]] = {}
        #: Added to the scores of others before they are compared: how ranks could be elsewhere within rounding.
        self.slack = 0.0
        self._images = self._texts = torch.zeros(0)
        self._caption_of: list[str] = []
        self._owner = np.zeros(0, dtype=np.int64)
        self._with_caption: dict[str, list[int]] = {}
        self._first = np.zeros(0, dtype=bool)

    def read(self, index: int) -> Sample:
        image = self._image(index)
        return Sample(self.data.name_of(index), image, self._label[index], captions=self._captions_of(index))

    def _image(self, index: int) -> np.ndarray:
        """The image of a sample that has a caption."""
        if index in self._reason:
            raise UnreadableSample(self.data.name_of(index), self._reason[index])
        return self.data.image(index)

    def _captions_of(self, index: int) -> tuple[str, ...]:
        """The captions of a sample that the model can read."""
        return self._captions.get(index, self.data.captions_of(index))

    def stack(self, samples: Sequence[Sample]) -> np.ndarray:
        images = np.stack([sample.image for sample in samples])
        count = [len(sample.captions) for sample in samples]
        return image_text_pairs(np.repeat(images, count, axis=0), [c for sample in samples for c in sample.captions])

    def labels(self, samples: Sequence[Sample]) -> np.ndarray:
        return np.repeat([sample.label for sample in samples], [len(sample.captions) for sample in samples])

    def image_rows(self, samples: Sequence[Sample]) -> np.ndarray:
        # An attack on pairs may find one image for each caption; a sample has one, that of its first.
        return np.cumsum([0, *(len(sample.captions) for sample in samples[:-1])])

    def select(self, order: np.ndarray) -> None:
        order = self._with_captions(order)
        captions = [self._captions[int(index)] for index in order]
        # For attacks on images that know what an image may be mistaken for; labels are places in it. What has the same
        # captions is one class: of two that score alike, all but the first would count as mistaken from the start.
        same = numbered(frozenset(own) for own in captions)
        for view in (self.views.evaluated, self.views.adaptive, self.views.naive):
            view.gallery = [captions[row] for row in first_rows(same)]
        self._label = {int(index): int(number) for index, number in zip(order, same, strict=True)}

    def _with_captions(self, order: np.ndarray) -> np.ndarray:
        """Leave captions out that the model cannot read in full, and return the samples that have others."""
        listed = {int(index): self.data.captions_of(int(index)) for index in order}
        reasons = unreadable_texts(self.model.tokenize, (text for own in listed.values() for text in own))
        self._captions = {index: tuple(t for t in own if t not in reasons) for index, own in listed.items()}
        self._reason = {index: reasons[own[0]] for index, own in listed.items() if not self._captions[index]}
        if reasons:
            first = next(iter(reasons.values()))
            if len(self._reason) == len(listed):
                raise InputError(f"None of the captions can be read. The first: {first}")
            self.own_notes = (
                f"{len(reasons)} caption(s) cannot be read in full and are left out, with {len(self._reason)} image(s) "
                f"that have no other. The first: {shown(first)}",
            )
        return np.array([index for index in map(int, order) if self._captions[index]], dtype=np.int64)

    def prepare(self, order: np.ndarray, batch_size: int) -> str:
        """Embed the gallery. Unreadable samples are none of it."""
        with self.seeded():
            return self._prepared(order, batch_size)

    def _prepared(self, order: np.ndarray, batch_size: int) -> str:
        features: list[Tensor] = []
        indices: list[int] = []
        waiting: list[np.ndarray] = []
        digest = hashlib.blake2b(digest_size=16)
        places_of: dict[bytes, list[int]] = {}
        for index in map(int, order):
            try:
                image = self._image(index)
            except UnreadableSample:
                continue
            pixels = np.ascontiguousarray(image)
            key = hashlib.blake2b(f"{image.shape}".encode() + pixels.tobytes(), digest_size=16).digest()
            places_of.setdefault(key, []).append(len(indices))
            # Photos may differ in size. Memory must not grow with their number: only features are kept.
            if waiting and (len(waiting) == batch_size or image.shape != waiting[0].shape):
                features.append(self._features_of_images(np.stack(waiting), batch_size))
                waiting = []
            waiting.append(image)
            indices.append(index)
            digest.update(f"{index} {image.shape}".encode())
            digest.update(pixels.data)
        self._place = {index: place for place, index in enumerate(indices)}
        self._twins = {place: places for places in places_of.values() if len(places) > 1 for place in places}
        self._caption_of = [caption for index in indices for caption in self._captions_of(index)]
        self._owner = np.repeat(np.arange(len(indices)), [len(self._captions_of(index)) for index in indices]).astype(
            np.int64
        )
        self._with_caption = {}
        for number, caption in enumerate(self._caption_of):
            self._with_caption.setdefault(caption, []).append(number)
        self._first = np.zeros(len(self._owner), dtype=bool)
        self._first[[numbers[0] for numbers in self._with_caption.values()]] = True
        if indices:
            self._images = torch.cat([*features, self._features_of_images(np.stack(waiting), batch_size)])
            self._texts = self._features_of_texts(self._caption_of)
        return digest.hexdigest()

    def answers(self, indices: Sequence[int], samples: Sequence[Sample], batch_size: int) -> list[SampleRecord]:
        said = []
        for index, sample in zip(indices, samples, strict=True):
            place = self._place[index]
            own = np.flatnonzero(self._owner == place)
            ranks = self._ranks(place, sample.captions, self._images[place], self._texts[own])
            said.append(SampleRecord(index, sample.name, ranks))
        return said

    def judged(
        self, indices: Sequence[int], samples: Sequence[Sample], attacked: Attacked, batch_size: int
    ) -> list[SampleRecord]:
        with self.seeded(*indices):
            versions = [self._judged(indices, samples, one, batch_size) for one in (attacked, *attacked.versions)]
        said = []
        for index, sample, *of_sample in zip(indices, samples, *versions, strict=True):
            ranks, detail = max(of_sample, key=lambda one: one[0].image_rank)
            text_ranks = tuple(max(found) for found in zip(*(one.text_ranks for one, _ in of_sample), strict=True))
            if ranks.right:
                detail = replace(detail, broken_by=None)
            if attacked.versions and detail.text_queries is not None:
                detail = replace(detail, text_queries=sum(one.text_queries or 0 for _, one in of_sample))
            said.append(SampleRecord(index, sample.name, replace(ranks, text_ranks=text_ranks), detail))
        return said

    def _judged(
        self, indices: Sequence[int], samples: Sequence[Sample], attacked: Attacked, batch_size: int
    ) -> list[tuple[Ranked, Detail]]:
        """What is said of samples after one attack."""
        starts = self.image_rows(samples)
        images = self._features_of_images(np.ascontiguousarray(attacked.images[starts]), batch_size)
        texts = self._features_of_texts(attacked.x["text"].tolist())
        details = attacked.said_of_each()
        said = []
        for number, (index, sample) in enumerate(zip(indices, samples, strict=True)):
            rows = range(starts[number], starts[number] + len(sample.captions))
            mine = [details[row] for row in rows]
            ranks = self._ranks(self._place[index], sample.captions, images[number], texts[list(rows)])
            merged = mine[0]
            if merged.texts is not None:
                texts_of_all = tuple(text for detail in mine for text in detail.texts or ())
                queries = sum(detail.text_queries or 0 for detail in mine)
                merged = replace(merged, texts=texts_of_all, text_queries=queries)
            said.append((ranks, merged))
        return said

    def _ranks(self, place: int, captions: Sequence[str], image: Tensor, texts: Tensor) -> Ranked:
        """Ranks of a sample whose features are these, among the clean others."""
        # A caption that several other images have is one item that is found instead. Those of a picture that looks the
        # same are true of this one, too.
        others = self._first.copy()
        twins = self._twins.get(place, [place])
        true = [self._caption_of[row] for row in np.flatnonzero(np.isin(self._owner, twins))] if len(twins) > 1 else []
        for caption in (*captions, *true):
            others[self._with_caption.get(caption, [])] = False
        of_captions, of_images = _cosines(self._texts, image), _cosines(self._images, texts.T)
        own = _cosines(texts, image)
        text_ranks = []
        for number, caption in enumerate(captions):
            foreign = np.ones(len(self._images), dtype=bool)
            for owner in {place, *self._owner[self._with_caption.get(caption, [])].tolist()}:
                foreign[self._twins.get(owner, [owner])] = False
            text_ranks.append(1 + int((of_images[foreign, number] + self.slack >= own[number]).sum()))
        return Ranked(1 + int((of_captions[others] + self.slack >= own.max()).sum()), tuple(text_ranks))

    def _features_of_images(self, images: np.ndarray, batch_size: int) -> Tensor:
        return _unit(self.estimator.image_features(images, batch_size))

    def _features_of_texts(self, texts: Sequence[str]) -> Tensor:
        return _unit(self.estimator.text_features(texts, _TEXTS_PER_BATCH))


def _cosines(features: Tensor, others: Tensor) -> np.ndarray:
    """Products of unit features: summed in float64 and then rounded, so that equal features score alike."""
    return (features @ others).float().numpy()


def _unit(features: Tensor) -> Tensor:
    """Unit features in float64 on the CPU, where the gallery lives.

    :raises InputError: If they are not finite: ranks would be arbitrary.
    """
    if not torch.isfinite(features).all():
        raise InputError(
            "The model's embeddings are NaN or infinite: its weights are damaged, or they overflow. "
            "No number would mean anything."
        )
    return F.normalize(features.detach().cpu().double(), dim=-1)
