"""The embedded models over views of digits, and their data: accurate, small, made from the training half alone."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from art_multimodal import FusionClassifier, InputError, ModularModel, load_model
from art_multimodal.cli.program import main
from art_multimodal.datasets import open_data
from art_multimodal.demo.views import DATA, FUSIONS, new_views, weights_of
from art_multimodal.demo.views_data import ViewsData
from art_multimodal.models.families.custom.given import as_dual_encoder
from art_multimodal.models.fusions import FUSIONS as REGISTRY
from art_multimodal.sample_arrays import with_field

TOOLS = Path(__file__).parents[2] / "tools" / "demo_models"


@pytest.fixture(scope="module")
def data() -> ViewsData:
    opened = open_data("demo:views")
    assert isinstance(opened, ViewsData)
    return opened


@pytest.fixture(scope="module", params=FUSIONS)
def classifier(request) -> FusionClassifier:
    return FusionClassifier(load_model(f"demo:views/{request.param}"), device_type="cpu")


def test_the_two_halves(data) -> None:
    train = ViewsData("train")
    for half in (data, train):
        assert len(half) == 1000 and list(half.modalities) == ["pix", "fou", "kar"]
        # Of each class a hundred, and they take turns: the first ten are one of each.
        assert np.array_equal(half.labels, np.tile(np.arange(10), 100))
        for name, modality in half.modalities.items():
            modality.check(half.samples()[name])
    seen = {row.tobytes() for row in train.samples()}
    assert not any(row.tobytes() in seen for row in data.samples())


def test_samples_are_copies_of_the_rows_that_are_wanted(data) -> None:
    few = data.samples(np.array([3, 1]))
    assert np.array_equal(few["fou"], data.samples()["fou"][[3, 1]])
    few["fou"] = 0
    assert data.samples(slice(4))["fou"].any(axis=1).all()


def test_ranges_and_means_are_those_of_the_training_half(data) -> None:
    train = ViewsData("train")
    for name, modality in data.modalities.items():
        values = train.samples()[name]
        # What the file rounds to bytes.
        step = 1 / (6 if name == "pix" else 255)
        if name != "pix":
            assert np.array_equal(values.min(axis=0), np.zeros(modality.shape))
            assert np.array_equal(values.max(axis=0), np.ones(modality.shape))
        mean = values.mean(axis=None if name == "pix" else 0)
        np.testing.assert_allclose(modality.fill, mean, atol=1e-5 if name == "pix" else step / 2)
        low, high = data.ranges[name]
        assert low.shape == high.shape and (low < high).all()


def test_source_and_licence_stand_in_the_file_and_all_of_it_is_small() -> None:
    with safe_open(DATA, "numpy") as opened:
        about = opened.metadata()["about"]
    assert "van Breukelen" in about and "UCI Machine Learning Repository" in about and "CC BY 4.0" in about
    assert sum(path.stat().st_size for path in (DATA, *map(weights_of, FUSIONS))) <= 1_500_000


def test_clean_accuracy(classifier, data) -> None:
    assert (classifier.predict_labels(data.samples()) == data.labels).mean() >= 0.95


@pytest.mark.parametrize("view", ["pix", "fou", "kar"])
def test_told_that_a_view_is_missing_it_does_without(classifier, data, view: str) -> None:
    x = data.samples()
    x = with_field(x, view, data.modalities[view].left_out(x[view]))
    assert (classifier.predict_labels(x) == data.labels).mean() >= 0.93


def test_no_view_is_idle(classifier, data) -> None:
    x = data.samples(slice(50))
    for view in data.modalities:
        gradient = classifier.loss_gradient(x, data.labels[:50], modality=view)
        assert np.abs(gradient).reshape(50, -1).max(axis=1).min() > 0


def test_names() -> None:
    for fusion in FUSIONS:
        model = load_model(f"demo:views/{fusion}")
        assert isinstance(model, ModularModel) and not model.training
        assert type(model.fusion) is REGISTRY[fusion]
    assert type(load_model("demo:views").fusion) is REGISTRY["concat"]
    with pytest.raises(InputError, match=r"views/latte.*Did you mean views/late"):
        load_model("demo:views/latte")
    with pytest.raises(InputError, match="fusion of demo:views"):
        new_views("latte")
    with pytest.raises(InputError, match="split of demo:views"):
        ViewsData("tests")
    assert open_data("demo:views", classes=[str(digit) for digit in range(10)]).class_names[3] == "3"
    with pytest.raises(InputError, match="2 names for the 10 digits"):
        open_data("demo:views", classes=["a", "b"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["audit", "demo:views/late", "--data", "demo:digits"], "holds no samples of these: give demo:views"),
        (["audit", "demo:digits", "--data", "demo:views"], "holds samples of pix, fou, kar, which this model does not"),
        (["audit", "demo:views", "--data", "demo:views", "--task", "retrieval"], "Retrieval needs a dual encoder"),
        (["audit", "demo:scenes", "--data", "demo:views", "--task", "retrieval"], "has no captions"),
        (
            ["train", "tecoa", "demo:views", "--data", "demo:digits"],
            "is a multimodal model. tecoa trains dual encoders; for fusion models there are plain",
        ),
        (["train", "tecoa", "demo:digits", "--data", "demo:views"], "holds samples of pix, fou, kar"),
    ],
)
def test_the_command_line_refuses_data_of_other_modalities(tmp_path, capsys, arguments, message) -> None:
    assert main([*arguments, "--out", str(tmp_path / "out"), "--device", "cpu"]) == 2
    printed = capsys.readouterr()
    (line,) = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    assert message in line and "Traceback" not in printed.err + printed.out
    assert not (tmp_path / "out").exists()


def test_a_loaded_model_is_told_where_it_belongs(tmp_path) -> None:
    from art_multimodal.evaluations.audit import Audit, AuditSettings

    model = new_views("late")
    with pytest.raises(InputError, match="give it to FusionClassifier"):
        as_dual_encoder(model)
    with pytest.raises(InputError, match="ModularModel is a model over pix"):
        _ = Audit(AuditSettings(model=model, data="demo:digits"), tmp_path / "out", device="cpu").subject


@pytest.mark.parametrize("fusion", FUSIONS)
def test_training_script_runs_and_repeats(tmp_path, monkeypatch, capsys, fusion: str) -> None:
    out = tmp_path / "weights.safetensors"
    monkeypatch.setattr("sys.argv", ["train", "--fusion", fusion, "--steps", "3", "--out", str(out)])
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    run = runpy.run_path(str(TOOLS / "train_views.py"))["main"]
    run()
    size = sum(p.numel() for p in new_views(fusion).parameters())
    assert f"wrote {size} parameters" in capsys.readouterr().out
    first = out.read_bytes()
    # Whatever the process has drawn meanwhile.
    torch.rand(7)
    run()
    assert out.read_bytes() == first
    monkeypatch.setattr("sys.argv", ["train", "--fusion", fusion, "--steps", "3", "--out", str(out), "--seed", "1"])
    run()
    assert out.read_bytes() != first


def test_training_never_overwrites_by_mistake(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("sys.argv", ["train", "--fusion", "all", "--out", str(tmp_path / "x")])
    with pytest.raises(SystemExit):
        runpy.run_path(str(TOOLS / "train_views.py"))["main"]()


def test_the_test_half_decides_nothing_when_the_data_are_cut() -> None:
    script = runpy.run_path(str(TOOLS / "cut_views.py"))
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 20)
    given = {
        "pix": rng.integers(0, 7, (60, 4, 3)).astype(np.uint8),
        "fou": rng.normal(size=(60, 5)).astype(np.float32),
        "kar": rng.normal(size=(60, 2)).astype(np.float32),
        "y": labels,
    }
    # The same digit three times: it may not stand in both halves.
    given["pix"][[1, 7]] = given["pix"][4]
    halves = script["halves"](given["pix"], labels, 0)
    assert {1, 4, 7} <= set(halves["train"].tolist())
    assert sorted(np.concatenate(list(halves.values()))) == list(range(60))
    before = script["cut"](given, 0)
    given["fou"][halves["test"]] *= 100
    after = script["cut"](given, 0)
    assert not np.array_equal(after["test.fou"], before["test.fou"])
    assert all(np.array_equal(before[name], after[name]) for name in before if name != "test.fou")
    assert after["test.fou"].min() == 0 and after["test.fou"].max() == 255
