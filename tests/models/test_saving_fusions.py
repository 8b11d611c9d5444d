"""Saved fusion models come back as they were; what is made of code is refused, and so is what a folder makes up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models.families import bert_tokenizer
from models.fusion_families import FUSION_FAMILIES
from models.test_mmbt import small_trunk, tiny_mmbt
from models.test_saving import moved
from several import separate
from tiny import TinyEncoder, TinyFusion
from torch import nn

from art_multimodal.demo.shapes import FUSIONS as OF_SHAPES
from art_multimodal.errors import InputError
from art_multimodal.modalities import Modality, image, table
from art_multimodal.models.families.custom.encoder import CustomDualEncoder
from art_multimodal.models.families.custom.fusion import CustomFusion
from art_multimodal.models.families.late_fusion.model import LateFusion
from art_multimodal.models.families.mmbt.model import MMBT
from art_multimodal.models.families.modular.layers import described_layer, made_layer
from art_multimodal.models.families.modular.model import ModularModel, Tower
from art_multimodal.models.fusion import FusionModel
from art_multimodal.models.fusions import FUSIONS, Concat, Fusion
from art_multimodal.models.loading import load_model
from art_multimodal.models.saving import INDEX, check_can_be_saved, save_model, weights_sha256
from art_multimodal.sample_arrays import samples

CLASSES = ("yes", "no", "maybe")
LATE = ("hf", "hf_hidden", "open_clip", "demo")
VIEWS = tuple(f"views/{name}" for name in ("concat", "gated", "late"))


#: Of fusions that have any, others than the default.
OPTIONS: dict[str, dict[str, Any]] = {name: {"hidden": 7} for name in ("concat", "gated", "bilinear", "unis_mmc")}
OPTIONS |= {"cross_attention": {"hidden": 6, "layers": 1, "heads": 3}, "consensus": {"beta": 3.5}}
OPTIONS |= {
    "deq": {"hidden": 7, "max_iter": 30, "tolerance": 1e-3, "unroll": 2},
    "mcmult": {"hidden": 6, "layers": 2, "heads": 3, "scales": "last", "self_layers": 1, "kernel": 3}
    | {"positions": False, "pooling": "token"},
    "qmf": {"nonnegative": True, "detach_weights": True},
}


def convolutional(fusion: str = "gated", **options: Any) -> ModularModel:
    """A model of two towers of torch's layers, each layer with something that it does not have by default."""
    torch.manual_seed(3)
    pixels = image("thermal", 1, 9, 7, clip_values=(-1.0, 2.5), fill=np.array([[[0.25]]], dtype=np.float32))
    low, high = np.array([-1.0, 0.0, 0.1]), np.array([1.0, 0.7, 3.0])
    columns = table("gene", 3, clip_values=(low, high), fill=np.array([0.1, 0.2, 0.3], dtype=np.float32))
    layers = [nn.Conv2d(1, 4, (3, 2), stride=2, padding=1, bias=False), nn.BatchNorm2d(4, eps=1e-3), nn.LeakyReLU(0.3)]
    see = nn.Sequential(*layers, nn.AdaptiveAvgPool2d((2, 1)), nn.Flatten(), nn.Linear(8, 5))
    read = nn.Sequential(nn.Linear(3, 6), nn.LayerNorm(6), nn.GELU("tanh"), nn.Linear(6, 4))
    if fusion in ("mla", "deq"):  # which take towers of one width
        read.append(nn.Linear(4, 5))
    return ModularModel(
        [Tower(pixels, see, 5), Tower(columns, read, len(read[-1].bias))], fusion, CLASSES, **options
    ).eval()


@torch.no_grad()
def scores(model: Any) -> torch.Tensor:
    rng = np.random.default_rng(2)
    if isinstance(model, FusionModel):
        images = torch.from_numpy(rng.random((3, 3, 41, 52), dtype=np.float32))
        return model(images, model.tokenize(["is there a red circle", "a cat", ""]))
    fields = {
        name: rng.uniform(*(np.broadcast_to(end, one.shape) for end in one.clip_values), (5, *one.shape))
        for name, one in model.modalities.items()
    }
    return model(model.collate(samples(**{name: field.astype(np.float32) for name, field in fields.items()})))


