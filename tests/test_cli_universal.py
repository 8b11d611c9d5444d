"""From learning one perturbation for all images to the row of an audit, and what is refused on the way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from art_multimodal.attacks.evasion.universal import (
    UniversalPerturbation,
    load_patch,
    load_perturbation,
    random_perturbation,
    save_universal,
)
from art_multimodal.cli.program import main
from art_multimodal.evaluations.suite import ATTACKS, Budget

DIGITS = ["--data", "demo:digits", "--device", "cpu"]


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A perturbation of 32/255 on the demo model."""
    path = tmp_path_factory.mktemp("learned") / "uap.safetensors"
    given = ["--eps", "32/255", "--loss", "cross_entropy", "--steps", "25", "--limit", "64", "--out", str(path)]
    assert main(["universal", "demo:digits", "demo:digits/robust", *DIGITS, *given]) == 0
    return path


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def test_what_is_learned_is_named_in_the_file(learned: Path) -> None:
    found = load_perturbation(learned)
    assert found.surrogates == ("demo:digits", "demo:digits/robust") and found.size == (32, 32)
    assert found.length() == pytest.approx(32 / 255, rel=1e-5) and found.eps == 32 / 255


def test_a_row_of_its_own_that_counts_for_images(learned: Path, tmp_path: Path) -> None:
    given = ["--universal", str(learned), "--attacks", "noise,square", "--max-queries", "12", "--limit", "24"]
    out = tmp_path / "audit"
    assert main(["audit", "demo:digits", *DIGITS, *given, "--eps", "16/255,32/255", "--out", str(out)]) == 0
    found = report(out)
    assert found["attacks"] == ["square", "noise", "universal"]
    results = found["results"]
    # The images' own row is the worst case of both.
    assert results["image"]["accuracy"] <= min(results["universal"]["accuracy"], results["square"]["accuracy"])
    assert "universal" in results["image"]["knowledge"]
    assert results["universal"]["queries"] == 1 and results["universal"]["knowledge"] == "black box"
    assert found["universal"]["surrogates"] == ["demo:digits", "demo:digits/robust"]
    assert found["settings"]["universal"] == str(learned) and "one perturbation" in found["protocol"]["universal"]
    # The command that repeats the run has it, too.
    assert f"--universal {learned}" in found["repeat"]["command"]
    # Projected into the smaller radius it does less.
    (small, large) = found["curves"]["universal"]["points"][-2:]
    assert small["accuracy"] >= large["accuracy"]
    assert "universal" in (out / "report.md").read_text()
    # A run that is gone on with knows its file again.
    other = tmp_path / "other.safetensors"
    save_universal(random_perturbation(load_perturbation(learned), 0), other)
    again = ["audit", "demo:digits", *DIGITS, *given[2:], "--eps", "16/255,32/255", "--out", str(out), "--resume"]
    assert main([*again, "--universal", str(learned)]) == 0
    assert main([*again, "--universal", str(other)]) == 2


def test_a_run_knows_what_its_file_held(learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "uap.safetensors"
    save_universal(load_perturbation(learned), path)
    given = ["--universal", str(path), "--attacks", "noise", "--limit", "4", "--eps", "32/255"]
    audit = ["audit", "demo:digits", *DIGITS, *given, "--out", str(tmp_path / "out")]
    assert main(audit) == 0 and main([*audit, "--resume"]) == 0
    save_universal(random_perturbation(load_perturbation(learned), 0), path)
    assert main([*audit, "--resume"]) == 2
    assert "had another file for --universal" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "data", "further"),
    [("demo:shapes/late", "demo:shapes", []), ("demo:scenes", "demo:scenes", ["--task", "retrieval"])],
)
def test_pairs_and_retrieval(model: str, data: str, further: list[str], learned: Path, tmp_path: Path) -> None:
    given = ["--data", data, "--universal", str(learned), "--attacks", "noise", "--eps", "32/255", "--limit", "6"]
    assert main(["audit", model, *given, *further, "--device", "cpu", "--out", str(tmp_path / "out")]) == 0
    assert report(tmp_path / "out")["results"]["universal"]["attacked"] > 0


