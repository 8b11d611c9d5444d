"""A model opened on a bundle as the audit had opened it on the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from art_multimodal.errors import LARGEST_COUNT, InputError
from art_multimodal.evaluations.audit.defence_files import check_same_files
from art_multimodal.evaluations.audit.lines import CLEAN, Classified
from art_multimodal.evaluations.audit.opening import open_subject
from art_multimodal.evaluations.audit.settings import AuditSettings
from art_multimodal.evaluations.audit.subject import Subject
from art_multimodal.evaluations.evidence.bundle import Bundle
from art_multimodal.evaluations.evidence.data import (
    BundledCaptions,
    BundledImages,
    BundledMultimodal,
    BundledSamples,
)
from art_multimodal.evaluations.evidence.fixtures import Group
from art_multimodal.evaluations.suite import PAIRS, RETRIEVAL, SAMPLES, ZERO_SHOT
from art_multimodal.evaluations.typed_json import Within, entries
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.families.custom.answers import AnsweringModel
from art_multimodal.models.fusion import FusionModel
from art_multimodal.models.loading import load_model
from art_multimodal.models.multimodal import MultimodalModel
from art_multimodal.plugins import check_loaded
from art_multimodal.shown import shown

#: By task the kinds of model that it is for, the usual one first.
_KINDS = {
    ZERO_SHOT: (DualEncoder.kind, AnsweringModel.kind),
    RETRIEVAL: (DualEncoder.kind,),
    PAIRS: (FusionModel.kind, AnsweringModel.kind),
    SAMPLES: (MultimodalModel.kind,),
}
#: What the settings must say.
_SETTINGS: dict[str, Any] = {
    "seed": Annotated[int, Within(0, 2**63 - 1)],
    "draws": Annotated[int, Within(1, 10_000)],
    "group_size": Annotated[int, Within(1, LARGEST_COUNT)],
    "resize": str | None,
}
#: How a model is named that runs a file, and one that had no name.
_RUNS_A_FILE, _LOADED = "python:", "loaded:"


@dataclass(frozen=True)
class Reopened:
    """A subject on a bundle.

    :param name: Of the model.
    :param weights_sha256: Of its weights.
    :param same_weights: Whether these are the bundle's.
    :param same_model: Whether it is the model of the bundle: by its weights, or since no other was given.
    :param numbers: Of each of the run's classes its number among those of the model.
    """

    name: str
    subject: Subject
    reader: BundledSamples
    weights_sha256: str
    same_weights: bool
    same_model: bool
    batch_size: int
    seed: int
    numbers: tuple[int, ...]

    def sample(self, group: Group, row: int) -> Any:
        """A sample before any attack, with its label as the model numbers classes."""
        found = self.reader.of_subject(group.rows([row]))[0]
        if self.numbers:
            if found.label >= len(self.numbers):
                raise InputError("a sample has a label that is no class.")
            object.__setattr__(found, "label", self.numbers[found.label])
        return found

    def theirs(self, verdict: Classified) -> Classified:
        """A verdict with classes as the model numbers them."""
        return Classified(self.numbers[verdict.label], self.numbers[verdict.predicted])

    def ours(self, verdict: Classified) -> Classified:
        """A verdict with classes as the run numbers them."""
        return Classified(self.numbers.index(verdict.label), self.numbers.index(verdict.predicted))


def reopen(bundle: Bundle, model: Any, batch_size: int, device_type: str) -> Reopened:
    """Open a model on a bundle.

    :param model: ``None`` for the one that the bundle names.
    :raises InputError: If it cannot be loaded, or does not take what the bundle holds.
    """
    header, task = bundle.header, bundle.header["task"]
    try:
        stored = header["settings"]
        # A run has no such entry where the resize is the model's own.
        stored = {"resize": None, **stored} if isinstance(stored, dict) else stored
        settings = entries(stored, _SETTINGS, "the settings")
        _check_for_summary(header)
        spec = entries(header["model"], {"spec": str, "weights_sha256": str}, "the model of the run")
        if task not in _KINDS:
            raise ValueError(f"{shown(task)[:40]} is no task")
    except ValueError as error:
        raise InputError(f"{shown(bundle.folder)} cannot be used: {error}.") from error
    own = model is None
    if own:
        check_loaded(header.get("plugins", ()), "The bundle")
        model = spec["spec"]
        if model.startswith((_RUNS_A_FILE, _LOADED)):
            why = "runs code of that name here" if model.startswith(_RUNS_A_FILE) else "came from Python, unnamed"
            raise InputError(f"The bundle's model, {shown(model)[:80]}, {why}: name one as MODEL that you trust.")
    name = model if isinstance(model, str) else type(model).__name__
    loaded = load_model(model) if isinstance(model, str) else model
    if getattr(loaded, "kind", None) not in _KINDS[task]:
        kind = getattr(loaded, "kind", type(loaded).__name__)
        raise InputError(f"{shown(name)} is a {kind}, and the bundle is of a {_KINDS[task][0]} (task {task}).")
    reader, subject, numbers = _subject(bundle, loaded, name, settings, batch_size, device_type)
    # Random defences draw in every pass, as in the audit.
    size = settings["group_size"] if subject.views.draws > 1 else batch_size
    if task == RETRIEVAL:
        order = subject.data.order
        subject.select(order)
        if getattr(subject, "own_notes", ()):
            raise InputError(f"{shown(name)}: {subject.own_notes[0]}.")
        subject.prepare(order, size)
    weights = str(subject.describe(name)["weights_sha256"])
    same = weights == spec["weights_sha256"]
    return Reopened(name, subject, reader, weights, same, same or own, size, settings["seed"], numbers)


def _check_for_summary(header: dict[str, Any]) -> None:
    """Check what numbers of a report are computed from besides lines.

    :raises ValueError: Saying what is wrong.
    """
    if header["task"] == SAMPLES:
        found = entries(header["data"], {"modalities": list[Any]}, "data of the header")["modalities"]
        for one in found:
            entries(one, {"name": str, "kind": str}, "a modality")
    if "word_curve" in header["budget"]:
        entries(header["budget"], {"word_curve": tuple[int, ...]}, "the budget")


def _subject(
    bundle: Bundle, model: Any, name: str, settings: dict[str, Any], batch_size: int, device_type: str
) -> tuple[BundledSamples, Subject, tuple[int, ...]]:
    header, task = bundle.header, bundle.header["task"]
    classes = tuple(header["data"]["class_names"])
    numbers = tuple(range(len(classes)))
    answers = model.kind == AnsweringModel.kind
    if task in (PAIRS, SAMPLES) and not answers:
        numbers = _numbers(classes, model.class_names, name)
    if task == SAMPLES:
        known = [one["name"] for one in header["data"]["modalities"]]
        if sorted(known) != sorted(model.modalities):
            theirs = shown(", ".join(known))[:200]
            raise InputError(f"{shown(name)} takes {', '.join(model.modalities)}, and the bundle holds {theirs}.")
    reader = BundledSamples(bundle, model.modalities if task == SAMPLES else None)
    batches = {one.index: line.batch for line in bundle.lines() if line.attack == CLEAN for one in line.samples}
    if not batches:
        raise InputError(f"{shown(bundle.folder)} holds no sample: none could be read.")
    data: Any
    if task == RETRIEVAL:
        data = BundledCaptions(reader, batches)
    elif task == SAMPLES:
        data = BundledMultimodal(reader, next(iter(batches.values())))
    else:
        data = BundledImages(bundle)
    asked = AuditSettings(
        model=model,
        data=data,
        task="retrieval" if task == RETRIEVAL else "classification",
        batch_size=batch_size,
        seed=settings["seed"],
        templates=(tuple(header["data"]["templates"]) or None) if task == ZERO_SHOT and not answers else None,
        defences=tuple(header.get("defences", ())),
        draws=settings["draws"],
        resize=settings["resize"],
    )
    subject = open_subject(asked, device_type)
    check_same_files(header, subject.defence_files, "The run of the bundle", ": the bundle does not hold it")
    return reader, subject, numbers


def _numbers(classes: Sequence[str], known: Sequence[str], name: str) -> tuple[int, ...]:
    """Of each class its number among those that a model knows."""
    if sorted(classes) != sorted(known) or len(set(classes)) != len(classes):
        raise InputError(
            f"{shown(name)} answers {shown(', '.join(known))[:120]}, and the bundle is about "
            f"{shown(', '.join(classes))[:120]}."
        )
    place = {one: number for number, one in enumerate(known)}
    return tuple(place[one] for one in classes)
