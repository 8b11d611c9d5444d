"""The adapters of fusion classifiers agree with transformers, and refuse what they cannot use.

Pictures differ from the processors' by rounding, within the bounds of ``test_hugging_face.py``.
"""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from models.conftest import smooth_photo
from models.families import CONTEXT, SIDE
from models.fusion_families import FUSION_FAMILIES
from models.gradients import assert_gradient_is_true
from safetensors.torch import load_file, save_file
from torchvision.transforms.functional import to_tensor

from art_multimodal.errors import InputError
from art_multimodal.models.families.hugging_face.fusion import answer_names
from art_multimodal.models.fusion import FusionModel, move_tokens, take_rows
from art_multimodal.models.loading import load_model

VILT = ["vilt_answers", "vilt_retrieval"]


@pytest.fixture(params=FUSION_FAMILIES)
def pair(request, saved_fusion):
    """A model of transformers with its tokenizer and processor, and what our loading makes of its folder."""
    original = saved_fusion(request.param)
    return original, load_model(f"hf:{original.folder}")


@pytest.fixture
def copy(saved_fusion, tmp_path):
    """``make(family)``: a copy of a saved folder."""

    def make(family):
        return shutil.copytree(saved_fusion(family).folder, tmp_path / "model")

    return make


def own_scores(original, photos, texts, **settings):
    """Scores of the model itself, prepared by its own tokenizer and image processor."""
    inputs = original.tokenizer(texts, padding="longest", return_tensors="pt")
    inputs.update(original.processor(images=photos, return_tensors="pt", **settings))
    if "Flava" in type(original.model).__name__:
        return original.model(**inputs, return_loss=False).itm_logits
    return original.model(**inputs).logits


def as_by_the_model(original, scores):
    """Our scores in the form of the model's own output."""
    return scores[:, 1:] if "ImageAndTextRetrieval" in type(original.model).__name__ and is_vilt(original) else scores


def is_vilt(original):
    return original.model.config.model_type == "vilt"


@pytest.fixture
def squares():
    """Square pictures larger and smaller than the model's size, and of it."""
    return [smooth_photo(side, side, seed) for seed, side in enumerate((64, 41, SIDE, 21, 33))]


# --- loading ----------------------------------------------------------------------------------------------------------


def test_loaded_ready_to_use(pair):
    _, fusion = pair
    assert isinstance(fusion, FusionModel)
    assert not fusion.training
    assert not fusion.separate_towers
    assert fusion.device.type == "cpu"
    assert fusion.dtype == torch.float32
    assert fusion.context_length == CONTEXT
    assert fusion.image_size == (SIDE, SIDE)


def test_class_names(saved_fusion):
    for family in ("vilt_retrieval", "flava", "bridgetower"):
        assert load_model(f"hf:{saved_fusion(family).folder}").class_names == ("no match", "match")
    answers = load_model(f"hf:{saved_fusion('vilt_answers').folder}")
    # Published lists of answers hold the empty answer, and may hold one twice.
    assert answers.class_names == ("answer (0)", "yes", "no", "red", "yes (4)")
    assert answer_names({2: "c", 0: "a", 1: " b "}) == ["a", "b", "c"]


# --- the same as transformers -----------------------------------------------------------------------------------------


@torch.no_grad()
def test_scores_are_the_models_on_the_processors_pixels(pair, squares, texts):
    original, fusion = pair
    expected = own_scores(original, squares, texts)
    pixels = original.processor(images=squares, return_tensors="pt")["pixel_values"]
    fused = fusion.joint_tower(pixels, fusion.tokenize(texts))
    torch.testing.assert_close(as_by_the_model(original, fusion.predict(fused)), expected)
    assert fused.ndim == 2
    assert len(expected.unique(dim=0)) == len(squares), "the pairs must be told apart"


@torch.no_grad()
def test_square_pictures_are_prepared_as_by_the_processor(pair, squares, texts):
    original, fusion = pair
    theirs = original.processor(images=squares, return_tensors="pt")["pixel_values"]
    expected = own_scores(original, squares, texts)
    for photo, text, pixels, scores in zip(squares, texts, theirs, expected, strict=True):
        image = to_tensor(photo)[None]
        levels = ((fusion.preprocess(image)[0] - pixels) * fusion.preprocess.std * 255).abs()
        assert levels.max() < 5, photo.size
        assert levels.mean() < 0.6, photo.size
        ours = as_by_the_model(original, fusion(image, fusion.tokenize([text])))
        tolerance = {} if photo.size == (SIDE, SIDE) else {"atol": 0.03, "rtol": 0}
        torch.testing.assert_close(ours[0], scores, **tolerance)


