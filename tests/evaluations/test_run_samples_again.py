"""Audits of models over any modalities: interrupted, repeated, changed, gated, and on files that others made."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from audits import VIEWS, check_resumes_after, ends_of_lines, logged, read_report, run_audit
from several import ANSWERS, make, make_samples

from art_multimodal import FusionClassifier, cli
from art_multimodal.datasets import LabelledSampleArrays, open_data
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit import Audit, AuditSettings, RunLog
from art_multimodal.sample_arrays import with_field

pytestmark = pytest.mark.usefixtures("little_effort")

SPOKEN = AuditSettings(
    model="demo:spoken/redundant",
    data="demo:spoken/redundant",
    attacks="pgd,modality_missing",
    eps={"digit": 0.05, "speech": 0.02},
    steps=2,
    limit=6,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunLog:
    return run_audit(VIEWS, tmp_path_factory.mktemp("audit") / "views")


def saved(path: Path, x: np.ndarray, labels: np.ndarray, **more: np.ndarray) -> str:
    """Write samples as someone without this library would; return the name of the data."""
    arrays = {}
    for name in x.dtype.names or ():
        of_steps = x[name].dtype.names is not None
        arrays[name] = x[name]["values"] if of_steps else x[name]
        if of_steps:
            arrays[f"{name}_length"] = x[name]["length"]
    np.savez(path, **arrays, label=labels, **more)
    return f"npz:{path}"


def test_resume_after_a_cut_at_any_byte(finished: RunLog, tmp_path: Path) -> None:
    ends = ends_of_lines(finished)
    check_resumes_after(finished, VIEWS, (ends[0] - 1, ends[4] + 9, ends[-1]), tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"eps": {"pix": 0.1, "fou": 0.04, "kar": 0.05}}, "eps"),
        ({"model": "demo:views/late"}, "demo:views/late now"),
        ({"attacks": "apgd"}, "attacks"),
        ({"seed": 4}, "seed"),
    ],
)
def test_resume_with_other_settings_is_refused(finished: RunLog, tmp_path: Path, change: dict, said: str) -> None:
    shutil.copytree(finished.folder, tmp_path / "out")
    with pytest.raises(InputError, match=said):
        Audit(dataclasses.replace(VIEWS, **change), tmp_path / "out", device="cpu").evaluate(resume=True)


def test_the_number_of_samples_per_pass_changes_nothing(finished: RunLog, tmp_path: Path) -> None:
    other = run_audit(dataclasses.replace(VIEWS, batch_size=4), tmp_path / "out")
    found, before = (
        [(line["attack"], [one.get("predicted") for one in line["samples"]]) for line in logged(log)]
        for log in (other, finished)
    )
    assert found == before


def test_samples_that_changed_are_noticed(tmp_path: Path) -> None:
    data = open_data("demo:views")
    x, labels = data.samples(slice(8)), data.labels[:8]
    settings = dataclasses.replace(VIEWS, data=saved(tmp_path / "x.npz", x, labels), attacks="modality_missing")
    run_audit(settings, tmp_path / "out")
    again = Audit(settings, tmp_path / "out", device="cpu")
    again.evaluate(resume=True)
    changed = with_field(x, "kar", x["kar"].copy())
    changed["kar"][3, 5] += 0.25
    saved(tmp_path / "x.npz", changed, labels)
    with pytest.raises(InputError, match="fingerprint"):
        Audit(settings, tmp_path / "out", device="cpu").evaluate(resume=True)


def test_gates_stand_on_rows_of_modalities(tmp_path: Path, capsys) -> None:
    command = ["audit", "demo:views", "--data", "demo:views", "--attacks", "pgd,modality_missing", "--limit", "6"]
    command += ["--steps", "2", "--device", "cpu", "--out", str(tmp_path / "out")]
    passing = ["--fail-under", "single_source.accuracy=0.01", "--fail-under", "modality_missing@kar.accuracy=0.1"]
    assert cli.main([*command, *passing]) == 0
    found = read_report(tmp_path / "out")["results"]["fou"]["accuracy"]
    assert cli.main([*command, "--resume", "--fail-under", f"fou.accuracy={found}"]) == 0
    if found < 1:
        assert cli.main([*command, "--resume", "--fail-under", "fou.accuracy=1"]) == 1
    capsys.readouterr()
    assert cli.main([*command, "--resume", "--fail-under", "depth.accuracy=0.5"]) == 2
    assert "depth" in capsys.readouterr().err


def test_a_preset_chooses_what_works_on_samples(tmp_path: Path) -> None:
    command = ["audit", "demo:views", "--data", "demo:views", "--preset", "quick", "--limit", "4", "--device", "cpu"]
    assert cli.main([*command, "--out", str(tmp_path / "out")]) == 0
    results = read_report(tmp_path / "out")["results"]
    assert {f"apgd@{name}" for name in ("pix", "fou", "kar")} < set(results) and "decoupling_guided" in results


def test_recordings_in_a_file_are_those_of_the_demo(tmp_path: Path) -> None:
    data = open_data(SPOKEN.data)
    embedded = run_audit(SPOKEN, tmp_path / "embedded")
    order = Audit(SPOKEN, tmp_path / "unused", device="cpu").order
    name = saved(tmp_path / "x.npz", data.samples(order), data.labels[order])
    in_file = run_audit(dataclasses.replace(SPOKEN, data=name, limit=None, seed=SPOKEN.seed), tmp_path / "file")
    found = [read_report(log.folder)["results"] for log in (embedded, in_file)]
    rows = [name for name in found[0] if not name.startswith("modality_swap")]
    assert rows == list(found[1])
    assert all(found[0][row]["accuracy"] == found[1][row]["accuracy"] for row in rows)


def test_what_is_loaded_is_audited_like_what_is_named(finished: RunLog, tmp_path: Path) -> None:
    from art_multimodal import load_model

    data = open_data("demo:views")
    given = LabelledSampleArrays(data.samples(), data.labels, data.class_names, modalities=data.modalities.values())
    settings = dataclasses.replace(VIEWS, model=load_model("demo:views/concat"), data=given)
    log = run_audit(settings, tmp_path / "out")
    found, before = (read_report(one.folder)["results"] for one in (log, finished))
    assert {row: of["accuracy"] for row, of in found.items()} == {row: of["accuracy"] for row, of in before.items()}


PIX, FOU, KAR = (3, 1, 16, 15), (3, 76), (3, 64)


def arrays(**change: object) -> dict[str, object]:
    """Arrays of three samples of ``demo:views``, some of them others."""
    given: dict[str, object] = {
        "pix": np.full(PIX, 0.5, np.float32),
        "fou": np.full(FOU, 0.5, np.float32),
        "kar": np.full(KAR, 0.5, np.float32),
        "label": np.arange(3),
        **change,
    }
    return {name: value for name, value in given.items() if value is not None}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kar": None}, "kar"),
        ({"label": None}, "no array called label"),
        ({"fou": np.zeros((2, 76), np.float32)}, "fou"),
        ({"fou": np.zeros((3, 75), np.float32)}, "fou"),
        ({"pix": np.zeros((3, 3, 16, 15), np.float32)}, "pix"),
        ({"kar": np.where(np.arange(64) == 7, np.nan, 0.5) * np.ones((3, 1))}, "kar"),
        ({"kar": np.full(KAR, np.inf)}, "kar"),
        ({"kar": np.full(KAR, 7.0)}, "kar"),
        ({"kar": np.full(KAR, "x")}, "kar"),
        ({"label": np.array([0, 1, 10])}, "10"),
        ({"label": np.array([0, 1, -1])}, "-1"),
        ({"label": np.array([0.5, 1, 2])}, "Labels"),
        ({"label": np.array(["0", "1", "cat"])}, "'zero', 'one'"),
        ({"label": np.array(3)}, "label"),
        ({"label": np.arange(4)}, "4 labels"),
        ({name: np.zeros((0, *shape[1:])) for name, shape in (("pix", PIX), ("fou", FOU), ("kar", KAR))}, "label"),
    ],
)
def test_a_wrong_array_is_one_line(tmp_path: Path, capsys, change: dict, said: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays(**change))
    command = ["audit", "demo:views", "--data", f"npz:{tmp_path / 'x.npz'}", "--out", str(tmp_path / "out")]
    assert cli.main([*command, "--attacks", "modality_missing", "--device", "cpu"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and said in lines[0], lines
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("lengths", "said"),
    [
        (np.array([0, 49, 3]), "49"),
        (np.array([-1, 2, 3]), "-1"),
        (np.array([1.5, 2, 3]), "length"),
        (np.array([1, 2]), "length"),
        # There is sound behind what is said to be the length.
        (np.array([1, 2, 3]), "speech"),
    ],
)
def test_wrong_lengths_are_one_line(tmp_path: Path, capsys, lengths: np.ndarray, said: str) -> None:
    data = open_data("demo:spoken/redundant")
    x = data.samples(slice(3))
    given = {"digit": x["digit"], "speech": x["speech"]["values"], "speech_length": lengths, "label": data.labels[:3]}
    np.savez(tmp_path / "x.npz", **given)
    command = ["audit", SPOKEN.model, "--data", f"npz:{tmp_path / 'x.npz'}", "--out", str(tmp_path / "out")]
    assert cli.main([*command, "--device", "cpu"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and said in lines[0], lines


def test_files_that_would_run_code_or_fill_the_memory_are_refused(tmp_path: Path, capsys) -> None:
    ran = tmp_path / "ran"

    class Canary:
        def __reduce__(self) -> tuple:
            return (Path.touch, (ran,))

    pickled = np.empty(3, dtype=object)
    pickled[:] = [Canary()] * 3
    np.savez(tmp_path / "code.npz", **arrays(kar=pickled))
    np.savez(tmp_path / "labels.npz", **arrays(label=np.array([0, 1, 10**15])))
    whole = (tmp_path / "labels.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:-200])
    (tmp_path / "text.npz").write_text("pix, fou, kar\n")
    np.save(tmp_path / "single.npy", np.zeros(3))
    (tmp_path / "single.npy").rename(tmp_path / "single.npz")
    # A header that promises a thousand times what there is.
    shape = b"(3, 64)"
    (tmp_path / "promise.npz").write_bytes(whole.replace(shape, b"(3,%d)" % 10**2 if len(shape) == 7 else shape))
    for name in ("code", "labels", "cut", "text", "single", "promise", "nowhere"):
        command = ["audit", "demo:views", "--data", f"npz:{tmp_path / name}.npz", "--out", str(tmp_path / "out")]
        assert cli.main([*command, "--device", "cpu"]) == 2, name
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: "), (name, lines)
    assert not ran.exists()
    with pytest.raises(InputError, match="100,000 classes"):
        open_data(f"npz:{tmp_path / 'labels.npz'}")


def test_names_from_a_file_are_shown_and_never_run(tmp_path: Path, capsys) -> None:
    data = open_data("demo:views")
    x = data.samples(slice(4))
    hostile = "<script>alert(1)</script>\x1b[2J"
    name = saved(tmp_path / "x.npz", x, data.labels[:4], **{hostile: np.zeros((4, 2))})
    command = ["audit", "demo:views", "--data", name, "--attacks", "modality_missing", "--device", "cpu"]
    code = cli.main([*command, "--out", str(tmp_path / "out")])
    printed = capsys.readouterr()
    assert code in (0, 2) and "\x1b[2J" not in printed.err + printed.out
    if code == 0:
        assert "<script>alert" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["concat", "joint"])
def test_a_text_among_other_modalities_is_attacked_too(tmp_path: Path, kind: str) -> None:
    model, x = make(kind), make_samples(lengths=(5, 2, 3, 1), notes=("a cat", "a red cat", "what is this?", "a cat"))
    labels = FusionClassifier(model, device_type="cpu").predict_labels(x)
    data = LabelledSampleArrays(x, labels, ANSWERS, names=["one", "two", "three", "four"])
    settings = AuditSettings(
        model,
        data,
        "bert_attack,character_attack,text_exhaustive,worst@note,pgd@rgb,modality_swap,modality_removed@note",
        eps={"rgb": 0.1, "audio": 0.1, "lab": 0.1},
        steps=2,
        max_queries=40,
        protect_class_names=False,
    )
    log = run_audit(settings, tmp_path / "out")
    report = read_report(log.folder)
    results = report["results"]
    assert {"bert_attack@note", "character_attack@note", "text_exhaustive@note", "worst@note", "note"} <= set(results)
    assert results["clean"]["accuracy"] == 1
    # More words and edits find at least what few do; and an ensemble goes on where they failed.
    assert results["worst@note"]["accuracy"] <= results["text_exhaustive@note"]["accuracy"]
    assert results["text_exhaustive@note"]["accuracy"] <= results["character_attack@note"]["accuracy"]
    assert report["by_modality"]["note"]["attacked"]["accuracy"] == results["note"]["accuracy"]
    assert "one word, one typing error" in (log.folder / "report.md").read_text(encoding="utf-8")
    assert "text_budget" in report["protocol"]
    # The rest of each sample is as it was: what is said of a text that fell is what the model says of it.
    changed = [one for line in logged(log) if line["attack"] == "text_exhaustive@note" for one in line["samples"]]
    assert len(changed) == len(x)
    for one in changed:
        ((before, after),) = one["texts"]
        assert before == x["note"][one["index"]]
        asked = with_field(x, "note", np.array([after] * len(x), dtype=object))[one["index"] : one["index"] + 1]
        assert FusionClassifier(model, device_type="cpu").predict_labels(asked)[0] == one["predicted"]
