"""``art-multimodal train`` on fusion models: from a file of pairs to a saved model that is audited."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from models.test_mmbt import tiny_mmbt
from photos import save_photo

from art_multimodal import FusionClassifier, cli, load_model
from art_multimodal.attacks.evasion import ProjectedGradientDescentMultimodal
from art_multimodal.datasets import open_data
from art_multimodal.defences.trainer import METHODS, TrainingSettings
from art_multimodal.defences.training_run import RunSettings
from art_multimodal.defences.training_run.data import Part
from art_multimodal.defences.training_run.validation import Validation
from art_multimodal.models.families.late_fusion.model import LateFusion
from art_multimodal.models.families.mmbt.saving import load_mmbt, save_mmbt
from art_multimodal.models.saving import INDEX, save_model, weights_sha256
from art_multimodal.pairs import image_text_pairs

QUICK = ["--device", "cpu", "--steps", "1", "--epochs", "2", "--batch-size", "6", "--learning-rate", "1e-3"]
QUICK += ["--eps", "8/255", "--validation", "0.25"]
SHAPES = ["--data", "demo:shapes", "--limit", "40", *QUICK]


def train(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["train", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def pairs_file(folder: Path, answers: list[str], count: int = 12, **changes: str) -> Path:
    """A file of photos, each with a question and an answer."""
    rows = []
    for index in range(count):
        save_photo(folder / f"{index}.png", (40, 40), index)
        label = answers[index % len(answers)]
        rows.append({"image": f"{index}.png", "text": f"is it {('red', 'a cat')[index % 2]}", "label": label})
    rows[3] |= changes
    with (folder / "pairs.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["image", "text", "label"])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "pairs.csv"


def test_train_then_audit_what_came_out(tmp_path, capsys):
    out = tmp_path / "out"
    code, printed, _ = train(capsys, "adversarial", "demo:shapes/late", *SHAPES, "--option", "ratio=0.25", "--out", out)
    assert code == 0, printed
    header = json.loads((out / "training.json").read_text())
    facts = header["data"]
    assert printed.startswith(f"adversarial on demo:shapes/late: {facts['trained_on']} samples to train on, 10 to")
    assert facts["trained_on"] + facts["left_out_as_in_validation"] == 30 and facts["class_names"] == ["no", "yes"]
    assert header["settings"]["options"] == {"ratio": 0.25}
    assert [row["epoch"] for row in header["history"]] == [0, 1, 2]
    assert set(header["protocol"]) == {"clean", "image", "attacked", "best"}
    assert header["protocol"]["clean"] == "top-1 accuracy"
    trained, before = load_model(f"checkpoint:{out}"), load_model("demo:shapes/late")
    assert type(trained) is type(before) and weights_sha256(trained) != weights_sha256(before)
    saved = json.loads((out / "best" / INDEX).read_text())
    assert saved["trained_from"] == "demo:shapes/late" and saved["name"] == "shapes/late"
    audit = ["audit", f"checkpoint:{out}", "--data", "demo:shapes", "--attacks", "art_pgd", "--limit", "10"]
    assert cli.main([*audit, "--out", str(tmp_path / "audit"), "--device", "cpu"]) == 0
    report = json.loads((tmp_path / "audit" / "report.json").read_text())
    assert report["model"]["weights_sha256"] == saved["weights_sha256"]
    # And training goes on from there, by another method.
    capsys.readouterr()
    code, _, _ = train(capsys, "plain", f"checkpoint:{out}/last", *SHAPES, "--out", tmp_path / "more")
    assert code == 0
    again = json.loads((tmp_path / "more" / "training.json").read_text())
    assert again["model"]["weights_sha256"] == weights_sha256(load_model(f"checkpoint:{out}/last"))


def test_a_run_that_was_killed_goes_on(tmp_path, capsys, monkeypatch):
    for name in ("whole", "killed"):
        with monkeypatch.context() as patched:
            if name == "killed":

                def killed(self, record) -> None:
                    if record.place.step == 6:
                        raise KeyboardInterrupt

                patched.setattr("art_multimodal.cli.training_display.TrainingDisplay.step", killed)
            code, _, _ = train(capsys, "adversarial", "demo:shapes", *SHAPES, "--out", tmp_path / name)
            assert code == (0 if name == "whole" else 130)
    code, _, err = train(capsys, "plain", "demo:shapes", *SHAPES, "--out", tmp_path / "killed", "--resume")
    assert code == 2 and "method: 'adversarial' then, 'plain' now" in err
    code, _, _ = train(capsys, "adversarial", "demo:shapes", *SHAPES, "--out", tmp_path / "killed", "--resume")
    assert code == 0
    for part in ("best", "last"):
        one, other = (weights_sha256(load_model(f"checkpoint:{tmp_path / n / part}")) for n in ("whole", "killed"))
        assert one == other


@pytest.mark.parametrize("family", ["hf", "mmbt", "late"])
@pytest.mark.parametrize("method", ["plain", "adversarial"])
def test_every_family_that_is_saved_is_trained_and_replaced(tmp_path, saved, saved_fusion, capsys, family, method):
    if family == "hf":
        spec, answers = f"hf:{saved_fusion('vilt_answers').folder}", ["yes", "no", "red"]
    elif family == "mmbt":
        save_mmbt(tiny_mmbt(), tmp_path / "mmbt")
        spec, answers = f"mmbt:{tmp_path / 'mmbt'}", ["yes", "no", "maybe"]
    else:
        save_model(LateFusion(load_model(f"hf:{saved('clip').folder}"), ("yes", "no")), tmp_path / "late")
        spec, answers = f"checkpoint:{tmp_path / 'late'}", ["yes", "no"]
    data = ["--data", f"csv:{pairs_file(tmp_path, answers)}", *QUICK, "--epochs", "1"]
    out = tmp_path / "out"
    for further in ([], ["--overwrite"]):
        code, _, err = train(capsys, method, spec, *data, "--out", out, *further)
        assert code == 0, err
        assert weights_sha256(load_model(f"checkpoint:{out}")) != weights_sha256(load_model(spec))
    own = {"hf": load_model, "mmbt": load_mmbt, "late": load_model}[family]
    again = own({"hf": f"hf:{out}/best", "mmbt": f"{out}/best", "late": f"checkpoint:{out}/best"}[family])
    assert weights_sha256(again) == weights_sha256(load_model(f"checkpoint:{out}"))
    # What is not the run's own is never removed, wherever it lies.
    stranger = next(path for path in (out / "best").rglob("*") if path.is_file()).parent / "mine.txt"
    stranger.write_text("mine")
    code, _, err = train(capsys, method, spec, *data, "--out", out, "--overwrite")
    assert code == 2 and "mine.txt" in err and stranger.exists()


def test_texts_that_the_model_does_not_read_are_left_out_with_a_note(tmp_path, saved_fusion, capsys):
    spec = f"hf:{saved_fusion('vilt_answers').folder}"
    data = f"csv:{pairs_file(tmp_path, ['yes', 'no'], text='red ' * 200)}"
    code, printed, err = train(capsys, "plain", spec, "--data", data, *QUICK, "--out", tmp_path / "out")
    assert code == 0, err
    assert "1 text(s) cannot be read in full and are left out" in printed + err
    facts = json.loads((tmp_path / "out" / "training.json").read_text())["data"]
    assert facts["trained_on"] + facts["validated_on"] == 11


OWN = """
from tiny import TinyFusion
from art_multimodal.models.families.custom.fusion import CustomFusion

