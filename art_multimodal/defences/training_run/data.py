"""From data sources to arrays that are trained on, and others that are not."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from art_multimodal.datasets import CaptionedImages, LabelledImages, UnreadableSample, open_captioned, open_images
from art_multimodal.datasets.answers import open_answers
from art_multimodal.datasets.reading import MAX_SKIPPED, check_readable, refusal, unreadable_texts
from art_multimodal.defences.trainer.samples import Estimator
from art_multimodal.defences.training_run.settings import RunSettings
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.labels import class_indices
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.fusion import FusionModel
from art_multimodal.out_folders import check_apart
from art_multimodal.pairs import image_text_pairs
from art_multimodal.prompts import check_templates
from art_multimodal.shown import shown

#: Share of the machine's memory that images may fill.
_MEMORY_SHARE = 0.8

#: Told how many of how many images have been read.
Reading = Callable[[int, int], None]


@dataclass(frozen=True)
class Part:
    """Samples as estimators take them.

    :param x: Images ``(N, 3, H, W)``, or pairs ``(N,)``.
    :param y: Class indices ``(N,)``; none in retrieval.
    """

    x: np.ndarray
    y: np.ndarray | None


@dataclass(frozen=True)
class RunData:
    """What a run trains on, what it is validated on, and what says so in JSON's types."""

    estimator: Estimator
    train: Part
    validation: Part
    protected_words: tuple[str, ...]
    facts: dict[str, Any]
    skipped: tuple[UnreadableSample, ...]
    notes: tuple[str, ...] = ()


def open_run_data(
    settings: RunSettings,
    model: DualEncoder | FusionModel,
    device_type: str,
    strict: bool = False,
    reading: Reading | None = None,
    max_skipped: float = MAX_SKIPPED,
    out: Path | None = None,
) -> RunData:
    """Read all images of a run, at the size of the model.

    :param device_type: As for estimators.
    :param strict: Stop at an unreadable image instead of leaving it out.
    :param reading: Is told about progress.
    :param max_skipped: Share of the images that may be unreadable.
    :param out: Where the run writes: not among the data.
    :raises InputError: If the data cannot be used, or do not fit the model.
    """
    opened: _Labelled | _Captioned | _Paired
    if isinstance(model, FusionModel):
        opened = _Paired(settings, model)
    else:
        opened = _Labelled(settings, model) if settings.task == "classification" else _Captioned(settings, model)
    sources, chosen = _choose(settings, opened)
    for source, rows in zip(sources, chosen, strict=True):
        if out is not None:
            check_apart(out, source.folders)
        if not strict:
            check_readable(source, rows, max_skipped, source.image)
    _check_memory(sum(opened.count(source, rows) for source, rows in zip(sources, chosen, strict=True)), model)
    reader = _Reader(model, strict, sum(map(len, chosen)), reading)
    read = [reader.read(source, rows) for source, rows in zip(sources, chosen, strict=True)]
    for source, rows, (readable, _) in zip(sources, chosen, read, strict=True):
        left = set(readable.tolist())
        gone = [source.name_of(row) for row in rows.tolist() if row not in left]
        reason = next((error.reason for error in reader.skipped if gone and error.name == gone[0]), "")
        error = refusal(gone[0], reason, len(gone), len(rows), max_skipped) if gone else None
        if error is not None:
            raise error
    # What is validated on is not trained on, even where the same image is listed twice.
    known = {_digest(image) for image in read[1][1]}
    new = np.array([_digest(image) not in known for image in read[0][1]], dtype=bool)
    dropped = int((~new).sum())
    if dropped:
        read[0] = (read[0][0][new], read[0][1][new])
    for what, (rows, _) in zip(("train", "validate"), read, strict=True):
        if not len(rows):
            why = f" {dropped} images are those of the validation." if dropped and what == "train" else ""
            raise InputError(f"There are no samples left to {what} on.{why} Give more data, or other --validation.")
    train, validation = (
        opened.part(source, rows, images) for source, (rows, images) in zip(sources, read, strict=True)
    )
    opened.check(train, validation)
    facts = {
        "spec": settings.data,
        "fingerprint": sources[0].fingerprint(),
        "validation_fingerprint": sources[1].fingerprint(),
        "listed": len(sources[0]),
        "trained_on": len(train.x),
        "validated_on": len(validation.x),
        "left_out_as_in_validation": dropped,
        "unreadable": len(reader.skipped),
        "validation_digest": hashlib.sha256(b"".join(map(_digest, read[1][1]))).hexdigest(),
        **opened.facts,
    }
    return RunData(
        opened.estimator(device_type),
        train,
        validation,
        tuple(dict.fromkeys((*sources[0].protected_words, *settings.protected_words))),
        facts,
        tuple(reader.skipped),
        tuple(dict.fromkeys(note for of in (*sources, model, opened) for note in getattr(of, "notes", ()))),
    )


