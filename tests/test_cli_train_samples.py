"""``art-multimodal train`` on samples of several modalities: from a file to an audit of what came out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from audits import timeless
from cli_training import header_of, run

from art_multimodal import cli, load_model
from art_multimodal.modalities import skeleton
from art_multimodal.models.fusions import UnifiedStream
from art_multimodal.models.saving import save_model

CLASSES = np.array(["low", "middle", "high"])
QUICK = ["--device", "cpu", "--epochs", "2", "--batch-size", "20", "--learning-rate", "1e-2", "--steps", "2"]
EPS = ["--eps", "lab=0.05,pix=0.1"]


@pytest.fixture
def data(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    lab = rng.random((60, 4)).astype(np.float32) + labels[:, None]
    pix = (rng.random((60, 1, 6, 6)) + labels[:, None, None, None]).astype(np.float32)
    sound = rng.random((60, 5, 2)).astype(np.float32)
    lengths = 1 + np.arange(60) % 5
    sound[np.arange(5) >= lengths[:, None]] = 0
    file = tmp_path / "samples.npz"
    np.savez(file, lab=lab, pix=pix, sound=sound, sound_length=lengths, label=CLASSES[labels])
    return f"npz:{file}"


@pytest.mark.parametrize(
    ("method", "fusion"),
    [
        *(("plain", "concat"), ("auxiliary", "consensus"), ("qmf", "qmf"), ("unis_mmc", "unis_mmc"), ("mla", "mla")),
        *(("crmt", "orthogonal"), ("mmlora", "late")),
    ],
)
def test_train_then_audit_what_came_out(method: str, fusion: str, data: str, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "out"
    code, printed, err = run(capsys, method, f"modular:{fusion}", "--data", data, *QUICK, *EPS, "--out", str(out))
    assert code == 0, err
    lines = printed.splitlines()
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 80
    assert lines[0] == f"{method} on modular:{fusion}: 54 samples to train on, 6 to validate"
    assert "epoch      loss     clean    single     joint  attacked" in lines
    header = header_of(out)
    assert header["data"]["modalities"] == ["lab", "pix", "sound"]
    assert header["data"]["class_names"] == ["high", "low", "middle"]
    for row in header["history"]:
        assert row["attacked"] <= min(row["single"], row["joint"]) <= row["clean"]
    assert f"audit checkpoint:{out} --data {data} --eps lab=0.05,pix=0.1" in printed
    audit = ["audit", f"checkpoint:{out}", "--data", data, *EPS, "--attacks", "pgd@lab", "--limit", "9"]
    assert cli.main([*audit, "--out", str(tmp_path / "audit"), "--device", "cpu"]) == 0
    saved = json.loads((out / "best" / "saved_model.json").read_text())
    report = json.loads((tmp_path / "audit" / "report.json").read_text())
    assert report["model"]["weights_sha256"] == saved["weights_sha256"]
    # And training goes on from there, also by another method.
    more = ["plain", f"checkpoint:{out}/last", "--data", data, *QUICK, "--out", str(tmp_path / "more")]
    assert run(capsys, *more)[0] == 0
    assert (
        type(load_model(f"checkpoint:{tmp_path / 'more'}").fusion).__name__
        == type(load_model(f"checkpoint:{out}").fusion).__name__
    )


@pytest.mark.parametrize(("method", "fusion"), [("qmf", "qmf"), ("mla", "mla"), ("mmlora", "late")])
def test_a_run_that_goes_on_ends_like_one_that_was_not_stopped(method, fusion, data, tmp_path, capsys, monkeypatch):
    from art_multimodal.defences.training_run import TrainingRun

    command = [method, f"modular:{fusion}", "--data", data, *QUICK, *EPS, "--checkpoint-every", "1"]
    assert run(capsys, *command, "--out", str(tmp_path / "whole"))[0] == 0
    taken = TrainingRun._step_taken

    def stop(self, record) -> None:
        taken(self, record)
        if record.place.step == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingRun, "_step_taken", stop)
    assert run(capsys, *command, "--out", str(tmp_path / "stopped"))[0] != 0
    monkeypatch.setattr(TrainingRun, "_step_taken", taken)
    assert run(capsys, *command, "--out", str(tmp_path / "stopped"), "--resume")[0] == 0
    whole, stopped = (header_of(tmp_path / name) for name in ("whole", "stopped"))
    assert timeless(whole["history"]) == timeless(stopped["history"])
    digests = [
        json.loads((tmp_path / name / "last" / "saved_model.json").read_text())["weights_sha256"]
        for name in ("whole", "stopped")
    ]
    assert digests[0] == digests[1]


def test_other_files_may_leave_the_range_of_the_first_by_a_little(data: str, tmp_path: Path, capsys) -> None:
    with np.load(data.removeprefix("npz:")) as file:
        arrays = dict(file)
    arrays["lab"] = arrays["lab"] * 1.05
    np.savez(tmp_path / "other.npz", **arrays)
    other = ["--validation", f"npz:{tmp_path / 'other.npz'}"]
    command = ["plain", "modular:late", "--data", data, *QUICK, *other]
    code, _, err = run(capsys, *command, "--out", str(tmp_path / "out"))
    assert code == 0, err
    # Within [0, 1] everything stays; the others have a tenth of their range more.
    kinds = load_model(f"checkpoint:{tmp_path / 'out'}").modalities
    assert kinds["sound"].clip_values == (0.0, 1.0)
    low, high = kinds["lab"].clip_values
    assert low == pytest.approx(-0.1 * (high - low) / 1.2 + arrays["lab"].min() / 1.05, abs=1e-5)
    arrays["lab"] = arrays["lab"] * 2
    np.savez(tmp_path / "other.npz", **arrays)
    code, _, err = run(capsys, *command, "--out", str(tmp_path / "more"))
    assert code == 2 and "lab: values must lie in" in err


HIDE = ["--keep", "pix=6,lab=2,sound=2", "--elements", "pix=points"]


def test_train_with_elements_hidden_and_go_on(data: str, tmp_path: Path, capsys, monkeypatch) -> None:
    from art_multimodal.defences.training_run import TrainingRun

    command = ["ablation", "modular:late", "--data", data, *QUICK, *HIDE, "--option", "consistency=0.5"]
    code, printed, err = run(capsys, *command, "--out", str(tmp_path / "whole"))
    assert code == 0, err
    lines = printed.splitlines()
    assert "epoch      loss     clean   ablated  attacked" in lines and max(map(len, lines[:9])) <= 80
    assert "kept: pix 6 (point), lab 2 (point), sound 2 (step)" in " ".join(printed.split()), printed
    header = header_of(tmp_path / "whole")
    assert header["keep"]["sound"] == {"elements": "steps", "squeeze": False, "fill": 0.0, "keep": 2}
    assert header["settings"]["keep"] == {"pix": 6, "lab": 2, "sound": 2}
    assert all(row["attacked"] == row["ablated"] for row in header["history"])
    taken = TrainingRun._step_taken

    def stop(self, record) -> None:
        taken(self, record)
        if record.place.step == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingRun, "_step_taken", stop)
    stopped = ["--out", str(tmp_path / "stopped"), "--checkpoint-every", "1"]
    assert run(capsys, *command, *stopped)[0] != 0
    monkeypatch.setattr(TrainingRun, "_step_taken", taken)
    other = [part.replace("lab=2", "lab=1") for part in command]
    code, _, err = run(capsys, *other, *stopped, "--resume")
    assert code == 2 and "keep.lab: 2 then, 1 now" in err, err
    assert run(capsys, *command, *stopped, "--resume")[0] == 0
    assert timeless(header_of(tmp_path / "stopped")["history"]) == timeless(header["history"])


@pytest.mark.parametrize(
    ("method", "model", "data_spec", "keep", "hidden"),
    [
        ("ablation", "demo:shapes/cross_attention", "demo:shapes", "image=8,text=3", {"image", "text"}),
        ("image-ablation", "demo:digits", "demo:digits", "image=8", {"image"}),
        ("image-ablation", "demo:scenes", "demo:scenes", "image=8", {"image"}),
    ],
)
def test_pairs_and_images_are_hidden_too(method, model, data_spec, keep, hidden, tmp_path, capsys) -> None:
    task = ["--task", "retrieval"] if data_spec == "demo:scenes" else []
    command = [method, model, "--data", data_spec, "--keep", keep, "--limit", "40", "--epochs", "1", *task]
    code, printed, err = run(capsys, *command, "--device", "cpu", "--out", str(tmp_path / "out"))
    assert code == 0, err
    kept = header_of(tmp_path / "out")["keep"]
    assert set(kept) == hidden and kept["image"]["elements"] == "blocks:8"
    assert "image 8 (block of 8 x 8 pixels)" in " ".join(printed.split())
    if "text" in hidden:
        assert "red" in kept["text"]["protected"]


def test_without_radii_nothing_is_attacked(data: str, tmp_path: Path, capsys) -> None:
    code, printed, _ = run(capsys, "qmf", "modular:qmf", "--data", data, *QUICK, "--out", str(tmp_path / "out"))
    assert code == 0 and "epoch      loss     clean  attacked" in printed.splitlines()
    assert all(row["attacked"] == row["clean"] for row in header_of(tmp_path / "out")["history"])


def test_what_cannot_be_trained_is_one_line(data: str, tmp_path: Path, capsys) -> None:
    out = ["--out", str(tmp_path / "out"), "--device", "cpu"]
    for arguments, message in [
        (["qmf", "modular:qfm", "--data", data], "Did you mean qmf"),
        (["umurl", "modular:umurl", "--data", data], "umurl is a whole model and no fusion of towers: make a Unified"),
        (["qmf", "modular:concat", "--data", data], "needs scores of each modality alone"),
        (["mla", "modular:late", "--data", data], "one head that all modalities share"),
        (["tecoa", "modular:late", "--data", data], "tecoa trains dual encoders; for fusion models there are plain"),
        (["plain", "modular:late", "--data", "demo:digits"], "holds no samples"),
        (["plain", "modular:late", "--data", data, "--eps", "depth=0.1"], "knows no modality 'depth'"),
        (["plain", "modular:late", "--data", data, "--eps", "0.1"], "Each modality has a radius of its own"),
        (["plain", "modular:late", "--data", data, *EPS, "--attacked", "some"], "--attacked: unknown schedule"),
        (["plain", "modular:late", "--data", data, *EPS, "--eps-step", "0.1"], "--eps-step is of one radius"),
        (["plain", "modular:late", "--data", data, "--learning-rate", "0"], "learning_rate must be a finite number"),
        (["plain", "modular:late", "--data", data, "--option", "ratio=0.5"], "plain has no option ratio"),
        (["plain", "modular:late", "--data", data, *EPS, "--option", "ratio=2"], "at most 1, not 2"),
        (["crmt", "modular:orthogonal", "--data", data, "--epochs", "1"], "has 2 stages"),
        (["plain", "modular:late", "--data", data, "--templates", "a {}"], "leave out --templates"),
        (["tecoa", "demo:digits", "--data", "demo:digits", "--eps", "rgb=0.1"], "--eps is one radius"),
        (["ablation", "modular:late", "--data", data], "say how many are kept, such as --keep image=16,text=3"),
        (["ablation", "modular:late", "--data", data, *HIDE, *EPS], "hides elements at random, and attacks nothing"),
        (["ablation", "modular:late", "--data", data, "--keep", "depth=2"], "Unknown modality 'depth'"),
        (["ablation", "modular:late", "--data", data, "--keep", "lab=some"], "--keep: 'lab=some' is not NAME=NUMBER"),
        (["ablation", "modular:late", "--data", data, "--keep", "lab"], "--keep: 'lab' is not NAME=NUMBER"),
        (["ablation", "modular:late", "--data", data, "--keep", "lab=1,lab=2"], "--keep: lab is given twice"),
        (["ablation", "modular:late", "--data", data, *HIDE[:2], "--elements", "lab=block"], "Did you mean blocks"),
        (["ablation", "modular:late", "--data", data, "--keep", "lab=1", "--elements", "pix=points"], "hidden of pix"),
        (["ablation", "modular:late", "--data", data, *HIDE, "--option", "consistency=-1"], "at least 0, not -1"),
        (["plain", "modular:late", "--data", data, *HIDE], "plain trains on whole samples: leave out --keep"),
        (["image-ablation", "demo:digits", "--data", "demo:digits", "--keep", "text=2"], "Unknown modality 'text'"),
    ]:
        code, _, err = run(capsys, *arguments, *out)
        assert code == 2 and message in err, (arguments, err)
        assert len(err.strip().splitlines()) == 1
        assert not (tmp_path / "out").exists()


def test_a_whole_model_is_trained_by_the_name_of_its_folder(tmp_path: Path, capsys) -> None:
    """Made in Python, since nobody but its owner knows which joint hangs from which."""
    joint = skeleton("joint", 6, 4, 2, clip_values=(-1.0, 1.0))
    save_model(UnifiedStream(joint, sorted(CLASSES), (0, 0, 1, 1), hidden=8, projection=6), tmp_path / "body" / "best")
    x = np.random.default_rng(0).uniform(-1, 1, (40, 6, 4, 2)).astype(np.float32)
    np.savez(tmp_path / "moves.npz", joint=x, label=CLASSES[np.arange(40) % 3])
    data = f"npz:{tmp_path / 'moves.npz'}"
    command = ["umurl", f"checkpoint:{tmp_path / 'body'}", "--data", data, *QUICK, "--eps", "joint=0.1"]
    code, printed, err = run(capsys, *command, "--out", str(tmp_path / "out"))
    assert code == 0, err
    assert f"audit checkpoint:{tmp_path / 'out'}" in printed
    assert type(load_model(f"checkpoint:{tmp_path / 'out'}")) is UnifiedStream


def test_a_model_that_is_made_for_data_cannot_be_audited_before(data: str, tmp_path: Path, capsys) -> None:
    assert cli.main(["audit", "modular:late", "--data", data, "--out", str(tmp_path / "out")]) == 2
    assert "has no weights before: art-multimodal train plain modular:late" in capsys.readouterr().err
