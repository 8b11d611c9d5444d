"""From statistics of clean images to an audit behind TAPT, which goes on, and is verified, on the same file alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml
from audits import run_audit

from art_multimodal import ZeroShotClassifier, cli, load_model
from art_multimodal.datasets import open_data
from art_multimodal.defences.test_time import LayerStatistics
from art_multimodal.evaluations.audit import Audit, AuditSettings
from art_multimodal.evaluations.evidence.comparing import compare
from art_multimodal.models.saving import weights_sha256

pytestmark = pytest.mark.usefixtures("little_effort")

DIGITS = ["demo:digits", "--data", "demo:digits", "--device", "cpu"]
SMALL = ["--attacks", "pgd", "--eps", "6/255", "--steps", "1", "--limit", "2", "--draws", "1"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("measured") / "clean.safetensors"
    assert (
        cli.main(["statistics", *DIGITS, "--limit", "10", "--seed", "1", "--batch-size", "4", "--out", str(path)]) == 0
    )
    return path


@pytest.fixture
def clean(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of one's own, in the folder that one works in."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "clean.safetensors"
    path.write_bytes(measured.read_bytes())
    return path


def defended(out: str, *further: str, views: int = 2) -> list[str]:
    spec = f"tapt:statistics=clean.safetensors,views={views},selected=0.7"
    return ["audit", *DIGITS, *SMALL, "--defence", spec, "--out", out, *further]


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    return lines[-1]


def test_they_are_those_of_the_images_that_the_seed_draws(measured: Path) -> None:
    data, found = open_data("demo:digits"), LayerStatistics.load(measured)
    rows = np.random.default_rng(1).permutation(len(data))[:10]
    classifier = ZeroShotClassifier(load_model("demo:digits"), data.class_names, data.templates, device_type="cpu")
    own = LayerStatistics.of(classifier, np.stack([data.image(int(row)) for row in rows]))
    for name in ("first", "means", "variances"):
        np.testing.assert_allclose(getattr(found, name).numpy(), getattr(own, name).numpy(), rtol=1e-4, atol=1e-5)
    assert (found.model, found.data, found.images) == ("demo:digits", "demo:digits", 10)
    assert found.weights_sha256 == weights_sha256(classifier.dual_encoder)


def test_an_audit_behind_it_is_what_it_was_given(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(defended("out", "--fixtures", "all")) == 0
    capsys.readouterr()
    spec = "tapt:statistics=clean.safetensors,views=2,selected=0.7,prompts=2,alpha=0.5,lr=0.0005,gradient=unrolled"
    report = json.loads(Path("out/report.json").read_text())
    pgd = report["results"]["pgd"]
    # 5 passes for an answer, 2 of them with a gradient; an attack follows its step, so that all of its have one.
    assert report["results"]["clean"]["queries"] == 5 and pgd["gradients"] >= 5
    assert "attacks that know of it follow its steps" in report["protocol"]["test_time"]
    assert report["defences"] == report["settings"]["defences"] == [spec]
    (file,) = report["defence_files"]
    assert (file["defence"], file["option"], file["file"]) == ("tapt", "statistics", "clean.safetensors")
    assert file["sha256"][:16] in report["protocol"]["defence_files"]
    assert f"--defence {spec}" in report["repeat"]["command"]
    assert f"clean.safetensors is statistics of tapt (SHA-256 {file['sha256'][:16]})" in report["repeat"]["said"]
    schema = Path(cli.__file__).parents[1] / "evaluations" / "audit" / "report.schema.json"
    jsonschema.Draft202012Validator(json.loads(schema.read_text())).validate(report)
    # Gone on with, and asked again.
    assert cli.main(defended("out", "--fixtures", "all", "--resume")) == 0
    assert cli.main(["verify", "out/evidence", "--device", "cpu"]) == 0
    assert not compare("out", "out").differences
    # On a file that holds something else, neither.
    capsys.readouterr()
    before = clean.read_bytes()
    assert cli.main(["statistics", *DIGITS, "--limit", "4", "--out", "clean.safetensors", "--overwrite"]) == 0
    for command, whose in (
        (defended("out", "--fixtures", "all", "--resume"), "The run to resume"),
        (["verify", "out/evidence", "--device", "cpu"], "The run of the bundle"),
    ):
        assert cli.main(command) == 2
        said = error_of(capsys)
        assert f"{whose} had another file for statistics of tapt: clean.safetensors has the SHA-256" in said
        assert f"it was {file['sha256'][:16]}" in said
    clean.unlink()
    assert cli.main(["verify", "out/evidence", "--device", "cpu"]) == 2
    assert "The statistics clean.safetensors cannot be used: No such file" in error_of(capsys)
    clean.write_bytes(before)
    assert cli.main(["verify", "out/evidence", "--device", "cpu"]) == 0


def test_the_file_of_a_plan_is_the_same_when_it_goes_on(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = {
        "plan": 1,
        "models": ["demo:digits"],
        "data": "demo:digits",
        "samples": {"limit": 2},
        "attacks": {"noise": ["noise"]},
        "defences": ["tapt:statistics=clean.safetensors,views=2,selected=0.7"],
        "draws": 1,
        "floors": {"clean": 0.0},
    }
    Path("plan.yaml").write_text(yaml.safe_dump(plan))
    assert cli.main(["plan", "check", "plan.yaml"]) == 0
    audit = ["audit", "--plan", "plan.yaml", "--device", "cpu", "--out", "out"]
    assert cli.main(audit) == 0 and cli.main([*audit, "--resume"]) == 0
    assert json.loads(Path("out/report.json").read_text())["defence_files"][0]["file"] == "clean.safetensors"
    other = LayerStatistics.load(clean)
    LayerStatistics(other.first, 2 * other.means, other.variances, other.images).save(clean)
    capsys.readouterr()
    assert cli.main([*audit, "--resume"]) == 2
    assert "had another file for statistics of tapt" in error_of(capsys)


def test_statistics_of_other_weights_are_said_to_be_so(clean: Path) -> None:
    said = "the clean statistics of TAPT are of demo:digits, with other weights than those of this model"
    settings = AuditSettings("demo:digits/robust", "demo:digits", attacks="noise", limit=1)
    one = replace(settings, defences=("tapt:statistics=clean.safetensors,views=2",))
    assert said in Audit(one, "out", device="cpu").header()["notes"]
    command = ["statistics", "demo:digits/robust", *DIGITS[1:], "--limit", "4", "--out", "robust.safetensors"]
    assert cli.main(command) == 0
    both = replace(settings, defences=("tapt:statistics=robust.safetensors,robust=clean.safetensors,views=2",))
    header = Audit(both, "out", device="cpu").header()
    assert said not in header["notes"] and [one["option"] for one in header["defence_files"]] == [
        "statistics",
        "robust",
    ]


def test_runs_on_other_files_can_be_compared_and_it_is_said(clean: Path) -> None:
    settings = AuditSettings("demo:digits", "demo:digits", attacks="noise", limit=2, draws=1)
    settings = replace(settings, defences=("tapt:statistics=clean.safetensors,views=2",))
    run_audit(settings, Path("one"))
    other = LayerStatistics.load(clean)
    LayerStatistics(other.first, 2 * other.means, other.variances, other.images).save(clean)
    run_audit(settings, Path("other"))
    (said,) = compare("one", "other").differences
    assert said.startswith("files of defences: SHA-256 ")


def test_what_is_refused_before_any_work(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = LayerStatistics.load(clean)
    LayerStatistics(other.first, other.means[:2], other.variances[:2]).save("short.safetensors")
    Path("words.txt").write_text("zero one")
    audit, out = ["audit", *DIGITS, *SMALL, "--out", "out", "--defence"], ["--out", "new.safetensors"]
    retrieval = ["audit", "demo:scenes", "--data", "demo:scenes", "--task", "retrieval", "--out", "out", "--defence"]
    for given, said in (
        ([*audit, "tapt"], "The defence tapt needs statistics=FILE"),
        ([*audit, "tapt:views=3"], "art-multimodal statistics MODEL --data DATA --out FILE"),
        ([*audit, "tapt:statistics=short.safetensors"], "Statistics of 2 layers of width 96 were given for TAPT, and"),
        ([*audit, "tapt:statistics=clean.safetensors,robust=short.safetensors"], "the model has 3 of width 96"),
        ([*audit, "tapt:statistics=words.txt"], "words.txt cannot be used: it is no file of safetensors"),
        ([*audit, "tapt:statistics=clean.safetensors,alpha=2"], "alpha of tapt must be a number from 0 to 1"),
        ([*audit, "tapt:statistics=clean.safetensors", "--templates", "{}"], "give templates that begin with some"),
        ([*retrieval, "tapt:statistics=clean.safetensors"], "tapt computes at test time"),
        (["statistics", "demo:shapes", "--data", "demo:digits", *out], "statistics of layers are of dual encoders"),
        (["statistics", *DIGITS, "--out", "new.npz"], "Did you mean new.safetensors"),
        (["statistics", *DIGITS, "--out", "clean.safetensors"], "--overwrite"),
        (["statistics", *DIGITS, "--out", "no/new.safetensors"], "no folder"),
        (["statistics", *DIGITS, *out, "--limit", "0"], "at least 1"),
        (["statistics", *DIGITS, *out, "--batch-size", "0"], "at least 1"),
        (["statistics", *DIGITS, *out, "--max-skipped", "2"], "--max-skipped"),
        (["statistics", "demo:digits", "--data", "folder:/nowhere", *out], "There is no folder"),
    ):
        assert cli.main(given) == 2, given
        assert said in error_of(capsys), given
    assert not Path("new.safetensors").exists() and not Path("out").exists()


def test_words_of_a_file_are_the_same_when_a_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("words.txt").write_text("a photo of the handwritten digit zero one two three four five six seven eight nine")
    audit = ["audit", *DIGITS, "--attacks", "noise", "--limit", "2", "--out", "out"]
    audit += ["--defence", "spelling:vocabulary=words.txt"]
    assert cli.main(audit) == 0 and cli.main([*audit, "--resume"]) == 0
    Path("words.txt").write_text("other words")
    capsys.readouterr()
    assert cli.main([*audit, "--resume"]) == 2
    assert "had another file for vocabulary of spelling: words.txt" in error_of(capsys)