@pytest.fixture
def made(saved, saved_fusion, open_clip_checkpoint):
    """``make(name)``: a fusion model of a family."""

    def make(name: str) -> Any:
        family, _, rest = name.partition(":")
        if family == "hf":
            return load_model(f"hf:{saved_fusion(rest).folder}")
        if family == "mmbt":
            return tiny_mmbt()
        if family == "demo":
            return load_model(name)
        if family == "modular":
            return convolutional(rest, **OPTIONS.get(rest, {}))
        hidden = 7 if rest.endswith("hidden") else None
        specs = {"open_clip": f"open_clip:tiny-test/{open_clip_checkpoint('tiny-test')[1]}", "demo": "demo:digits"}
        torch.manual_seed(1)
        return LateFusion(load_model(specs.get(rest, f"hf:{saved('clip').folder}")), CLASSES, hidden).eval()

    return make


ALL = [f"hf:{name}" for name in FUSION_FAMILIES] + ["mmbt"] + [f"late:{name}" for name in LATE]
ALL += [f"demo:shapes/{name}" for name in OF_SHAPES] + [f"demo:{name}" for name in VIEWS]
ALL += [f"modular:{name}" for name in FUSIONS] + ["demo:spoken/redundant/gated", "demo:spoken/complementary/late"]


@pytest.mark.parametrize("name", ALL)
def test_a_saved_model_answers_as_before(made, tmp_path, name):
    model = moved(made(name))
    before = scores(model)
    save_model(model, tmp_path / "out" / "best", trained_from="somewhere")
    for folder in (tmp_path / "out", tmp_path / "out" / "best"):
        again = load_model(f"checkpoint:{folder}")
        assert type(again) is type(model) and not again.training
        assert tuple(again.class_names) == tuple(model.class_names)
        assert torch.equal(scores(again), before)
    facts = json.loads((tmp_path / "out" / "best" / INDEX).read_text())
    assert facts["weights_sha256"] == weights_sha256(model) and facts["trained_from"] == "somewhere"
    # Once more from there: nothing is lost on the way.
    save_model(again, tmp_path / "again")
    files = json.loads((tmp_path / "again" / INDEX).read_text())["files"]
    assert files.keys() == facts["files"].keys()
    for file, digest in files.items():
        # transformers adds to the settings of a tokenizer that it has read.
        assert digest == facts["files"][file] or file.endswith("tokenizer_config.json"), file
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "out"]


@pytest.mark.parametrize("name", ["hf:vilt_answers", "mmbt", "late:hf", "modular:concat"])
def test_every_file_is_vouched_for_those_in_folders_too(made, tmp_path, name):
    save_model(made(name), tmp_path / "best")
    listed = json.loads((tmp_path / "best" / INDEX).read_text())["files"]
    there = {
        path.relative_to(tmp_path / "best").as_posix() for path in (tmp_path / "best").rglob("*") if path.is_file()
    }
    assert there == {INDEX, *listed}
    for file in listed:
        path = tmp_path / "best" / file
        whole = path.read_bytes()
        for content in (whole[:-1], None):
            path.unlink() if content is None else path.write_bytes(content)
            assert f"{path} is not the file that was saved there" in refusal(tmp_path)
        path.write_bytes(whole)
    stranger = tmp_path / "best" / "more" / "model.safetensors"
    stranger.parent.mkdir()
    stranger.write_bytes(b"")
    assert "does not list more/model.safetensors" in refusal(tmp_path)


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_model(f"checkpoint:{folder}")
    return str(caught.value)


