"""From settings to a model with its data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from art_multimodal.datasets import (
    CaptionedImages,
    LabelledImages,
    LabelledSamples,
    open_captioned,
    open_images,
    open_samples,
)
from art_multimodal.datasets.answers import check_questions, open_answers, samples_with_answers
from art_multimodal.datasets.loading import no_samples
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.evaluations.audit.answering import open_answering
from art_multimodal.evaluations.audit.classification import ClassificationSubject
from art_multimodal.evaluations.audit.defence_files import files_of
from art_multimodal.evaluations.audit.defending import at_test_time, behind, notes_at_test_time, refuse_test_time
from art_multimodal.evaluations.audit.multimodal import MultimodalSubject
from art_multimodal.evaluations.audit.retrieval import RetrievalSubject
from art_multimodal.evaluations.audit.settings import AuditSettings
from art_multimodal.evaluations.audit.subject import Subject
from art_multimodal.evaluations.audit.surrogates import notes_on, open_surrogates
from art_multimodal.evaluations.suite import SAMPLES, ZERO_SHOT
from art_multimodal.evaluations.suite.selection import check_modality_names
from art_multimodal.labels import class_indices
from art_multimodal.models.base import ImageTextModel
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.families.custom.answers import AnsweringModel
from art_multimodal.models.families.custom.given import as_dual_encoder
from art_multimodal.models.fusion import FusionModel
from art_multimodal.models.loading import load_model
from art_multimodal.models.multimodal import MultimodalModel
from art_multimodal.models.resized import with_resize
from art_multimodal.prompts import check_templates
from art_multimodal.shown import shown


def open_subject(settings: AuditSettings, device_type: str) -> Subject:
    """Load the model and open the data that settings name.

    :raises InputError: If either cannot be used, or they do not fit together.
    """
    model = _model(settings)
    if settings.task == "retrieval":
        subject = _open_retrieval(settings, model, device_type)
    else:
        subject = _OPENING[model.kind](settings, model, device_type)
    subject.defence_files = files_of(settings.defences)
    return _with_surrogates(settings, subject, device_type) if settings.surrogates else subject


def _with_surrogates(settings: AuditSettings, subject: Subject, device_type: str) -> Subject:
    if subject.task != ZERO_SHOT:
        raise InputError(
            f"--surrogate is for models that classify images; {settings.model} is asked about {subject.task} here. "
            "Leave it out."
        )
    templates = subject.templates or settings.templates or subject.data.templates
    subject.surrogates = open_surrogates(
        settings.surrogates, settings.loaded_surrogates, subject.class_names, templates, device_type
    )
    subject.own_notes += notes_on(subject.surrogates, str(subject.describe(settings.model)["weights_sha256"]))
    return subject


def _model(settings: AuditSettings) -> Any:
    if settings.loaded_model is None:
        model = load_model(settings.model)
    else:
        given = settings.loaded_model
        # One of another library becomes a dual encoder.
        model = (given if getattr(given, "kind", None) in _OPENING else as_dual_encoder(given)).eval()
    return model if settings.resize is None else with_resize(model, settings.resize)


def _labelled(
    settings: AuditSettings, classes: Sequence[str] | None, model: ImageTextModel | AnsweringModel
) -> LabelledImages:
    data = settings.loaded_data
    if data is None:
        return open_images(settings.data, classes, _transform(settings, model))
    if not isinstance(data, LabelledImages):
        raise InputError(
            "Data must be named (folder:PATH), LabelledArrays(images, labels, class_names) or a LabelledImages of your "
            f"own, not {type(data).__name__}."
        )
    if settings.classes is not None:
        raise InputError(f"{type(data).__name__} has class names: give others there, and leave out classes.")
    return data


def _captioned(settings: AuditSettings, model: ImageTextModel) -> CaptionedImages:
    data = settings.loaded_data
    if data is None:
        return open_captioned(settings.data, _transform(settings, model))
    if not isinstance(data, CaptionedImages):
        raise InputError(
            "Data for retrieval must be named (csv:PATH), CaptionedArrays(images, captions) or a CaptionedImages of "
            f"your own, not {type(data).__name__}."
        )
    return data


def _transform(settings: AuditSettings, model: ImageTextModel | AnsweringModel) -> Callable[[Any], Any] | None:
    """What is done to photos as they are read."""
    return None if settings.native_size else model.preprocess.reduce_photo


def _open_retrieval(settings: AuditSettings, model: Any, device_type: str) -> Subject:
    if model.kind != DualEncoder.kind:
        raise InputError(f"{settings.model} is a {model.kind}. Retrieval needs a dual encoder, such as demo:scenes.")
    for name, value in (("--templates", settings.templates), ("--classes", settings.classes)):
        if value is not None:
            raise InputError(f"Retrieval has captions and no classes: leave out {name}.")
    refuse_test_time(settings.defences, "Retrieval looks for texts of images")
    data = _captioned(settings, model)
    views = behind(model, settings.defences, data.protected_words, settings.draws)
    retrievers = views.map(lambda one: ImageTextRetriever(one, device_type=device_type))
    return RetrievalSubject(retrievers, data, settings.seed)


def _open_zero_shot(settings: AuditSettings, model: DualEncoder, device_type: str) -> Subject:
    data = _labelled(settings, settings.classes, model)
    if not (settings.templates or data.templates):
        raise InputError(
            f"{settings.data} asks questions about its images, which a dual encoder does not read. Use a fusion "
            "model, such as demo:shapes, or give --templates."
        )
    templates = check_templates(settings.templates or data.templates)
    names = data.class_names
    views = behind(model, settings.defences, (*names, *data.protected_words, *templates), settings.draws)
    classifiers = views.map(lambda one: ZeroShotClassifier(one, names, templates, device_type=device_type))
    if settings.smoothing is not None:
        refuse_test_time(settings.defences, "Certificates (--keep) ask the model about what is left of an image")
    classifiers = at_test_time(classifiers, settings.defences, settings.draws, settings.seed)
    subject = ClassificationSubject(classifiers, data, range(len(names)), settings.seed, templates)
    subject.own_notes += notes_at_test_time(classifiers)
    return subject


def _open_pairs(settings: AuditSettings, model: FusionModel, device_type: str) -> Subject:
    if settings.templates is not None:
        raise InputError(f"{settings.model} is a fusion model: it reads the texts of the data, not --templates.")
    refuse_test_time(settings.defences, f"{settings.model} is a fusion model")
    if settings.loaded_data is None:
        classes, transform = settings.classes, _transform(settings, model)
        data = open_answers(settings.data, settings.model, model.class_names, classes, transform)
    else:
        data = _labelled(settings, settings.classes, model)
        check_questions(data, settings.data, settings.model, model.class_names)
    views = behind(model, settings.defences, (*model.class_names, *data.protected_words), settings.draws)
    return ClassificationSubject(
        views.map(lambda one: FusionClassifier(one, device_type=device_type)),
        data,
        class_indices(data.class_names, model.class_names),
        settings.seed,
    )


def _open_answering(settings: AuditSettings, model: AnsweringModel, device_type: str) -> Subject:
    return open_answering(settings, model, _labelled(settings, settings.classes, model))


def _open_samples(settings: AuditSettings, model: MultimodalModel, device_type: str) -> Subject:
    what = f"{settings.model} is a model over {', '.join(model.modalities)}"
    if settings.templates is not None:
        raise InputError(f"{what}: it reads no class prompts, so leave out --templates.")
    if settings.native_size:
        raise InputError(f"{what}, whose samples are arrays and no photos: leave out --native-size.")
    if settings.defences:
        raise InputError(
            f"{what}: --defence stands in front of images and of texts of pairs. In Python give "
            "preprocessing_defences by modality to FusionClassifier."
        )
    check_modality_names(model.modalities)
    data = _labelled_samples(settings, model)
    checked, labels = samples_with_answers(data, settings.data, settings.model, model.modalities, model.class_names)
    left_out = [name for name in data.modalities if name not in model.modalities]
    subject = MultimodalSubject(model, checked, labels, data, device_type)
    if left_out:
        subject.own_notes += (f"{shown(', '.join(left_out))} of the data is not used: the model does not take it",)
    return subject


def _labelled_samples(settings: AuditSettings, model: MultimodalModel) -> LabelledSamples:
    data = settings.loaded_data
    if data is None:
        wanted = model.modalities.values()
        return open_samples(settings.data, wanted, settings.classes, model.class_names, settings.model)
    if not isinstance(data, LabelledSamples):
        raise no_samples(settings.model, model.modalities.values(), type(data).__name__)
    if settings.classes is not None:
        raise InputError(f"{type(data).__name__} has class names: give others there, and leave out classes.")
    return data


def notes_on_radii(settings: AuditSettings, subject: Subject) -> tuple[str, ...]:
    """Says which modalities move by a share of their range, since nothing else was given."""
    modalities = subject.model.modalities if subject.task == SAMPLES else {}
    unnamed = settings.unnamed(modalities)
    if not unnamed:
        return ()
    balls = settings.balls(modalities)
    each = ", ".join(f"{name} {balls[name].eps:.4g}" for name in unnamed)
    return (f"no eps was given for {', '.join(unnamed)}, which may move by a share of the range: {each} (see --eps)",)


#: By what a model says that it is.
_OPENING: dict[str, Callable[[AuditSettings, Any, str], Subject]] = {
    DualEncoder.kind: _open_zero_shot,
    FusionModel.kind: _open_pairs,
    MultimodalModel.kind: _open_samples,
    AnsweringModel.kind: _open_answering,
}
