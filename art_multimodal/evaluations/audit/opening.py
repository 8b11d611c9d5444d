"""From settings to a model with its data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from art_multimodal.datasets import CaptionedImages, LabelledImages, open_captioned, open_images
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.evaluations.audit.classification import ClassificationSubject
from art_multimodal.evaluations.audit.defending import behind
from art_multimodal.evaluations.audit.retrieval import RetrievalSubject
from art_multimodal.evaluations.audit.settings import AuditSettings
from art_multimodal.evaluations.audit.subject import Subject
from art_multimodal.labels import class_indices
from art_multimodal.models.base import ImageTextModel
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.families.custom.given import as_dual_encoder
from art_multimodal.models.fusion import FusionModel
from art_multimodal.models.loading import load_model
from art_multimodal.models.multimodal import MultimodalModel
from art_multimodal.prompts import check_templates


def open_subject(settings: AuditSettings, device_type: str) -> Subject:
    """Load the model and open the data that settings name.

    :raises InputError: If either cannot be used, or they do not fit together.
    """
    model = _model(settings)
    if settings.task == "retrieval":
        return _open_retrieval(settings, model, device_type)
    if isinstance(model, DualEncoder):
        return _open_zero_shot(settings, model, device_type)
    return _open_pairs(settings, model, device_type)


def _model(settings: AuditSettings) -> DualEncoder | FusionModel:
    given = load_model(settings.model) if settings.loaded_model is None else settings.loaded_model
    if isinstance(given, MultimodalModel):
        raise InputError(
            f"{settings.model} is a model over {', '.join(given.modalities)}: audits, which know images and texts, do "
            "not take it yet. In Python: FusionClassifier(model), see the page Modalities."
        )
    if settings.loaded_model is None:
        return given
    model = given if isinstance(given, FusionModel) else as_dual_encoder(given)
    return model.eval()


def _labelled(settings: AuditSettings, classes: Sequence[str] | None, model: ImageTextModel) -> LabelledImages:
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


def _transform(settings: AuditSettings, model: ImageTextModel) -> Callable[[Any], Any] | None:
    """What is done to photos as they are read."""
    return None if settings.native_size else model.preprocess.reduce_photo


def _open_retrieval(settings: AuditSettings, model: DualEncoder | FusionModel, device_type: str) -> Subject:
    if not isinstance(model, DualEncoder):
        raise InputError(f"{settings.model} is a fusion model. Retrieval needs a dual encoder, such as demo:scenes.")
    for name, value in (("--templates", settings.templates), ("--classes", settings.classes)):
        if value is not None:
            raise InputError(f"Retrieval has captions and no classes: leave out {name}.")
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
    return ClassificationSubject(classifiers, data, range(len(names)), settings.seed, templates)


def _open_pairs(settings: AuditSettings, model: FusionModel, device_type: str) -> Subject:
    if settings.templates is not None:
        raise InputError(f"{settings.model} is a fusion model: it reads the texts of the data, not --templates.")
    answers = ", ".join(repr(name) for name in model.class_names[:8])
    answers += f", ... ({len(model.class_names)})" if len(model.class_names) > 8 else ""
    in_file = settings.data.startswith("csv:")
    try:
        # A file's labels may be indices into the model's answers.
        data = _labelled(settings, settings.classes or (model.class_names if in_file else None), model)
    except InputError as error:
        if not in_file:
            raise
        raise InputError(
            f"{error} {settings.model} needs the columns image, text and label, with its answers as labels: {answers}."
        ) from error
    if len(data) and data.text_of(0) is None:
        raise InputError(
            f"{settings.model} is a fusion model, which needs a text with every image, and {settings.data} has none. "
            "Use demo:shapes, or csv:PATH with the columns image, text and label."
        )
    missing = [name for name in data.class_names if name not in model.class_names]
    if missing:
        raise InputError(f"The label {missing[0]!r} is none of the answers of {settings.model}: {answers}.")
    views = behind(model, settings.defences, (*model.class_names, *data.protected_words), settings.draws)
    return ClassificationSubject(
        views.map(lambda one: FusionClassifier(one, device_type=device_type)),
        data,
        class_indices(data.class_names, model.class_names),
        settings.seed,
    )
