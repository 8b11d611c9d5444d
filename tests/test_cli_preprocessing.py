"""Whether the preprocessing that was deployed is the model's own: photos whose answer is known by construction."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from art_multimodal import InputError, load_model
from art_multimodal.cli.program import main
from art_multimodal.datasets import open_images
from art_multimodal.demo.digits_data import DigitsData
from art_multimodal.evaluations.preprocessing import compare_preprocessing

TEMPLATES = ("a photo of the handwritten digit {}.",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits at eight times their size; in the pixels that a resize without antialiasing looks at, other digits."""
    root, data = tmp_path_factory.mktemp("photos"), DigitsData()
    for number in range(6):
        large = np.kron(data.image(number), np.ones((1, 8, 8), dtype=np.float32))
        other = next(place for place in range(len(data)) if data.label_of(place) != data.label_of(number))
        for row in (3, 4):
            for column in (3, 4):
                large[:, row::8, column::8] = data.image(other + number)
        name = data.class_names[data.label_of(number)]
        (root / name).mkdir(exist_ok=True)
        Image.fromarray((large.transpose(1, 2, 0) * 255).round().astype(np.uint8)).save(root / name / f"{number}.png")
    return root


def compare(folder: Path, **further):
    return compare_preprocessing("demo:digits", f"folder:{folder}", templates=TEMPLATES, device="cpu", **further)


def test_the_models_own_is_the_same(folder: Path) -> None:
    found = compare(folder, resize="bicubic")
    assert found.same and found.largest == 0 and found.labels_changed == 0 and found.least_cosine > 0.9999
    assert found.photos == found.resized == 6 and found.own_accuracy == found.deployed_accuracy


def test_another_resize_is_found_out(folder: Path) -> None:
    found = compare(folder, resize="opencv_linear")
    assert not found.same and found.largest > 50 and found.labels_changed > 0 and found.beyond_rounding > 0.01
    assert found.deployed_accuracy < found.own_accuracy and found.worst.endswith(".png")
    assert compare(folder, resize="opencv_linear", limit=2).photos == 2


def fed(folder: Path, interpolation: str | None = None) -> tuple[np.ndarray, list[str]]:
    """What a pipeline feeds to the model, and of which photos."""
    preprocess = load_model("demo:digits").preprocess
    preprocess = preprocess.resized_by(interpolation) if interpolation else preprocess
    data = open_images(f"folder:{folder}", None, preprocess.reduce_photo)
    pixels = [preprocess(torch.from_numpy(data.image(index))[None])[0].numpy() for index in range(len(data))]
    return np.stack(pixels), [data.name_of(index) for index in range(len(data))]


def test_tensors_of_a_deployed_pipeline(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "fed.npz"
    pixels, names = fed(folder)
    np.savez(path, pixels=pixels)
    assert compare(folder, deployed=path).same
    # In another order, by their names; and only some.
    np.savez_compressed(path, pixels=pixels[[4, 1]], names=np.array([names[4], names[1]]))
    found = compare(folder, deployed=path)
    assert found.same and found.photos == 2
    np.savez(path, pixels=pixels[[1, 4]], names=np.array([names[4], names[1]]))
    assert not compare(folder, deployed=path).same
    # Forgotten normalisation, and another resize.
    np.savez(path, pixels=fed(folder, "opencv_area")[0])
    assert not compare(folder, deployed=path).same
    std, mean = (getattr(load_model("demo:digits").preprocess, name).numpy() for name in ("std", "mean"))
    np.savez(path, pixels=pixels * std + mean)
    assert compare(folder, deployed=path).largest > 20


def test_photos_that_are_not_resized_tell_no_resizes_apart(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["preprocessing", "demo:digits", "--data", "demo:digits", "--limit", "2", "--device", "cpu"]
    out = tmp_path / "numbers.json"
    assert main([*given, "--resize", "opencv_linear", "--out", str(out)]) == 2
    printed = capsys.readouterr().out
    assert "photos: 2, 0 of them resized" in printed and "verdict: none" in printed and "give photos" in printed
    assert json.loads(out.read_text())["same"] is None
    # What differs differs, whatever was resized; and one photo of another size, read from a file, is enough.
    pixels = np.zeros((2, 3, 32, 32), dtype=np.float32)
    np.savez(tmp_path / "fed.npz", pixels=pixels)
    assert main([*given, "--deployed", str(tmp_path / "fed.npz")]) == 1
    for name, side in (("zero", 32), ("one", 40)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("RGB", (side, side), "grey").save(tmp_path / "photos" / name / "1.png")
    found = compare(tmp_path / "photos", resize="opencv_linear")
    assert (found.photos, found.resized, found.same) == (2, 1, True)


def test_what_is_refused(folder: Path, tmp_path: Path) -> None:
    pixels, names = fed(folder)
    path = tmp_path / "fed.npz"

    def saved(**arrays) -> Path:
        np.savez(path, **arrays)
        return path

    for make, said in (
        (lambda: saved(pixels=pixels[:, :, :-1]), "is fed"),
        (lambda: saved(pixels=pixels.astype(np.int64)), "floating"),
        (lambda: saved(pixels=np.full_like(pixels, np.inf)), "infinite"),
        (lambda: saved(images=pixels), "images"),
        (lambda: saved(names=np.array(names)), "no pixels"),
        (lambda: saved(pixels=pixels, names=np.array(names[:2])), "6 strings"),
        (lambda: saved(pixels=pixels, names=np.array(["x", *names[1:]])), "'x'"),
        (lambda: saved(pixels=pixels, names=np.array([names[1], *names[1:]])), "twice"),
        (lambda: saved(pixels=np.concatenate([pixels, pixels])), "12 pictures"),
        (lambda: saved(pixels=np.array([{}], dtype=object)), "damaged"),
        (lambda: tmp_path / "missing.npz", "cannot be read"),
        (lambda: tmp_path / "fed.npy", "no .npz"),
    ):
        with pytest.raises(InputError, match=said):
            compare(folder, deployed=make())
    path.write_bytes(b"no archive")
    with pytest.raises(InputError, match="damaged"):
        compare(folder, deployed=path)
    for wrong in ({}, {"resize": "box", "deployed": path}):
        with pytest.raises(InputError, match="one of them"):
            compare(folder, **wrong)
    with pytest.raises(InputError, match="dual encoders"):
        compare_preprocessing("demo:shapes", f"folder:{folder}", resize="box")


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["preprocessing", "demo:digits", "--data", f"folder:{folder}", "--templates", TEMPLATES[0]]
    given += ["--device", "cpu"]
    out = tmp_path / "numbers.json"
    assert main([*given, "--resize", "pillow_bicubic"]) == 0
    assert "verdict: the same preprocessing" in capsys.readouterr().out
    assert main([*given, "--resize", "opencv_linear", "--out", str(out)]) == 1
    printed = capsys.readouterr().out
    assert "verdict: NOT the same preprocessing" in printed and "get another class" in printed
    assert (
        "photos: 6, 6 of them resized" in printed and "differ by more than rounding does (2 steps at most)" in printed
    )
    numbers = json.loads(out.read_text())
    assert numbers["same"] is False and numbers["labels_changed"] > 0
    assert main(given) == 2
    assert "one of them" in capsys.readouterr().err
