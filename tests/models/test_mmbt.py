"""MMBT reads image tokens and text as BERT would, and survives saving; damaged folders are refused."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from models.conftest import randomise
from models.families import CONTEXT, TEXT, bert_tokenizer
from models.gradients import assert_gradient_is_true
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.transforms.functional import to_tensor

from art_multimodal.errors import InputError
from art_multimodal.models.families.mmbt.model import MMBT, torchvision_trunk
from art_multimodal.models.families.mmbt.saving import load_mmbt, save_mmbt
from art_multimodal.models.fusion import take_rows
from art_multimodal.models.loading import load_model
from art_multimodal.models.preprocessing import ImagePreprocessing

CLASSES = ["yes", "no", "maybe"]
SIZE = (64, 48)


def tiny_bert(**settings):
    from transformers import BertConfig, BertModel

    pooled = settings.pop("add_pooling_layer", True)
    config = BertConfig(**{**TEXT, "vocab_size": len(bert_tokenizer()), **settings})
    return BertModel(config, add_pooling_layer=pooled)


def prepared(**settings):
    return ImagePreprocessing(
        **{"size": SIZE, "mean": [0.5, 0.4, 0.6], "std": [0.2, 0.3, 0.2], "resize_mode": "squash", **settings}
    )


def small_trunk():
    return nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), nn.Tanh(), nn.Conv2d(8, 6, 3, stride=2))


def tiny_mmbt(backbone="squeezenet1_1", image_tokens=4, **preprocess):
    model = MMBT(tiny_bert(), bert_tokenizer(), backbone, prepared(**preprocess), CLASSES, image_tokens)
    return randomise(model)


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    model = tiny_mmbt()
    folder = tmp_path_factory.mktemp("mmbt")
    save_mmbt(model, folder)
    return model, folder


@pytest.fixture
def copy(saved_model, tmp_path):
    return shutil.copytree(saved_model[1], tmp_path / "model")


# --- what is computed -------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize(("image_tokens", "grid"), [(1, (1, 1)), (3, (1, 3)), (4, (2, 2))])
def test_bert_reads_image_tokens_before_the_text(photos, texts, image_tokens, grid):
    """Both parts embedded by BERT's own embeddings, each from position 0, and concatenated without any padding."""
    model = tiny_mmbt(image_tokens=image_tokens)
    bert, tokenizer = model.bert, model.tokenizer
    for photo, text in zip(photos, [*texts, ""], strict=False):
        image = to_tensor(photo)[None]
        features = nn.functional.adaptive_avg_pool2d(model.backbone(model.preprocess(image)), grid)
        tokens = model.projection(features.flatten(2).transpose(1, 2))
        assert tokens.shape[1] == image_tokens
        words = bert.embeddings.word_embeddings.weight
        ends = [words[tokenizer.convert_tokens_to_ids(token)][None, None] for token in ("[CLS]", "[SEP]")]
        first = bert.embeddings(inputs_embeds=torch.cat([ends[0], tokens, ends[1]], dim=1))
        ids = torch.tensor([tokenizer(text)["input_ids"][1:]])
        second = bert.embeddings(input_ids=ids, token_type_ids=torch.ones_like(ids))
        hidden = bert.encoder(torch.cat([first, second], dim=1)).last_hidden_state
        fused = model.fuse(image, model.tokenize([text]))
        torch.testing.assert_close(fused, bert.pooler(hidden))
        torch.testing.assert_close(model.predict(fused), model.classifier(fused))
        assert model(image, model.tokenize([text])).shape == (1, len(CLASSES))


@torch.no_grad()
def test_a_text_is_read_the_same_in_any_company(saved_model, texts):
    model, _ = saved_model
    texts = [*texts, ""]
    images = torch.rand(1, 3, 40, 70).expand(len(texts), -1, -1, -1)
    tokens = model.tokenize(texts)
    together = model(images, tokens)
    for text, scores in zip(texts, together, strict=True):
        torch.testing.assert_close(model(images[:1], model.tokenize([text]))[0], scores)
    assert len(together.unique(dim=0)) == len(texts), "the texts must be told apart"
    torch.testing.assert_close(model(images[:2], take_rows(tokens, slice(2, 4))), together[2:4])