@torch.no_grad()
@pytest.mark.parametrize("family", [*VILT, "flava"])
def test_other_pictures_are_squashed(saved_fusion, photos, family):
    fusion = load_model(f"hf:{saved_fusion(family).folder}")
    tokens = fusion.tokenize(["a cat"])
    for photo in photos:
        expected = fusion(to_tensor(photo.resize((SIDE, SIDE), 3))[None], tokens)
        torch.testing.assert_close(fusion(to_tensor(photo)[None], tokens), expected, atol=0.03, rtol=0)


@torch.no_grad()
def test_bridgetower_cuts_the_centre(saved_fusion, texts):
    """As its processor does, but for its rounding of the longer side: here these are whole, and it divides by 1."""
    original = saved_fusion("bridgetower")
    fusion = load_model(f"hf:{original.folder}")
    photos = [smooth_photo(*size, seed) for seed, size in enumerate([(48, 72), (60, 40), (39, 32), (32, 50), (32, 37)])]
    theirs = original.processor(images=photos, return_tensors="pt", size_divisor=1)["pixel_values"]
    for photo, pixels in zip(photos, theirs, strict=True):
        levels = ((fusion.preprocess(to_tensor(photo)[None])[0] - pixels) * fusion.preprocess.std * 255).abs()
        assert levels.mean() < 0.6, photo.size
    expected = own_scores(original, photos, texts, size_divisor=1)
    ours = torch.cat([fusion(to_tensor(p)[None], fusion.tokenize([t])) for p, t in zip(photos, texts, strict=True)])
    torch.testing.assert_close(ours, expected, atol=0.03, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("family", VILT)
def test_vilt_sees_every_patch_whatever_the_random_state(saved_fusion, copy, squares, texts, family):
    folder = copy(family)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_image_length": 5}))
    whole, limited = load_model(f"hf:{saved_fusion(family).folder}"), load_model(f"hf:{folder}")
    image = torch.stack([to_tensor(photo.resize((SIDE, SIDE))) for photo in squares])
    tokens = whole.tokenize(texts)
    own = [limited.model(pixel_values=limited.pixels(image), **tokens).logits for _ in range(2)]
    assert not torch.allclose(*own, atol=1e-3), "transformers draws other patches at every call"
    before = torch.get_rng_state()
    scores = limited(image, tokens)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(3)
    assert torch.equal(limited(image, tokens), scores)
    assert torch.equal(whole(image, tokens), scores)


def test_gradient_to_the_pixels(pair):
    _, fusion = pair
    assert_gradient_is_true(fusion, height=40, width=36)


def test_a_batch_is_its_rows(pair, texts):
    _, fusion = pair
    images = torch.rand(len(texts), 3, 30, 44)
    tokens = fusion.tokenize(texts)
    with torch.no_grad():
        expected = fusion(images, tokens)
        order = torch.tensor([3, 0, 2])
        torch.testing.assert_close(fusion(images[order], take_rows(tokens, order)), expected[order])
        torch.testing.assert_close(fusion(images, move_tokens(tokens, fusion.device)), expected)


# --- texts ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_text_is_read_the_same_in_any_company(pair, texts):
    _, fusion = pair
    texts = [*texts, ""]
    images = torch.rand(1, 3, SIDE, SIDE).expand(len(texts), -1, -1, -1)
    together = fusion(images, fusion.tokenize(texts))
    for text, scores in zip(texts, together, strict=True):
        torch.testing.assert_close(fusion(images[:1], fusion.tokenize([text]))[0], scores)
    assert len(together.unique(dim=0)) == len(texts), "the texts must be told apart"


@torch.no_grad()
def test_padding_is_on_the_right_whatever_the_tokenizer_says(pair, texts):
    _, fusion = pair
    expected = fusion.tokenize(texts)
    fusion.tokenizer.padding_side = "left"
    for name, part in fusion.tokenize(texts).items():
        assert torch.equal(part, expected[name])


def test_a_text_is_never_cut(pair):
    original, fusion = pair
    longest = CONTEXT - (len(original.tokenizer("cat")["input_ids"]) - 1)
    fitting = " ".join(["cat"] * longest)
    assert fusion.tokenize([fitting])["input_ids"].tolist() == [original.tokenizer(fitting)["input_ids"]]
    fusion(torch.rand(1, 3, SIDE, SIDE), fusion.tokenize([fitting]))
    with pytest.raises(InputError, match=f"needs {CONTEXT + 1} tokens, more than the {CONTEXT}.*'cat cat"):
        fusion.tokenize(["a dog", fitting + " cat"])


@pytest.mark.parametrize(
    ("texts", "named"),
    [(3, "int"), ([], "no texts"), (["a", float("nan")], "float"), (["a", "b\udce4"], "udce4")],
)
def test_what_is_not_a_list_of_texts(saved_fusion, texts, named):
    with pytest.raises(InputError, match=named):
        load_model(f"hf:{saved_fusion('flava').folder}").tokenize(texts)


def test_tokens_must_be_named(saved_fusion):
    fusion = load_model(f"hf:{saved_fusion('flava').folder}")
    with pytest.raises(InputError, match="dict"):
        fusion(torch.rand(1, 3, SIDE, SIDE), fusion.tokenize(["a cat"])["input_ids"])


# --- what cannot be used ----------------------------------------------------------------------------------------------


def refusal(folder) -> str:
    """The one-line message with which a model is refused."""
    with pytest.raises(InputError) as caught:
        load_model(f"hf:{folder}")
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("family", "named"),
    [
        ("bridgetower_contrastive", "BridgeTowerForImageAndTextRetrieval"),
        ("flava_without_head", "FlavaForPreTraining"),
        ("vilt_masked_words", "ViltForQuestionAnswering, ViltForImageAndTextRetrieval"),
        ("lxmert", "region features"),
        ("visual_bert", "region features"),
    ],
)
def test_a_model_that_is_no_classifier_of_pixels_and_text(saved_fusion, family, named):
    message = refusal(saved_fusion(family).folder)
    assert named in message
    assert "ForPreTraining" in message or "Retrieval" in message, "it must say what to use instead"