def test_modalities_and_fusion_come_back_as_they_were(tmp_path):
    model = convolutional("concat", hidden=0)
    save_model(model, tmp_path / "best")
    again = load_model(f"checkpoint:{tmp_path}")
    assert list(again.modalities.values()) == list(model.modalities.values())
    assert [type(one) for one in again.modalities.values()] == [type(one) for one in model.modalities.values()]
    fills = [(one.fill.dtype, one.clip_values[0]) for one in (again.modalities["gene"], model.modalities["gene"])]
    assert fills[0][0] == fills[1][0] and fills[0][1].dtype == fills[1][1].dtype
    assert isinstance(again.fusion, Concat) and again.fusion.hidden == 0


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(2, 4, 3, stride=2, dilation=2, groups=2, padding_mode="circular", padding="valid"),
        nn.Conv3d(1, 2, (1, 2, 3), bias=False),
        nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
        nn.AvgPool2d(2, count_include_pad=False, divisor_override=3),
        nn.AdaptiveAvgPool1d(3),
        nn.BatchNorm1d(3, affine=False, track_running_stats=False, momentum=None),
        nn.GroupNorm(2, 4, eps=0.1),
        nn.LayerNorm((2, 3), elementwise_affine=False),
        nn.Dropout(0.3),
        nn.ELU(0.2),
        nn.Softplus(beta=2, threshold=5),
        nn.Sequential(nn.Sequential(nn.Flatten(2, 3), nn.SiLU()), nn.Sigmoid(), nn.Tanh(), nn.ReLU()),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_are_made_again(layer):
    again = made_layer(json.loads(json.dumps(described_layer(layer))))
    assert repr(again) == repr(layer)
    assert {n: t.shape for n, t in again.state_dict().items()} == {n: t.shape for n, t in layer.state_dict().items()}
    own = {key for key, value in vars(layer).items() if isinstance(value, int | float | str | tuple) and key[0] != "_"}
    assert {key: getattr(again, key) for key in own} == {key: getattr(layer, key) for key in own}


# --- what is refused --------------------------------------------------------------------------------------------------


class OwnTower(Tower):
    pass


class OwnFusion(Concat):
    pass


class OwnModality(Modality):
    kind = "table"


class Forgetful(Fusion):
    """Keeps its option under another name."""

    def __init__(self, widths, classes, scale: float = 1.0) -> None:
        super().__init__(widths, classes)
        self.times = scale


def modular(tower: Tower | None = None, fusion: str | Fusion = "late") -> ModularModel:
    return ModularModel([tower or Tower(table("gene", 3), nn.Linear(3, 4), 4)], fusion, CLASSES)


def refused_models() -> dict[str, tuple[Any, str]]:
    net = TinyFusion()
    widths = {"gene": 4}
    own = OwnModality("gene", (3,), (0,), (0.0, 1.0))
    named = (net.fuse, net.predict, net.tokenize, net.class_names, 8)
    encoder = TinyEncoder()
    calls = (encoder.encode_image, encoder.encode_text, encoder.tokenize, 8)
    return {
        "custom_fusion": (CustomFusion(*named, module=net), "calls functions of your own, and code is never saved"),
        "custom_encoder": (CustomDualEncoder(*calls, check=False), "calls functions of your own"),
        "own_class": (net, "A TinyFusion has no format"),
        "late_of_own": (LateFusion(TinyEncoder(), CLASSES), "A TinyEncoder has no format"),
        "predictor": (
            LateFusion(load_model("demo:digits"), CLASSES, predictor=nn.Linear(192, 3)),
            "has a predictor of your own",
        ),
        "mmbt": (
            MMBT(tiny_mmbt().bert, bert_tokenizer(), small_trunk(), tiny_mmbt().preprocess, list(CLASSES)),
            "made with a module of your own as backbone",
        ),
        "tower": (
            modular(OwnTower(table("gene", 3), nn.Linear(3, 4), 4)),
            "gene is of class OwnTower, and code",
        ),
        "layer": (
            modular(Tower(table("gene", 3), nn.RNN(3, 4), 4)),
            "gene has a layer of class RNN",
        ),
        "modality": (modular(Tower(own, nn.Linear(3, 4), 4)), "modality gene is of class OwnModality"),
        "fusion": (modular(fusion=OwnFusion(widths, 3)), "fusion is of class OwnFusion"),
        "masked_mean": (separate(), "tower of (rgb|audio) has a layer of class"),
    }


