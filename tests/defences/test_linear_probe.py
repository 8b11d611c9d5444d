"""What training without labels is worth to a linear head, against an encoder that has learned nothing (UmURL)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from art_multimodal import FusionClassifier
from art_multimodal.defences.trainer import FusionTrainer, FusionTrainerUmURL, Method, TrainingSettings
from art_multimodal.demo.skeleton import PARENTS
from art_multimodal.demo.skeleton_data import SkeletonData
from art_multimodal.functional.fusion_objectives import fused
from art_multimodal.functional.statistics import paired_difference_ci95
from art_multimodal.models.fusions import UnifiedStream

#: A linear head on what does not move.
PROBE = Method(fused, "a linear head", trains=lambda name: name.startswith("head."))


@pytest.mark.slow
def test_a_linear_head_knows_more_of_what_was_learned_without_labels() -> None:
    """On figures that were not seen, by the whole interval; half a minute."""
    train, test = SkeletonData("train"), SkeletonData("test")
    x, y = train.samples(), train.labels
    right = []
    for learns in (False, True):
        torch.manual_seed(0)
        (joint,) = train.modalities.values()
        model = UnifiedStream(joint, train.class_names, PARENTS, hidden=16, projection=32)
        of = FusionClassifier(model, device_type="cpu")
        if learns:
            FusionTrainerUmURL(of, TrainingSettings(learning_rate=5e-3)).fit(x, y, batch_size=120, nb_epochs=26)
        FusionTrainer(of, PROBE, TrainingSettings(learning_rate=1e-2)).fit(x, y, batch_size=120, nb_epochs=20)
        right.append(of.predict_labels(test.samples()) == test.labels)
    low, _ = paired_difference_ci95(right[1].tolist(), right[0].tolist())
    assert low > 0.1 and np.mean(right[0]) < 0.6