def test_a_published_array_at_another_size(tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(-8 / 255, 8 / 255, (1, 3, 224, 224)).astype(np.float32)
    np.save(tmp_path / "published.npy", values)
    given = ["--universal", str(tmp_path / "published.npy"), "--attacks", "noise", "--eps", "8/255", "--limit", "6"]
    assert main(["audit", "demo:digits", *DIGITS, *given, "--out", str(tmp_path / "out")]) == 0
    assert report(tmp_path / "out")["universal"]["size"] == [224, 224]


def test_the_row_keeps_to_the_budget_at_any_size() -> None:
    from art_multimodal import ZeroShotClassifier, load_model

    classifier = ZeroShotClassifier(load_model("demo:digits"), ("one", "two"), device_type="cpu")
    for norm, eps in (("inf", 0.1), ("2", 1.0)):
        whole = random_perturbation(UniversalPerturbation(np.zeros((3, 32, 32), np.float32), norm, eps), 0)
        x = np.random.default_rng(0).random((3, 3, 40, 48), dtype=np.float32)
        budget = Budget(norm, 0.6 * eps, universal=whole)
        moved = ATTACKS["universal"].run(classifier, x, np.zeros(3, np.int64), budget, 0).images
        change = (moved.astype(np.float64) - x).reshape(3, -1)
        lengths = np.abs(change).max(axis=1) if norm == "inf" else np.linalg.norm(change, axis=1)
        assert (lengths <= 0.6 * eps * (1 + 1e-5) + 1e-6).all() and (lengths > 0.3 * eps).all()


def test_a_patch(tmp_path: Path) -> None:
    out = tmp_path / "patch.safetensors"
    given = ["--patch", "8", "--target", "a photo of the handwritten digit three.", "--steps", "3", "--limit", "16"]
    assert main(["universal", "demo:digits", *DIGITS, *given, "--out", str(out)]) == 0
    patch = load_patch(out)
    assert patch.values.shape == (3, 8, 8) and patch.target.endswith("three.")


def test_what_is_refused(
    learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = ["--out", "new.safetensors"]
    audit = ["audit", "demo:digits", *DIGITS, "--limit", "2", "--attacks", "noise", "--out", "audit"]
    np.save("flat.npy", np.zeros((32, 32), np.float32))
    for given, said in (
        (["universal", "demo:shapes", *DIGITS, *out], "dual encoders"),
        (["universal", "demo:digits", *DIGITS, "--out", "a.npy"], "a.safetensors"),
        (["universal", "demo:digits", *DIGITS, "--out", str(learned)], "--overwrite"),
        (["universal", "demo:digits", *DIGITS, "--out", "no/a.safetensors"], "no folder"),
        (["universal", "demo:digits", *DIGITS, *out, "--eps", "8"], "8/255"),
        (["universal", "demo:digits", *DIGITS, *out, "--eps", "0"], "greater than 0"),
        (["universal", "demo:digits", *DIGITS, *out, "--norm", "2"], "--eps"),
        (["universal", "demo:digits", *DIGITS, *out, "--arms", "2"], "1 models"),
        (["universal", "demo:digits", *DIGITS, *out, "--loss", "similar"], "similarity"),
        (["universal", "demo:digits", *DIGITS, *out, "--patch", "8", "--eps", "1/255"], "no radius"),
        (["universal", "demo:digits", *DIGITS, *out, "--patch", "8", "--share", "2"], "share"),
        (["universal", "demo:digits", *DIGITS, *out, "--limit", "0"], "at least 1"),
        (["universal", "demo:digits", *DIGITS, *out, "--loss", "cross_entropy", "--target", "thre"], "three"),
        ([*audit, "--universal", str(learned), "--eps", "8/255"], "audit within 32/255"),
        ([*audit, "--universal", "missing.npy"], "cannot be read"),
        ([*audit, "--universal", "flat.npy"], "(3, H, W)"),
        ([*audit[:-4], "--attacks", "universal", "--out", "audit"], "--universal FILE"),
        (["audit", "demo:views/late", "--data", "demo:views", "--universal", str(learned), "--out", "a"], "no images"),
    ):
        assert main(given) == 2, given
        error = capsys.readouterr().err.strip().splitlines()
        assert said in error[-1] and error[-1].startswith("error: "), (given, error)
    assert not Path("new.safetensors").exists() and not Path("audit").exists()