class _Labelled:
    """Images with class labels for a :class:`ZeroShotClassifier`."""

    def __init__(self, settings: RunSettings, model: DualEncoder) -> None:
        self.model = model
        transform = model.preprocess.reduce_photo
        self.data: LabelledImages = open_images(settings.data, settings.classes, transform)
        self.class_names = self.data.class_names
        if not (settings.templates or self.data.templates):
            raise InputError(
                f"{settings.data} asks questions about its images, which a dual encoder does not read. Choose other "
                "data, or give --templates."
            )
        self.templates = check_templates(settings.templates or self.data.templates)
        self.validation = self.data
        if settings.validation_share is None:
            classes = settings.classes if settings.classes else self._names_for(settings.validation)
            self.validation = open_images(settings.validation, classes, transform)
            strange = [name for name in self.validation.class_names if name not in self.class_names]
            if strange:
                raise InputError(
                    f"The validation data have a class {strange[0]!r} that {settings.data} has not. Give data of the "
                    "same classes."
                )
        self.facts = {"class_names": list(self.class_names), "templates": list(self.templates)}

    def _names_for(self, spec: str) -> tuple[str, ...] | None:
        # The labels of a file may be indices.
        return self.class_names if spec.startswith("csv:") else None

    def group_of(self, index: int) -> int:
        return self.data.label_of(index)

    def count(self, source: Any, rows: np.ndarray) -> int:
        """How many images there are at a time."""
        return len(rows)

    def part(self, source: Any, rows: np.ndarray, images: np.ndarray) -> Part:
        place = class_indices(source.class_names, self.class_names)
        return Part(images, np.array([place[source.label_of(int(row))] for row in rows], dtype=np.int64))

    def check(self, train: Part, validation: Part) -> None:
        """Nothing: the prompts of the classes are checked with the estimator."""

    def estimator(self, device_type: str) -> Estimator:
        return ZeroShotClassifier(self.model, self.class_names, self.templates, device_type=device_type)