def load():
    net = TinyFusion()
    return CustomFusion(net.fuse, net.predict, net.tokenize, net.class_names, 8, module=net)
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["tecoa", "demo:shapes", *SHAPES],
            "demo:shapes is a fusion model. tecoa trains dual encoders; for fusion models",
        ),
        (
            ["plain", "demo:digits", *SHAPES],
            "demo:digits is a dual encoder. plain trains fusion models; for dual encod",
        ),
        (["plain", "demo:views", *SHAPES], "Each modality has a radius of its own"),
        (["plain", "demo:shapes", *SHAPES, "--templates", "a {}"], "it reads the texts of the data, not --templates"),
        (["plain", "demo:shapes", *SHAPES, "--task", "retrieval"], "Retrieval needs a dual encoder"),
        (["plain", "demo:shapes", *SHAPES, "--towers", "image"], "trained as a whole"),
        (["plain", "demo:shapes", *SHAPES, "--option", "ratio=1"], "plain has no option ratio"),
        (["adversarial", "demo:shapes", *SHAPES, "--option", "ratio=2"], "greater than 0 and at most 1, not 2"),
        (
            ["plain", "demo:shapes", "--data", "demo:digits", *QUICK],
            "needs a text with every image, and demo:digits has",
        ),
        (["plain", "demo:shapes", "--data", "demo:scenes", *QUICK], "demo:scenes has captions and no labels"),
    ],
)
def test_what_cannot_be_trained_is_one_line_and_no_folder(tmp_path, capsys, arguments, message):
    code, _, err = train(capsys, *arguments, "--out", tmp_path / "out")
    # Behind what shows that images are read.
    assert code == 2 and message in err.strip().splitlines()[-1]
    assert "Traceback" not in err and not (tmp_path / "out").exists()


def test_labels_that_are_no_answers_and_models_of_code_are_refused(tmp_path, saved_fusion, capsys):
    spec = f"hf:{saved_fusion('vilt_answers').folder}"
    data = f"csv:{pairs_file(tmp_path, ['yes', 'perhaps'])}"
    code, _, err = train(capsys, "plain", spec, "--data", data, *QUICK, "--out", tmp_path / "out")
    assert code == 2 and "perhaps" in err and "with its answers as labels" in err
    (tmp_path / "own.py").write_text(OWN)
    code, _, err = train(capsys, "plain", f"python:{tmp_path / 'own.py'}:load", *SHAPES, "--out", tmp_path / "out")
    assert code == 2 and "calls functions of your own, and code is never saved" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("norm", ["inf", "2"])
def test_validation_counts_what_is_right_and_stays_right_under_attack(norm):
    estimator = FusionClassifier(load_model("demo:shapes"), device_type="cpu")
    data = open_data("demo:shapes")
    x, y = image_text_pairs(data.images[:40], data.texts[:40]), data.labels[:40].copy()
    y[:4] = 1 - y[:4]  # some are wrong from the start
    training = TrainingSettings(norm=norm, eps=6 / 255 if norm == "inf" else 1.0, eps_step=0.1, max_iter=3, seed=5)
    settings = RunSettings("adversarial", "demo:shapes", "demo:shapes", training, validation_steps=4)
    validation = Validation(estimator, Part(x, y), METHODS["adversarial"], settings, None)
    found = validation.measure()
    right = estimator.predict_labels(x) == y
    budget = validation.budget
    attack = ProjectedGradientDescentMultimodal(
        *(estimator, {"image": budget.eps}, budget.norm, {"image": budget.eps_step}, 4),
        batch_size=128,
        seed=5,
        verbose=False,
    )
    stays = right.copy()
    stays[right] = estimator.predict_labels(attack.generate(x[right], y[right])) == y[right]
    assert found == {"clean": right.mean(), "image": stays.mean(), "attacked": stays.mean()}
    assert 0 < stays.sum() < right.sum() <= 36
