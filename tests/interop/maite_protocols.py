"""Every adapter in the place of a protocol of MAITE, for a type checker; nothing here is called."""

from __future__ import annotations

from typing import Any

from maite.protocols import ArrayLike, DatumMetadata
from maite.protocols import generic as gen
from maite.protocols import image_classification as ic
from maite.tasks import evaluate

from art_multimodal.interop.maite import (
    MaiteAttack,
    MaiteDataset,
    MaiteModel,
    RobustAccuracy,
    SamplesAttack,
    SamplesDataset,
    SamplesModel,
    from_maite_dataset,
    from_maite_model,
    pairs,
)
from art_multimodal.interop.maite.pairs import MultimodalDatum


def of_images(classifier: Any) -> None:
    model: ic.Model = MaiteModel(classifier)
    dataset: ic.Dataset = MaiteDataset("demo:digits")
    by_field: ic.FieldwiseDataset = MaiteDataset("demo:digits")
    attack: ic.Augmentation = MaiteAttack("pgd", classifier)
    metric: ic.Metric = RobustAccuracy()
    evaluate(model=model, dataset=dataset, augmentation=attack, metric=metric)
    from_maite_model(model)
    from_maite_dataset(by_field)


def of_samples(classifier: Any) -> None:
    model: pairs.Model = SamplesModel(classifier)
    dataset: pairs.Dataset = SamplesDataset("demo:shapes", classifier)
    attack: pairs.Augmentation = SamplesAttack("joint", classifier)
    # And the proposal is what MAITE's generic protocols say of such inputs.
    generic: gen.Model[MultimodalDatum, ArrayLike] = model
    data: gen.Dataset[MultimodalDatum, ArrayLike, DatumMetadata] = dataset
    augmentation: gen.Augmentation[
        MultimodalDatum, ArrayLike, DatumMetadata, MultimodalDatum, ArrayLike, DatumMetadata
    ] = attack
    metric: gen.Metric[ArrayLike, DatumMetadata] = RobustAccuracy()
    evaluate(model=generic, dataset=data, augmentation=augmentation, metric=metric)
