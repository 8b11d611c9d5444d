"""Models as they were deployed: another resize in a view, from photos to checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import TinyEncoder

from art_multimodal import InputError, load_model
from art_multimodal.cli.names import resize_name
from art_multimodal.cli.program import main
from art_multimodal.functional.resizing import RESIZERS
from art_multimodal.models.families.late_fusion.model import LateFusion
from art_multimodal.models.resized import with_resize
from art_multimodal.models.saving import load_saved_model, save_model


def test_a_view_resizes_otherwise_and_the_model_stays_as_it_is() -> None:
    model = TinyEncoder().eval()
    images = torch.rand(2, 3, 40, 33, generator=torch.Generator().manual_seed(0))
    before = model.encode_image(images)
    view = with_resize(model, "opencv_linear")
    assert view.preprocess.interpolation == "opencv_linear" and view.facts()["resize"] == "opencv_linear"
    sides = view.preprocess._resized_sides(40, 33)
    resized = RESIZERS["opencv_linear"](images, sides)
    top, left = view.preprocess._crop_corner(sides)
    expected = model.encode_image(resized[..., top : top + 8, left : left + 8])
    torch.testing.assert_close(view.encode_image(images), expected)
    assert not torch.equal(view.encode_image(images), before)
    assert torch.equal(model.encode_image(images), before)
    assert model.preprocess.interpolation == "bicubic" and "resize" not in model.facts()
    # Weights are shared; pictures of the model's own size pass untouched.
    assert view.visual[1].weight is model.visual[1].weight
    own = torch.rand(1, 3, 8, 8)
    assert torch.equal(view.encode_image(own), model.encode_image(own))


@pytest.mark.parametrize("mode", ["shortest", "squash"])
@pytest.mark.parametrize("name", ["opencv_area", "bicubic", "torch_nearest"])
def test_the_matrices_are_the_resize(mode: str, name: str) -> None:
    preprocess = TinyEncoder().preprocess
    preprocess.resize_mode = mode
    preprocess = preprocess.resized_by(name)
    images = torch.rand(1, 3, 33, 40, dtype=torch.float64)
    down, across = preprocess.matrices(33, 40)
    expected = (down @ images @ across.T).clamp(0, 1)
    torch.testing.assert_close(preprocess.resize(images), expected)


def test_photos_are_reduced_by_the_deployed_resize() -> None:
    preprocess = TinyEncoder().preprocess.resized_by("opencv_linear")
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    reduced = np.asarray(preprocess.reduce_photo(Image.fromarray(pixels)))
    images = torch.from_numpy(pixels.astype(np.float64)).movedim(-1, 0)[None] / 255
    expected = (preprocess.resize(images)[0].movedim(0, -1) * 255).round().byte().numpy()
    np.testing.assert_array_equal(reduced, expected)


def test_a_model_inside_another_resizes_alike() -> None:
    inner = TinyEncoder().eval()
    view = with_resize(LateFusion(inner, ("no", "yes")).eval(), "opencv_cubic")
    assert view.preprocess.interpolation == view.dual_encoder.preprocess.interpolation == "opencv_cubic"
    assert inner.preprocess.interpolation == "bicubic"


def test_what_is_trained_for_a_resize_is_loaded_with_it(tmp_path: Path) -> None:
    save_model(with_resize(load_model("demo:digits"), "opencv_area"), tmp_path / "model")
    assert load_saved_model(tmp_path / "model").preprocess.interpolation == "opencv_area"
    save_model(load_model("demo:digits"), tmp_path / "model")
    assert not load_saved_model(tmp_path / "model").preprocess.is_deployed
    index = tmp_path / "model" / "saved_model.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"resize": "unknown"}))
    with pytest.raises(InputError, match="resize"):
        load_saved_model(tmp_path / "model")


def test_what_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pictures"):
        with_resize(load_model("demo:views/late"), "bicubic")
    with pytest.raises(InputError, match="--resize"):
        resize_name("opencv")
    assert resize_name("cv2.INTER_AREA") == "opencv_area" and resize_name("pil-bicubic") == "bicubic"
    out = ["--out", str(tmp_path / "out"), "--limit", "2", "--device", "cpu"]
    assert main(["audit", "demo:views/late", "--data", "demo:views", "--resize", "box", *out]) == 2
    assert "leave out --resize" in capsys.readouterr().err
    assert main(["audit", "demo:digits", "--data", "demo:digits", "--resize", "opencv_liner", *out]) == 2
    assert "opencv_linear" in capsys.readouterr().err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of digits, larger than the model works on, and with what a resize without antialiasing trips over."""
    from art_multimodal.demo.digits_data import DigitsData

    root, data = tmp_path_factory.mktemp("photos"), DigitsData()
    draw = np.random.default_rng(0)
    for number in range(8):
        large = np.kron(data.image(number), np.ones((1, 4, 4), dtype=np.float32))
        large = np.clip(large + draw.normal(0, 0.1, large.shape), 0, 1)
        name = data.class_names[data.label_of(number)]
        (root / name).mkdir(exist_ok=True)
        pixels = (large.transpose(1, 2, 0) * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def test_audits_and_certificates_of_the_deployed_model(folder: Path, tmp_path: Path) -> None:
    common = ["--data", f"folder:{folder}", "--device", "cpu", "--templates", "the digit {}"]
    for further in ([], ["--native-size"]):
        out = str(tmp_path / f"audit{len(further)}")
        settings = ["--resize", "opencv_linear", "--attacks", "pgd", "--steps", "1", "--fixtures", "all", "--out", out]
        assert main(["audit", "demo:digits", *common, *settings, *further]) == 0
        report = json.loads((Path(out) / "report.json").read_text())
        assert report["settings"]["resize"] == report["model"]["resize"] == "opencv_linear"
        assert "opencv_linear" in report["protocol"]["resize"]
        # Whoever verifies asks the deployed model, too: pictures of their own size are resized there.
        assert main(["verify", str(Path(out) / "evidence")]) == 0
    # Without the option nothing is said of it, as before there was one.
    out = str(tmp_path / "plain")
    assert main(["audit", "demo:digits", *common, "--attacks", "pgd", "--steps", "1", "--out", out]) == 0
    report = json.loads((Path(out) / "report.json").read_text())
    assert "resize" not in report["settings"] and "resize" not in report["model"]
    out = str(tmp_path / "certificate")
    settings = ["--resize", "opencv_area", "--keep", "image=8", "--limit", "2", "--out", out]
    assert main(["certify", "demo:digits", *common, *settings]) == 0
    header = json.loads((Path(out) / "report.json").read_text())
    assert header["settings"]["resize"] == "opencv_area" and "opencv_area" in header["protocol"]["resize"]


def test_training_for_the_deployed_model(tmp_path: Path) -> None:
    given = ["train", "tecoa", "demo:digits", "--data", "demo:digits", "--limit", "20", "--batch-size", "10"]
    given += ["--epochs", "1", "--steps", "1", "--device", "cpu", "--resize", "opencv_linear"]
    assert main([*given, "--out", str(tmp_path / "out")]) == 0
    assert load_model(f"checkpoint:{tmp_path / 'out'}").preprocess.interpolation == "opencv_linear"