@pytest.mark.parametrize("name", refused_models())
def test_code_is_refused_in_one_line_before_any_work(tmp_path, name):
    model, message = refused_models()[name]
    for attempt in (lambda: check_can_be_saved(model), lambda: save_model(model, tmp_path / "best")):
        with pytest.raises(InputError, match=message) as caught:
            attempt()
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [LateFusion, MMBT, ModularModel])
def test_a_subclass_is_code_too(kind, tmp_path):
    model: Any = {
        LateFusion: lambda: LateFusion(load_model("demo:digits"), CLASSES),
        MMBT: tiny_mmbt,
        ModularModel: convolutional,
    }[kind]()
    check_can_be_saved(model)
    model.__class__ = type("Mine", (kind,), {})
    with pytest.raises(InputError, match="Mine.* code is never saved"):
        check_can_be_saved(model)


def test_a_fusion_that_forgets_its_options_is_refused(monkeypatch):
    monkeypatch.setitem(FUSIONS._entries, "forgetful", Forgetful)
    with pytest.raises(InputError, match="forgetful cannot be saved: it has no attribute scale"):
        check_can_be_saved(modular(fusion=Forgetful({"gene": 4}, 3)))


def edited(folder: Path, *path: Any, to: Any) -> None:
    facts = json.loads((folder / INDEX).read_text())
    part = facts
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = to
    (folder / INDEX).write_text(json.dumps(facts))


LINEAR = ("towers", 1, "module", "layers", "0")
NORM = {"eps": 1e-5, "affine": True}
NOTHING = {"layer": "Linear", "in_features": 3, "out_features": 0, "bias": True}


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("towers",), None),
        (("towers",), 5),
        (("towers", 0), {}),
        (("towers", 0, "width"), "wide"),
        (("towers", 0, "width"), 6),
        (("towers", 0, "width"), 10**29),
        (("towers", 0, "modality", "kind"), "text"),
        (("towers", 0, "modality", "kind"), ["image"]),
        (("towers", 0, "modality", "shape"), [1, -9, 7]),
        (("towers", 0, "modality", "shape"), "abc"),
        (("towers", 0, "modality", "name"), "gene"),
        (("towers", 1, "modality", "fill"), {"dtype": "float32", "numbers": ["a"]}),
        (("towers", 1, "modality", "fill"), {"dtype": "float32", "numbers": [1e39, 0, 0]}),
        ((*LINEAR, "layer"), "Bilinear"),
        ((*LINEAR, "layer"), "Module"),
        ((*LINEAR, "layer"), ["Linear"]),
        ((*LINEAR, "in_features"), 4),
        ((*LINEAR, "in_features"), -1),
        ((*LINEAR, "in_features"), 10**12),
        ((*LINEAR, "device"), "cuda"),
        (("towers", 1, "module", "layers", "a.b"), {"layer": "ReLU", "inplace": False}),
        (("towers", 1, "module", "layers", "a"), {"layer": "GroupNorm", "num_groups": 0, "num_channels": 4, **NORM}),
        (("towers", 1, "module"), {"layer": "LowRank", "module": NOTHING, "rank": 1, "scale": 1.0}),
        (("fusion", "name"), "deq"),
        (("fusion", "options"), {"hidden": 10**12}),
        (("fusion", "options"), {"height": 3}),
        (("fusion",), "gated"),
        (("class_names",), ["yes", "no"]),
        (("class_names",), "yes"),
        (("class_names",), [["yes"], "no", "maybe"]),
    ],
)
def test_a_modular_model_that_a_folder_makes_up_is_refused(tmp_path, path, to):
    save_model(convolutional("gated", hidden=7), tmp_path / "best")
    edited(tmp_path / "best", *path, to=to)
    assert "\n" not in refusal(tmp_path)


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("class_names",), ["yes", "no"]),
        (("class_names",), None),
        (("dual_encoder",), None),
        (("dual_encoder", "family"), "keras"),
        (("dual_encoder", "family"), "modular"),
        (("dual_encoder", "name"), "shapes/late"),
        (("dual_encoder", "name"), "scenes"),
        (("files", "../predictor.safetensors"), "0" * 64),
        (("files", "/etc/passwd"), "0" * 64),
    ],
)
def test_a_late_fusion_that_a_folder_makes_up_is_refused(tmp_path, path, to):
    save_model(LateFusion(load_model("demo:digits"), CLASSES, hidden=5), tmp_path / "best")
    edited(tmp_path / "best", *path, to=to)
    assert "\n" not in refusal(tmp_path)