class _Paired:
    """Images with a text and a label each, for a :class:`FusionClassifier`."""

    def __init__(self, settings: RunSettings, model: FusionModel) -> None:
        if settings.task == "retrieval":
            raise InputError(
                f"{settings.model} is a fusion model. Retrieval needs a dual encoder, such as demo:scenes."
            )
        if settings.templates is not None:
            raise InputError(f"{settings.model} is a fusion model: it reads the texts of the data, not --templates.")
        self.model = model

        def opened(spec: str, classes: tuple[str, ...] | None) -> LabelledImages:
            return open_answers(spec, settings.model, model.class_names, classes, model.preprocess.reduce_photo)

        self.data = opened(settings.data, settings.classes)
        own = settings.validation_share is not None
        self.validation = self.data if own else opened(settings.validation, None)
        self.facts = {"class_names": list(model.class_names)}
        self.notes: tuple[str, ...] = ()

    def group_of(self, index: int) -> int:
        return self.data.label_of(index)

    def count(self, source: Any, rows: np.ndarray) -> int:
        # As they are read, and in pairs.
        return 2 * len(rows)

    def part(self, source: Any, rows: np.ndarray, images: np.ndarray) -> Part:
        texts = [str(source.text_of(int(row))) for row in rows]
        reasons = unreadable_texts(self.model.tokenize, texts)
        if reasons:
            self.notes += (_left_out("text", reasons),)
        kept = np.array([text not in reasons for text in texts], dtype=bool)
        place = class_indices(source.class_names, self.model.class_names)
        labels = np.array([place[source.label_of(int(row))] for row in rows[kept]], dtype=np.int64)
        return Part(image_text_pairs(images[kept], [text for text in texts if text not in reasons]), labels)

    def check(self, train: Part, validation: Part) -> None:
        for what, part in (("train", train), ("validate", validation)):
            if not len(part.x):
                # What was left out is the reason.
                raise InputError(f"There are no pairs left to {what} on. Give more data. {' '.join(self.notes)}")

    def estimator(self, device_type: str) -> Estimator:
        return FusionClassifier(self.model, device_type=device_type)


class _Captioned:
    """Images with captions for an :class:`ImageTextRetriever`."""

    def __init__(self, settings: RunSettings, model: DualEncoder) -> None:
        for name, value in (("--templates", settings.templates), ("--classes", settings.classes)):
            if value is not None:
                raise InputError(f"Retrieval has captions and no classes: leave out {name}.")
        self.model = model
        transform = model.preprocess.reduce_photo
        self.data: CaptionedImages = open_captioned(settings.data, transform)
        own = settings.validation_share is not None
        self.validation = self.data if own else open_captioned(settings.validation, transform)
        self.facts: dict[str, Any] = {}
        self.notes: tuple[str, ...] = ()

    def group_of(self, index: int) -> int:
        return 0

    def count(self, source: Any, rows: np.ndarray) -> int:
        # As they are read, and a copy for each caption.
        return len(rows) + sum(len(source.captions_of(int(row))) for row in rows)

    def part(self, source: Any, rows: np.ndarray, images: np.ndarray) -> Part:
        listed = [source.captions_of(int(row)) for row in rows]
        reasons = unreadable_texts(self.model.tokenize, (text for own in listed for text in own))
        if reasons:
            self.notes += (_left_out("caption", reasons),)
        captions = [tuple(text for text in own if text not in reasons) for own in listed]
        repeated = np.repeat(images, [len(own) for own in captions], axis=0)
        return Part(image_text_pairs(repeated, [text for own in captions for text in own]), None)

    def check(self, train: Part, validation: Part) -> None:
        # What was left out may be the reason.
        why = "".join(f" {note}" for note in self.notes)
        if not len(train.x):
            raise InputError(f"There are no captions left to train on. Give more data, or other --validation.{why}")
        if len({_digest(image) for image in validation.x["image"]}) < 2:
            raise InputError(
                "Retrieval is validated on at least two images, among which one is looked for. Give more data, or a "
                f"larger --validation.{why}"
            )

    def estimator(self, device_type: str) -> Estimator:
        return ImageTextRetriever(self.model, device_type=device_type)


def _left_out(what: str, reasons: Mapping[str, str]) -> str:
    first = shown(next(iter(reasons.values())))
    return f"{len(reasons)} {what}(s) cannot be read in full and are left out. The first: {first}"


def _choose(
    settings: RunSettings, opened: _Labelled | _Captioned | _Paired
) -> tuple[list[LabelledImages | CaptionedImages], list[np.ndarray]]:
    """The two sources, and which samples of each are taken, in the order of the source."""
    sources: list[LabelledImages | CaptionedImages] = [opened.data, opened.validation]
    groups = np.array([opened.group_of(row) for row in range(len(opened.data))])
    return sources, chosen_rows(settings, len(opened.data), len(opened.validation), groups)


