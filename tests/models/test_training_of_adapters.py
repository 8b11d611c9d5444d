"""Models of other libraries are trained tower by tower, and their checkpoints can be gone on with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from art_multimodal import ZeroShotClassifier
from art_multimodal.defences.trainer import DualEncoderTrainer, TrainingSettings
from art_multimodal.models.loading import load_model

HUGGING_FACE = ["align", "altclip", "blip", "chinese_clip", "clip", "clipseg", "metaclip_2", "siglip"]
OPEN_CLIP = ["tiny-test", "tiny-test-coca", "tiny-test-sigmoid", "tiny-test-end-is-pad"]
TEXTS = ["a cat", "red dog"]
NAMES = ("cat", "dog", "car")


@pytest.fixture(params=[*HUGGING_FACE, *OPEN_CLIP])
def source(request, saved, open_clip_checkpoint) -> str:
    if request.param in HUGGING_FACE:
        return f"hf:{saved(request.param).folder}"
    return f"open_clip:{request.param}/{open_clip_checkpoint(request.param)[1]}"


def embeddings(model, images) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        return model.encode_image(torch.from_numpy(images)), model.encode_text(model.tokenize(TEXTS).to(model.device))


@pytest.mark.parametrize("towers", ["image", "text"])
def test_the_other_tower_stays(source, towers, tmp_path):
    images = np.random.default_rng(0).random((6, 3, 32, 32), dtype=np.float32)
    labels = np.arange(6) % 3
    settings = TrainingSettings(towers=towers, learning_rate=1e-2, max_iter=1)

    def trained(epochs_seen: int | None = None, **arguments):
        model = load_model(source)
        estimator = ZeroShotClassifier(model, NAMES, ("a {}", "red {}"), device_type="cpu")
        trainer = DualEncoderTrainer(estimator, "mmcoa", settings)

        def callback(record):
            if record.place.epoch == epochs_seen:
                raise KeyboardInterrupt

        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}, embeddings(model, images)
        try:
            trainer.fit(images, labels, batch_size=6, nb_epochs=2, callback=callback, **arguments)
        except KeyboardInterrupt:
            assert epochs_seen is not None
        return before, model

    (before, (image_before, text_before)), model = trained()
    image_after, text_after = embeddings(model, images)
    assert torch.equal(image_before, image_after) == (towers == "text")
    assert torch.equal(text_before, text_after) == (towers == "image")
    state = model.state_dict()
    for name in before:
        if "logit_scale" in name or "logit_bias" in name or "temperature" in name or "running" in name:
            assert torch.equal(before[name], state[name]), name

    trained(1, checkpoint=tmp_path)
    _, again = trained(checkpoint=tmp_path, resume=True)
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state_dict().items())
