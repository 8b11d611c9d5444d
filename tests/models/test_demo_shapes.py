"""The embedded fusion models: accurate on both modalities together, at chance on either, equal in size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from art_multimodal import InputError, load_model
from art_multimodal.demo.shapes import (
    FUSIONS,
    MOST_WORDS,
    PAD,
    START,
    UNKNOWN,
    ShapesModel,
    load_shapes,
    new_shapes,
    split_words,
    weights_of,
)
from art_multimodal.demo.shapes_data import ShapesData
from art_multimodal.models.fusion import FusionModel, take_rows


@pytest.fixture(scope="module")
def data() -> ShapesData:
    return ShapesData()


@pytest.fixture(scope="module", params=FUSIONS)
def model(request) -> ShapesModel:
    return load_shapes(request.param)


@torch.no_grad()
def accuracy(model: ShapesModel, images: np.ndarray, texts, labels: np.ndarray) -> float:
    scores = model(torch.from_numpy(images), model.tokenize(list(texts)))
    return float((scores.argmax(dim=1).numpy() == labels).mean())


def test_clean_accuracy(model, data) -> None:
    assert accuracy(model, data.images, data.texts, data.labels) >= 0.95


def test_without_one_modality_it_is_at_chance(model, data) -> None:
    # Exactly a half: a group's rows then differ in one modality only, which stands beside both answers.
    assert accuracy(model, data.images, [""] * len(data), data.labels) == pytest.approx(0.5, abs=0.005)
    grey = np.full_like(data.images, 0.5)
    assert accuracy(model, grey, data.texts, data.labels) == pytest.approx(0.5, abs=0.005)


def test_both_kinds_of_questions_are_answered(model, data) -> None:
    related = np.array([len(split_words(text)) > 6 for text in data.texts])
    for rows in (related, ~related):
        texts = [text for text, chosen in zip(data.texts, rows, strict=True) if chosen]
        assert accuracy(model, data.images[rows], texts, data.labels[rows]) >= 0.93


def test_fusions_are_equal_in_size() -> None:
    sizes = [sum(p.numel() for p in new_shapes(fusion).parameters()) for fusion in FUSIONS]
    assert max(sizes) <= 1.05 * min(sizes)


def test_weights_are_small_and_fit() -> None:
    assert sum(weights_of(fusion).stat().st_size for fusion in FUSIONS) <= 6_000_000
    for fusion in FUSIONS:
        model = load_shapes(fusion)
        assert not model.training
        assert all(p.dtype == torch.float32 for p in model.parameters())


def test_named() -> None:
    assert isinstance(load_model("demo:shapes"), FusionModel)
    for fusion in FUSIONS:
        assert type(load_model(f"demo:shapes/{fusion}")) is type(new_shapes(fusion))
    with pytest.raises(InputError, match="Did you mean .*shapes/late"):
        load_model("demo:shapes/lat")
    with pytest.raises(InputError, match="Unknown fusion"):
        load_shapes("early")


@torch.no_grad()
def test_padding_does_not_matter(model, data) -> None:
    texts = ["", "is there a red circle", "is there a red circle to the left of the blue square"]
    images = torch.from_numpy(data.images[:12:4])
    together = model(images, model.tokenize(texts))
    alone = torch.cat([model(images[i : i + 1], model.tokenize(texts[i : i + 1])) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_separate_towers_give_the_scores_of_fuse(model, data) -> None:
    images, tokens = torch.from_numpy(data.images[:8]), model.tokenize(data.texts[:8])
    fused = model.fuse(images, tokens)
    torch.testing.assert_close(model.predict(fused), model(images, tokens))
    assert model.separate_towers == (not type(model).__name__.startswith("CrossAttention"))
    if model.separate_towers:
        rows = torch.arange(7, -1, -1)
        joined = model.join(model.encode_image(images), model.encode_text(take_rows(tokens, rows))[rows])
        torch.testing.assert_close(joined, fused, rtol=1e-4, atol=1e-5)


def test_gradients_reach_the_image(model, data) -> None:
    images = torch.from_numpy(data.images[:4]).requires_grad_()
    model(images, model.tokenize(data.texts[:4]))[:, 1].sum().backward()
    assert (images.grad.abs().amax(dim=(1, 2, 3)) > 0).all()


@torch.no_grad()
def test_images_of_any_size_and_type(model) -> None:
    tokens = model.tokenize(["is there a red circle"] * 2)
    assert model(torch.rand(2, 3, 40, 64), tokens).shape == (2, 2)
    assert model(torch.rand(2, 3, 32, 32, dtype=torch.float64), tokens).dtype == torch.float32


def test_words_as_tokens() -> None:
    model = new_shapes("concat")
    tokens = model.tokenize(["Is there a 'Red' circle, ?", "is there a red circle", "is there a mauve circle", ""])
    assert tokens.shape == (4, MOST_WORDS + 1) and tokens.dtype == torch.long
    assert torch.equal(tokens[0], tokens[1])
    assert (tokens[2] == UNKNOWN).tolist().index(True) == 4
    assert tokens[3].tolist() == [START] + [PAD] * MOST_WORDS


def test_every_question_is_made_of_known_words(data) -> None:
    assert not (new_shapes("concat").tokenize(data.texts) == UNKNOWN).any()


@torch.no_grad()
@pytest.mark.parametrize("text", ["", "?", "red", "a of the", "qwerty", "سبعة", "is is is"])
def test_incomplete_and_strange_texts_are_answered(model, text: str) -> None:
    assert torch.isfinite(model(torch.rand(1, 3, 32, 32), model.tokenize([text]))).all()


def test_too_long_is_said_not_cut() -> None:
    model = new_shapes("concat")
    model.tokenize(["red " * MOST_WORDS])
    with pytest.raises(InputError, match="25 words, more than the 24"):
        model.tokenize(["fine", "red " * (MOST_WORDS + 1)])
    with pytest.raises(InputError, match="must be a string, not int"):
        model.tokenize([3])


def test_what_is_no_list_of_texts_is_refused_as_by_other_models() -> None:
    model = new_shapes("concat")
    for texts, message in (({"red": 1}, "not dict"), ([], "no texts"), (["\ud800"], "lone surrogate")):
        with pytest.raises(InputError, match=message):
            model.tokenize(texts)


@pytest.mark.parametrize(("fusion", "modality"), [("late", "both"), ("cross_attention", "image"), ("gated", "text")])
def test_training_script_runs_and_repeats(tmp_path, monkeypatch, capsys, fusion: str, modality: str) -> None:
    from tools.demo_models import train_shapes

    out = tmp_path / "weights.safetensors"
    arguments = ["--fusion", fusion, "--modality", modality, "--steps", "2", "--groups", "4", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["train", *arguments])
    monkeypatch.setattr(train_shapes.torch, "set_num_threads", lambda threads: None)
    train_shapes.main()
    size = sum(p.numel() for p in new_shapes(fusion).parameters())
    assert f"wrote {size} parameters" in capsys.readouterr().out
    first = out.read_bytes()
    train_shapes.main()
    assert out.read_bytes() == first


@pytest.mark.parametrize("arguments", [["--fusion", "all"], ["--modality", "image"]])
def test_training_never_overwrites_by_mistake(monkeypatch, arguments: list[str], tmp_path) -> None:
    from tools.demo_models import train_shapes

    extra = ["--out", str(tmp_path / "x")] if "all" in arguments else []
    monkeypatch.setattr("sys.argv", ["train", *arguments, *extra])
    with pytest.raises(SystemExit):
        train_shapes.main()
