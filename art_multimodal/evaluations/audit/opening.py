"""From settings to a model with its data."""

from __future__ import annotations

from art_multimodal.datasets import open_captioned, open_data
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.evaluations.audit.classification import ClassificationSubject
from art_multimodal.evaluations.audit.retrieval import RetrievalSubject
from art_multimodal.evaluations.audit.settings import AuditSettings
from art_multimodal.evaluations.audit.subject import Subject
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.loading import load_model
from art_multimodal.prompts import check_templates


def open_subject(settings: AuditSettings, device_type: str) -> Subject:
    """Load the model and open the data that settings name.

    :raises InputError: If either cannot be used, or they do not fit together.
    """
    model = load_model(settings.model)
    transform = None if settings.native_size else model.preprocess.reduce_photo
    if settings.task == "retrieval":
        if not isinstance(model, DualEncoder):
            raise InputError(
                f"{settings.model} is a fusion model. Retrieval needs a dual encoder, such as demo:scenes."
            )
        for name, value in (("--templates", settings.templates), ("--classes", settings.classes)):
            if value is not None:
                raise InputError(f"Retrieval has captions and no classes: leave out {name}.")
        return RetrievalSubject(
            ImageTextRetriever(model, device_type=device_type), open_captioned(settings.data, transform)
        )
    if isinstance(model, DualEncoder):
        data = open_data(settings.data, classes=settings.classes, transform=transform)
        if not (settings.templates or data.templates):
            raise InputError(
                f"{settings.data} asks questions about its images, which a dual encoder does not read. Use a fusion "
                "model, such as demo:shapes, or give --templates."
            )
        templates = check_templates(settings.templates or data.templates)
        estimator = ZeroShotClassifier(model, data.class_names, templates, device_type=device_type)
        return ClassificationSubject(estimator, data, range(len(data.class_names)), templates)
    if settings.templates is not None:
        raise InputError(f"{settings.model} is a fusion model: it reads the texts of the data, not --templates.")
    answers = ", ".join(repr(name) for name in model.class_names[:8])
    answers += f", ... ({len(model.class_names)})" if len(model.class_names) > 8 else ""
    in_file = settings.data.startswith("csv:")
    try:
        # A file's labels may be indices into the model's answers.
        data = open_data(settings.data, settings.classes or (model.class_names if in_file else None), transform)
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
    return ClassificationSubject(
        FusionClassifier(model, device_type=device_type),
        data,
        [model.class_names.index(name) for name in data.class_names],
    )
