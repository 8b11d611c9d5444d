"""Files of universal perturbations and patches: there and back, arrays of others, and everything that is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from art_multimodal import InputError
from art_multimodal.attacks.evasion.universal import (
    UniversalPatch,
    UniversalPerturbation,
    digest_of,
    load_patch,
    load_perturbation,
    random_perturbation,
    save_universal,
)

ZERO = np.zeros((3, 5, 6), np.float32)
PERTURBATION = random_perturbation(UniversalPerturbation(ZERO, "inf", 8 / 255), 0)
PATCH = UniversalPatch(np.random.default_rng(0).random((3, 5, 6), dtype=np.float32), ("one",), "a dog")


@pytest.mark.parametrize("norm", ["inf", "2"])
def test_there_and_back(tmp_path: Path, norm: str) -> None:
    values = random_perturbation(UniversalPerturbation(ZERO, norm, 0.5), 1).values
    written = UniversalPerturbation(values, norm, 0.5, ("open_clip:a", "hf:ü"), "a photo of a dog")
    save_universal(written, tmp_path / "one.safetensors")
    found = load_perturbation(tmp_path / "one.safetensors")
    np.testing.assert_array_equal(found.values, written.values)
    assert (found.norm, found.eps, found.surrogates, found.target) == (norm, 0.5, written.surrogates, written.target)
    assert digest_of(found) == digest_of(written) and not found.notes
    save_universal(PATCH, tmp_path / "patch.safetensors")
    patch = load_patch(tmp_path / "patch.safetensors")
    np.testing.assert_array_equal(patch.values, PATCH.values)
    assert (patch.surrogates, patch.target) == (("one",), "a dog")
    for load, name in ((load_patch, "one"), (load_perturbation, "patch")):
        with pytest.raises(InputError, match="holds a"):
            load(tmp_path / f"{name}.safetensors")
    with pytest.raises(InputError, match="safetensors"):
        save_universal(PATCH, tmp_path / "patch.npy")
    with pytest.raises(InputError, match="Cannot write .*: No such file or directory. Name a file in a folder"):
        save_universal(PATCH, tmp_path / "nowhere" / "patch.safetensors")


def test_published_arrays(tmp_path: Path) -> None:
    values = PERTURBATION.values
    np.save(tmp_path / "plain.npy", values)
    np.save(tmp_path / "batch.npy", values[None].astype(np.float64))
    np.save(tmp_path / "last.npy", values.transpose(1, 2, 0))
    np.save(tmp_path / "steps.npy", np.round(values * 255).astype(np.int16))
    np.savez_compressed(tmp_path / "packed.npz", anything=values)
    save_file({"uap": values}, tmp_path / "theirs.safetensors")
    for name in ("plain.npy", "batch.npy", "last.npy", "steps.npy", "packed.npz", "theirs.safetensors"):
        found = load_perturbation(tmp_path / name)
        np.testing.assert_allclose(found.values, values, atol=1e-7)
        assert found.norm == "inf" and found.eps == pytest.approx(8 / 255) and "bare array" in found.notes[-1]
        assert ("steps of 8 bits" in found.notes[0]) == (name == "steps.npy")
    found = load_perturbation(tmp_path / "plain.npy", norm="2")
    assert found.eps == pytest.approx(8 / 255 * (3 * 5 * 6) ** 0.5)


def test_patches_as_arrays_and_pictures(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "patch.png")
    np.save(tmp_path / "patch.npy", pixels)
    np.save(tmp_path / "shares.npy", pixels.astype(np.float32) / 255)
    for name in ("patch.png", "patch.npy", "shares.npy"):
        np.testing.assert_allclose(load_patch(tmp_path / name).values, pixels.transpose(2, 0, 1) / 255, atol=1e-6)


def damaged(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that are not what they should be, and a word of what is said of each."""
    whole = folder / "whole.safetensors"
    save_universal(PERTURBATION, whole)
    content = whole.read_bytes()
    header = {"universal": None}
    (folder / "cut.safetensors").write_bytes(content[:-40])
    (folder / "empty.npy").write_bytes(b"")
    (folder / "text.npy").write_text("no array")
    (folder / "text.npz").write_text("no array")
    (folder / "other.pt").write_bytes(b"x")
    (folder / "nothing.safetensors").write_bytes(b"")
    np.save(folder / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(folder / "grey.npy", np.zeros((5, 6), np.float32))
    np.save(folder / "nan.npy", np.full((3, 5, 6), np.nan, np.float32))
    np.save(folder / "words.npy", np.full((3, 5, 6), "a"))
    np.save(folder / "large.npy", np.full((3, 5, 6), 2.5, np.float32))
    np.save(folder / "huge.npy", np.full((3, 5, 6), 1000))
    np.save(folder / "unsigned.npy", np.full((3, 5, 6), 120, np.uint8))
    np.savez(folder / "two.npz", a=ZERO, b=ZERO)
    save_file({"a": ZERO, "b": ZERO}, folder / "two.safetensors")
    Image.new("RGB", (6, 5)).save(folder / "picture.png")
    (folder / "folder.npy").mkdir()
    facts = json.loads(json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["universal"])
    changes = {
        "format": {"format": "another 7"},
        "kind": {"kind": "sticker"},
        "unknown": {"author": "x"},
        "norm": {"norm": "1"},
        "eps": {"eps": 1 / 255},
        "nan_eps": {"eps": float("nan")},
        "eps_text": {"eps": "8/255"},
        "digest": {"sha256": "0" * 64},
        "names": {"surrogates": "one"},
        "target": {"target": 7},
    }
    for name, change in changes.items():
        header = {"universal": json.dumps(facts | change)}
        save_file(load_file(whole), folder / f"{name}.safetensors", header)
    save_file(load_file(whole), folder / "list.safetensors", {"universal": "[1]"})
    save_file({"values": ZERO + np.float32(0.01)}, folder / "exchanged.safetensors", {"universal": json.dumps(facts)})
    said = {
        "cut.safetensors": "damaged",
        "empty.npy": "damaged",
        "text.npy": "damaged",
        "text.npz": "damaged",
        "other.pt": "no format",
        "nothing.safetensors": "damaged",
        "objects.npy": "damaged",
        "grey.npy": r"\(3, H, W\)",
        "nan.npy": "NaN",
        "words.npy": "not numbers",
        "large.npy": "whole ones",
        "huge.npy": "whole ones",
        "unsigned.npy": "no change",
        "two.npz": "2 arrays",
        "two.safetensors": "2 tensors",
        "picture.png": "below 0",
        "folder.npy": "cannot be read",
        "missing.npy": "cannot be read",
        "format.safetensors": "another 7",
        "kind.safetensors": "sticker",
        "unknown.safetensors": "author",
        "norm.safetensors": "norm",
        "eps.safetensors": "says",
        "nan_eps.safetensors": "finite",
        "eps_text.safetensors": "no number",
        "digest.safetensors": "digest",
        "names.safetensors": "surrogates",
        "target.safetensors": "target",
        "list.safetensors": "damaged",
        "exchanged.safetensors": "digest",
    }
    return {name: (folder / name, word) for name, word in said.items()}


def test_what_is_damaged_is_said_in_one_line(tmp_path: Path) -> None:
    for name, (path, word) in damaged(tmp_path).items():
        with pytest.raises(InputError, match=word) as refused:
            load_perturbation(path)
        message = str(refused.value)
        assert name in message and "\n" not in message and len(message) < 400, message
    np.save(tmp_path / "negative.npy", PERTURBATION.values)
    with pytest.raises(InputError, match="no colours"):
        load_patch(tmp_path / "negative.npy")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="broken"):
        load_patch(tmp_path / "broken.png")


def test_a_name_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        load_perturbation(tmp_path / "a\x1b[31m.npy")
    assert "\x1b" not in str(refused.value)