@torch.no_grad()
def test_pictures_are_told_apart(saved_model, photos):
    model, _ = saved_model
    tokens = model.tokenize(["a cat"])
    scores = torch.cat([model(to_tensor(photo)[None], tokens) for photo in photos])
    assert len(scores.unique(dim=0)) == len(photos)


@pytest.mark.parametrize("size", [(40, 36), SIZE, (90, 120)])
def test_gradient_to_the_pixels(size):
    assert_gradient_is_true(tiny_mmbt(small_trunk()), *size)


def test_every_part_is_trained(texts):
    model = tiny_mmbt(small_trunk()).train()
    model(torch.rand(len(texts), 3, *SIZE), model.tokenize(texts)).square().sum().backward()
    without = {name for name, part in model.named_parameters() if part.grad is None}
    assert not without


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
def test_a_torchvision_model_is_taken_up_to_its_feature_map(name):
    from torchvision import models

    trunk, whole = torchvision_trunk(name).eval(), models.get_model(name).eval()
    weights = {key.removeprefix("features."): part for key, part in whole.state_dict().items()}
    trunk.load_state_dict({key: weights[key] for key in trunk.state_dict()})
    image = torch.rand(1, 3, *SIZE)
    with torch.no_grad():
        features = trunk(image)
        head = nn.Sequential(whole.avgpool, nn.Flatten(), whole.fc) if name == "resnet18" else whole.classifier
        torch.testing.assert_close(head(features).flatten(1), whole(image))


@pytest.mark.parametrize("name", ["swin_t", "vit_b_16", "inception_v3"])
def test_a_torchvision_model_without_such_a_part(name, monkeypatch):
    for initialise in ("trunc_normal_", "normal_", "kaiming_normal_"):
        monkeypatch.setattr(nn.init, initialise, lambda tensor, *args, **kwargs: tensor)
    with torch.device("meta"), pytest.raises(InputError, match=f"{name} has no convolutional part"):
        torchvision_trunk(name)


# --- texts ------------------------------------------------------------------------------------------------------------


def test_a_text_is_never_cut(saved_model):
    model, _ = saved_model
    fitting = " ".join(["cat"] * (CONTEXT - 1))  # and [SEP]
    model(torch.rand(1, 3, *SIZE), model.tokenize([fitting]))
    with pytest.raises(InputError, match=f"needs {CONTEXT + 1} tokens, more than the {CONTEXT}.*'cat cat"):
        model.tokenize(["a dog", fitting + " cat"])


@pytest.mark.parametrize(
    ("texts", "named"), [(None, "NoneType"), ([], "no texts"), (["a", 3], "int"), (["\ud800"], "ud800")]
)
def test_what_is_not_a_list_of_texts(saved_model, texts, named):
    with pytest.raises(InputError, match=named):
        saved_model[0].tokenize(texts)


def test_tokens_must_be_named(saved_model):
    model, _ = saved_model
    with pytest.raises(InputError, match="dict"):
        model(torch.rand(1, 3, *SIZE), model.tokenize(["a cat"])["input_ids"])


# --- parts that do not fit --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"backbone": "resnet19"}, "Did you mean .*resnet18"),
        ({"backbone": nn.Flatten()}, r"feature map \[N, F, H, W\]; it gave \(1, 9216\)"),
        ({"backbone": nn.Conv2d(1, 2, 3)}, r"does not take images of shape \(1, 3, 64, 48\)"),
        ({"bert": nn.Linear(2, 2)}, "BertModel"),
        ({"bert": {"add_pooling_layer": False}}, "pooling"),
        ({"bert": {"type_vocab_size": 1}}, "two"),
        ({"bert": {"vocab_size": 5}}, "knows only 5"),
        ({"image_tokens": 0}, "from 1 to 14"),
        ({"image_tokens": CONTEXT - 1}, "from 1 to 14"),
        ({"class_names": ["yes"]}, "at least two"),
    ],
)
def test_parts_that_do_not_fit(changes, named):
    parts = {
        "bert": {},
        "tokenizer": bert_tokenizer(),
        "backbone": small_trunk(),
        "preprocess": prepared(),
        "class_names": CLASSES,
        **changes,
    }
    if isinstance(parts["bert"], dict):
        parts["bert"] = tiny_bert(**parts["bert"])
    with pytest.raises(InputError, match=named):
        MMBT(**parts)


