"""The embedded scenes model: finds images by captions and captions by images, in wordings that are new to it, too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from art_multimodal import InputError, load_model
from art_multimodal.demo.scene_captions import HELD_OUT_WORDINGS, word_objects
from art_multimodal.demo.scene_encoder import WEIGHTS, SceneEncoder
from art_multimodal.demo.scenes import NOTHING, draw, place_objects
from art_multimodal.demo.scenes_data import ScenesData, object_sets


@pytest.fixture(scope="module")
def model() -> SceneEncoder:
    return load_model("demo:scenes")


@pytest.fixture(scope="module")
def gallery(model) -> tuple[ScenesData, Tensor]:
    data = ScenesData()
    with torch.no_grad():
        return data, model.encode_image(torch.from_numpy(data.images))


def recalls(model: SceneEncoder, images: Tensor, captions: list[str]) -> tuple[float, float]:
    """Recall@1 of images by captions and of captions by images that belong together row by row."""
    with torch.no_grad():
        similarity = (images @ model.encode_text(model.tokenize(captions)).T).numpy()
    rows = np.arange(len(captions))
    return float((similarity.argmax(axis=0) == rows).mean()), float((similarity.argmax(axis=1) == rows).mean())


def test_retrieval_in_known_wordings(model, gallery) -> None:
    data, images = gallery
    assert min(recalls(model, images, [captions[0] for captions in data.captions])) >= 0.95


def test_retrieval_in_wordings_that_it_was_not_trained_on(model, gallery) -> None:
    data, images = gallery
    assert min(recalls(model, images, [captions[1] for captions in data.captions])) >= 0.9
    # Each of them by itself, on every fourth image.
    rng = np.random.default_rng(0)
    rows = data.scenes.kinds[::4]
    lists = [word_objects(row[row != NOTHING].tolist(), rng) for row in rows]
    for wording in HELD_OUT_WORDINGS:
        assert min(recalls(model, images[::4], [wording.format(objects) for objects in lists])) >= 0.8, wording


def test_retrieval_among_all_sets_in_newly_drawn_images(model) -> None:
    rng = np.random.default_rng(8)
    sets = object_sets()
    with torch.no_grad():
        images = model.encode_image(torch.from_numpy(draw(place_objects(sets, rng), rng)))
    captions = [f"a picture of {word_objects(row[row != NOTHING].tolist(), rng)}" for row in sets]
    assert min(recalls(model, images, captions)) >= 0.95


def test_it_reads_which_colour_is_whose(model) -> None:
    """Of two captions with the same words, the true one is nearer: colours and shapes are not taken as two bags."""
    rng = np.random.default_rng(3)
    kinds = np.array([(0, 6, NOTHING), (2, 4, NOTHING)] * 50)  # a red circle and a blue square, or the other way round
    with torch.no_grad():
        images = model.encode_image(torch.from_numpy(draw(place_objects(kinds, rng), rng)))
        texts = ["a picture of a red circle and a blue square", "a picture of a blue circle and a red square"]
        similarity = images @ model.encode_text(model.tokenize(texts)).T
    assert float((similarity.argmax(dim=1) == torch.tensor([0, 1] * 50)).float().mean()) >= 0.95


def test_the_order_of_the_objects_changes_little(model, gallery) -> None:
    _, images = gallery
    with torch.no_grad():
        first, second = model.encode_text(
            model.tokenize(["a photo of a red circle and a green square", "a photo of a green square and a red circle"])
        )
    assert torch.equal((images @ first).topk(1).indices, (images @ second).topk(1).indices)
    assert float(first @ second) > 0.9


def test_weights_are_small_and_fit() -> None:
    assert WEIGHTS.stat().st_size <= 2_000_000
    model = load_model("demo:scenes")
    assert set(model.state_dict()) == set(SceneEncoder().state_dict())
    assert not model.training
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}


def test_other_sizes_and_odd_texts(model) -> None:
    with torch.no_grad():
        logits = model(torch.rand(2, 3, 40, 50), model.tokenize(["kırmızı daire", "\u202ered", "🔴"]))
    assert logits.shape == (2, 3) and torch.isfinite(logits).all()
    model.tokenize(["x" * 126])
    with pytest.raises(InputError, match="more than the 128 tokens"):
        model.tokenize(["é" * 64])


def test_training_script_runs_and_is_repeatable(tmp_path, monkeypatch, capsys) -> None:
    from tools.demo_models import train_scenes

    threads = torch.get_num_threads()
    out = tmp_path / "weights.safetensors"
    monkeypatch.setattr("sys.argv", ["train", "--steps", "3", "--batch-size", "8", "--out", str(out)])
    try:
        train_scenes.main()
        assert "wrote 448545 parameters" in capsys.readouterr().out
        first = out.read_bytes()
        train_scenes.main()
        assert out.read_bytes() == first
    finally:
        torch.set_num_threads(threads)


def test_texts_of_one_length_together_are_embedded_the_same(model, gallery) -> None:
    from tools.demo_models.train_scenes import embed_texts

    texts = [captions[0] for captions in gallery[0].captions[:30]]
    with torch.no_grad():
        torch.testing.assert_close(
            embed_texts(model, texts), model.encode_text(model.tokenize(texts)), rtol=1e-5, atol=1e-6
        )


def test_the_curriculum_starts_with_single_objects() -> None:
    from tools.demo_models.train_scenes import Curriculum

    sets = object_sets()
    curriculum = Curriculum(sets)
    rng = np.random.default_rng(0)
    early, late = (
        (sets[curriculum.draw(2000, progress, rng)] != NOTHING).sum(axis=1).mean() for progress in (0.0, 0.4)
    )
    assert early == pytest.approx(1.2, abs=0.05) and late == pytest.approx(2.45, abs=0.05)
    assert len(np.unique(curriculum.draw(6000, 1.0, rng))) > 290