def chosen_rows(settings: RunSettings, count: int, validation: int, groups: np.ndarray) -> list[np.ndarray]:
    """Which samples are trained on, and which ones are validated on, in the order of the source.

    :param count: Number of samples of the data.
    :param validation: Number of samples of the source for validation, where it is another one.
    :param groups: Of each sample of the data, such as its class, ``(N,)``.
    :raises InputError: If there is one sample for both.
    """
    seed, share = settings.training.seed, settings.validation_share
    if share is None:
        return [_drawn(size, settings.limit, seed) for size in (count, validation)]
    rows = _drawn(count, settings.limit, seed)
    if len(rows) < 2:
        raise InputError(
            f"{len(rows)} sample cannot be both trained on and validated on. Give more data, or other --validation."
        )
    kept = split_rows(np.asarray(groups)[rows], share, seed)
    return [rows[~kept], rows[kept]]


def _drawn(count: int, limit: int | None, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).permutation(count)[:limit])


def split_rows(groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Say which samples are kept for validation: of every group its share, at random.

    At least one sample is kept, and at least one is not; the only one of its group is trained on where possible.

    :param groups: Of each sample, such as its class, ``(N,)``.
    :return: Boolean, ``(N,)``.
    """
    rng = np.random.default_rng((seed, 1))
    kept = np.zeros(len(groups), dtype=bool)
    # Rounding every group by itself would keep nothing of many small ones: what is over goes on to the next.
    over = 0.0
    for group in np.unique(groups):
        rows = rng.permutation(np.flatnonzero(groups == group))
        wanted = share * len(rows) + over
        count = int(np.clip(round(wanted), 0, len(rows) - 1))
        over = wanted - count
        kept[rows[:count]] = True
    if not kept.any():
        values, counts = np.unique(groups, return_counts=True)
        others = np.flatnonzero(np.isin(groups, values[counts > 1]))
        kept[rng.choice(others if len(others) else len(groups))] = True
    return kept


class _Reader:
    """Reads images, and brings all of them to the size of a model."""

    def __init__(self, model: DualEncoder | FusionModel, strict: bool, total: int, reading: Reading | None) -> None:
        self.model = model
        self.strict = strict
        self.total = total
        self.reading = reading or (lambda done, total: None)
        self.done = 0
        self.skipped: list[UnreadableSample] = []

    def read(self, source: LabelledImages | CaptionedImages, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the readable ones among some rows, and their images ``(N, 3, H, W)``."""
        images = np.empty((len(rows), 3, *self.model.image_size), dtype=np.float32)
        readable = np.zeros(len(rows), dtype=bool)
        count = 0
        for number, row in enumerate(map(int, rows)):
            try:
                images[count] = self._sized(source.image(row))
                readable[number] = True
                count += 1
            except UnreadableSample as error:
                if self.strict:
                    raise InputError(f"{error.name}: {error.reason}. Without --strict it would be left out.") from None
                self.skipped.append(error)
            self.done += 1
            self.reading(self.done, self.total)
        return rows[readable], images[:count]

    def _sized(self, image: np.ndarray) -> np.ndarray:
        # A batch is one array. Larger photos were reduced when they were decoded.
        if image.shape[1:] == self.model.image_size:
            return image
        return self.model.preprocess.resize(torch.from_numpy(image)[None])[0].numpy()


def _check_memory(count: int, model: DualEncoder | FusionModel) -> None:
    height, width = model.image_size
    needed = 3 * 4 * height * width * count
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else np.inf
    if needed > _MEMORY_SHARE * there:
        raise InputError(
            f"{count} images of {width} x {height} pixels take {needed / 2**30:.0f} GiB, more than the memory of this "
            f"machine ({there / 2**30:.0f} GiB) allows. Give --limit."
        )


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