def test_a_configuration_without_architectures(copy):
    folder = copy("flava")
    config = json.loads((folder / "config.json").read_text())
    del config["architectures"]
    (folder / "config.json").write_text(json.dumps(config))
    assert "architectures" in refusal(folder)


@pytest.mark.parametrize(
    ("family", "weight"),
    [
        ("bridgetower", "itm_score.fc.weight"),
        ("flava", "itm_head.seq_relationship.weight"),
        ("vilt_answers", "classifier.3.weight"),
    ],
)
def test_missing_weights_of_the_head_are_named(copy, family, weight):
    folder = copy(family)
    weights = load_file(folder / "model.safetensors")
    del weights[weight]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert weight in refusal(folder)


def test_a_pickle_that_wants_to_run_code_does_not(copy, saved_fusion, hostile_pickle):
    folder = copy("vilt_answers")
    (folder / "model.safetensors").unlink()
    hostile_pickle.save(folder / "pytorch_model.bin", saved_fusion("vilt_answers").model.state_dict())
    assert "refused" in refusal(folder)
    assert not hostile_pickle.witness.exists()


@pytest.mark.parametrize("name", ["tokenizer.json", "preprocessor_config.json"])
def test_a_folder_with_a_part_missing(copy, name):
    folder = copy("vilt_answers")
    (folder / name).unlink()
    assert "tokenizer" in refusal(folder).removeprefix(str(folder))


@pytest.mark.parametrize("family", ["vilt_answers", "bridgetower"])
@pytest.mark.parametrize("settings", [{"do_resize": False}, {"size": {"longest_edge": 32}}])
def test_an_image_processor_that_does_something_else(copy, family, settings):
    folder = copy(family)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    assert "ImageProcessor" in refusal(folder)


@torch.no_grad()
@pytest.mark.parametrize("family", ["vilt_answers", "bridgetower"])
def test_a_processor_of_another_size_is_brought_to_the_models(copy, saved_fusion, family):
    """Published processors round to multiples of 32 pixels, which the model's size need not be."""
    folder = copy(family)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "size": {"shortest_edge": 45}, "size_divisor": 32}))
    image = torch.rand(1, 3, 50, 50)
    ours, expected = (load_model(f"hf:{f}").preprocess(image) for f in (folder, saved_fusion(family).folder))
    torch.testing.assert_close(ours, expected)