def test_a_tokenizer_without_ends():
    tokenizer = bert_tokenizer()
    tokenizer.cls_token = None
    with pytest.raises(InputError, match=r"\[CLS\]"):
        MMBT(tiny_bert(), tokenizer, small_trunk(), prepared(), CLASSES)


# --- saving and loading -----------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_saved_model_is_the_same(saved_model, texts):
    model, folder = saved_model
    loaded = load_model(f"mmbt:{folder}")
    assert not loaded.training
    assert not loaded.separate_towers
    assert loaded.class_names == tuple(CLASSES)
    assert loaded.image_size == SIZE
    assert loaded.dtype == torch.float32
    images, tokens = torch.rand(len(texts), 3, 50, 41), loaded.tokenize(texts)
    assert torch.equal(loaded(images, tokens), model(images, model.tokenize(texts)))
    assert {path.name for path in folder.iterdir()} == {"bert", "mmbt.json", "mmbt.safetensors"}


@torch.no_grad()
def test_a_module_as_backbone_is_given_again(tmp_path, texts):
    model = tiny_mmbt(small_trunk(), image_tokens=3, resize_mode="shortest", first_resize=(70, 70))
    save_mmbt(model.half(), tmp_path / "new" / "folder")
    with pytest.raises(InputError, match="backbone=module"):
        load_mmbt(tmp_path / "new" / "folder")
    loaded = load_mmbt(tmp_path / "new" / "folder", backbone=small_trunk())
    assert loaded.dtype == torch.float32
    images, tokens = torch.rand(len(texts), 3, 50, 41), loaded.tokenize(texts)
    torch.testing.assert_close(loaded(images, tokens), model.float()(images, tokens))


def refusal(folder) -> str:
    with pytest.raises(InputError) as caught:
        load_model(f"mmbt:{folder}")
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("mmbt.json", "save_mmbt"),
        ("mmbt.safetensors", "mmbt.safetensors: FileNotFoundError"),
        ("bert/model.safetensors", "bert"),
        ("bert/config.json", "bert"),
        ("bert/tokenizer.json", "tokenizer"),
    ],
)
def test_a_missing_file(copy, name, named):
    (copy / name).unlink()
    assert named in refusal(copy)


def test_a_folder_that_is_none(tmp_path):
    assert "nowhere" in refusal(tmp_path / "nowhere")
    assert "FOLDER" in refusal("")


@pytest.mark.parametrize("name", ["mmbt.json", "mmbt.safetensors", "bert/model.safetensors"])
def test_a_damaged_file(copy, name):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    assert name.partition("/")[0] in refusal(copy)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"backbone": 5}, "damaged"),
        ({"backbone": "squeezenet9"}, "squeezenet1_1"),
        ({"image_tokens": "four"}, "damaged"),
        ({"image_tokens": 100}, "from 1 to 14"),
        ({"class_names": ["yes", "no"]}, "classifier.weight"),
        ({"preprocess": {"size": 32}}, "damaged"),
        ({"preprocess": None}, "damaged"),
        ([], "must hold a JSON object"),
    ],
)
def test_settings_that_do_not_fit(copy, settings, named):
    path = copy / "mmbt.json"
    whole = {**json.loads(path.read_text()), **settings} if isinstance(settings, dict) else settings
    path.write_text(json.dumps(whole))
    assert named in refusal(copy)


def test_weights_that_do_not_fit(copy):
    path = copy / "mmbt.safetensors"
    weights = load_file(path)
    for changed in (
        {name: part for name, part in weights.items() if name != "projection.weight"},
        {**weights, "projection.weight": torch.zeros(3, 3)},
    ):
        save_file(changed, path)
        assert "projection.weight" in refusal(copy)
    save_file({**weights, "other": torch.zeros(3)}, path)
    assert "other" in refusal(copy)
