"""The embedded models over pairs of images: accurate, small, and of use only where their modalities are."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from installed import pretend_motorcycle

from art_multimodal import FusionClassifier, InputError, load_model
from art_multimodal.cli.program import main
from art_multimodal.datasets import open_captioned, open_data
from art_multimodal.demo.night import NIGHT
from art_multimodal.demo.night_data import NightData, bayes
from art_multimodal.demo.rgbd import RGBD
from art_multimodal.models.fusions import FUSIONS as REGISTRY
from art_multimodal.sample_arrays import with_field

TOOLS = Path(__file__).parents[2] / "tools" / "demo_models"
MODELS = [(demo, fusion) for demo in (NIGHT, RGBD) for fusion in demo.fusions]


def classifier(name: str) -> FusionClassifier:
    return FusionClassifier(load_model(f"demo:{name}"), device_type="cpu")


@pytest.fixture(scope="module")
def night() -> NightData:
    opened = open_data("demo:night")
    assert isinstance(opened, NightData)
    return opened


@pytest.mark.parametrize("fusion", NIGHT.fusions)
def test_shapes_are_told_by_day_and_by_night_and_not_better_than_can_be(night, fusion: str) -> None:
    right = classifier(f"night/{fusion}").predict_labels(night.samples()) == night.labels
    best = bayes(night.samples()).argmax(axis=1) == night.labels
    day, dark = night.light > 0.5, night.light < 0.2
    assert right[day].mean() > 0.95 and right[dark].mean() > 0.9
    # By chance a model may be right where the best rule is not, but hardly as often on the average.
    assert 0.92 < right.mean() <= best.mean() + 0.01


@pytest.mark.parametrize("fusion", NIGHT.fusions)
def test_told_that_the_blind_sensor_is_missing_models_lose_nothing(night, fusion: str) -> None:
    model, x = classifier(f"night/{fusion}"), night.samples()
    for name, blind in (("thermal", night.light > 0.5), ("rgb", night.light < 0.2)):
        alone = with_field(x, name, night.modalities[name].left_out(x[name]))
        right = model.predict_labels(alone) == night.labels
        assert right[blind].mean() > 0.85 and right[~blind].mean() < 0.6


@pytest.mark.parametrize("fusion", RGBD.fusions)
def test_it_takes_both_to_tell_the_same_place(fusion: str) -> None:
    data, model = open_data("demo:rgbd"), classifier(f"rgbd/{fusion}")
    x = data.samples()
    assert (model.predict_labels(x) == data.labels).mean() > 0.8
    for name, modality in data.modalities.items():
        # Each patch that is left stands beside both labels, so that whatever is said of it is right once.
        alone = with_field(x, name, modality.left_out(x[name]))
        assert (model.predict_labels(alone) == data.labels).mean() == 0.5


@pytest.mark.parametrize(("demo", "fusion"), MODELS, ids=lambda one: getattr(one, "name", one))
def test_no_modality_is_idle(night, demo, fusion: str) -> None:
    x = night.samples(slice(32))
    if demo is RGBD:
        x = np.empty(32, dtype=[(m.name, m.dtype) for m in demo.modalities])
        for name in x.dtype.names:
            x[name] = np.random.default_rng(0).uniform(size=x[name].shape)
    labels = np.arange(32) % len(demo.class_names)
    model = classifier(f"{demo.name}/{fusion}")
    for name in x.dtype.names:
        gradient = model.loss_gradient(x, labels, modality=name)
        assert np.abs(gradient).reshape(32, -1).max(axis=1).min() > 0


def test_names_and_sizes() -> None:
    for demo, fusion in MODELS:
        model = load_model(f"demo:{demo.name}/{fusion}")
        assert type(model.fusion) is REGISTRY[fusion] and not model.training
        assert model.class_names == demo.class_names
        with pytest.raises(InputError, match=f"fusion of demo:{demo.name}"):
            demo.new("latte")
        assert type(load_model(f"demo:{demo.name}").fusion) is REGISTRY[demo.fusions[0]]
    assert sum(demo.weights_of(fusion).stat().st_size for demo, fusion in MODELS) < 1_200_000
    with pytest.raises(InputError, match="Did you mean night/late"):
        load_model("demo:night/latte")
    for name in ("motions", "skeleton"):
        with pytest.raises(InputError, match=f"demo:{name} is data without a model"):
            load_model(f"demo:{name}")
    for name in ("night", "rgbd", "motions", "skeleton"):
        with pytest.raises(InputError, match="has no captions"):
            open_captioned(f"demo:{name}")


def test_audit(tmp_path, capsys) -> None:
    options = ["--attacks", "pgd", "--eps", "rgb=2/255", "--steps", "2", "--limit", "20", "--device", "cpu"]
    assert main(["audit", "demo:night", "--data", "demo:night", *options, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.parametrize(("demo", "fusion"), MODELS, ids=lambda one: getattr(one, "name", one))
def test_training_scripts_run_and_repeat(tmp_path, monkeypatch, capsys, demo, fusion: str) -> None:
    if demo is RGBD:
        pretend_motorcycle(monkeypatch, tmp_path)
    out = tmp_path / "weights.safetensors"
    arguments = ["train", "--fusion", fusion, "--steps", "2", "--out", str(out)]
    monkeypatch.setattr("sys.argv", arguments)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    # A few samples do to see that it runs.
    module = runpy.run_path(str(TOOLS / f"train_{demo.name}.py"))
    train = module["train"]
    train.__globals__["DRAWN"] = 100

    def run() -> bytes:
        train.__globals__["train_demo"](demo, train, "x", steps=2, learning_rate=1e-3)
        return out.read_bytes()

    first = run()
    assert f"wrote {sum(p.numel() for p in demo.new(fusion).parameters())} parameters" in capsys.readouterr().out
    torch.rand(7)
    assert run() == first
    monkeypatch.setattr("sys.argv", [*arguments, "--seed", "1"])
    assert run() != first
    monkeypatch.setattr("sys.argv", ["train", "--out", str(out)])
    with pytest.raises(SystemExit):
        run()


def test_varied_pairs_stay_pairs(monkeypatch, tmp_path) -> None:
    pretend_motorcycle(monkeypatch, tmp_path)
    module = runpy.run_path(str(TOOLS / "train_rgbd.py"))
    found = module["patches"]("train")
    rows = np.arange(len(found.places))
    x = module["varied"](found, rows, np.random.default_rng(0))
    for one in RGBD.modalities:
        one.check(x[one.name])
    gap = found.depth == 0
    same = ((x["depth"] == 0) == gap).all(axis=(1, 2, 3))
    mirrored = ((x["depth"] == 0) == gap[..., ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all() and 0.3 < same.mean() < 0.7


def test_contrast_of_embeddings() -> None:
    contrast = runpy.run_path(str(TOOLS / "train_rgbd.py"))["contrast"]
    rgb = torch.eye(3, dtype=torch.float64)
    everyone = ~torch.eye(3, dtype=torch.bool)
    expected = np.log(1 + 2 * np.exp(-10))  # cosines of 1 and twice 0, by a temperature of a tenth
    assert float(contrast(rgb, 5 * rgb, everyone)) == pytest.approx(expected, rel=1e-12)
    # Places that share pixels do not count against each other.
    assert float(contrast(rgb, rgb, ~everyone & everyone)) == 0
