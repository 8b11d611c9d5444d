"""``art-multimodal train``: what a newcomer sees, its options, and one clear line for everything that cannot be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cli_training import DATA, FEWER, QUICK, header_of, run
from photos import save_photo

from art_multimodal import cli, load_model
from art_multimodal.attacks.evasion.text import CharacterAttack
from art_multimodal.cli.options import parse_options
from art_multimodal.defences.trainer import METHODS
from art_multimodal.errors import InputError
from art_multimodal.models.saving import weights_sha256


def test_train_then_audit_what_came_out(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "out"
    code, printed, err = run(capsys, "mmcoa", "demo:digits", *QUICK, "--out", str(out))
    assert code == 0 and "steps" in err
    lines = printed.splitlines()
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 80
    assert lines[0].startswith("mmcoa on demo:digits: 36 samples to train on, 4 to validate")
    table = lines[lines.index("epoch      loss     clean     image      text  attacked") + 1 :]
    header = header_of(out)
    for line, row in zip(table, header["history"], strict=False):
        cells = line.replace(" %", "").split()
        losses = [] if row["epoch"] == 0 else [f"{row['loss']:.5g}"]
        shares = [f"{100 * row[name]:.1f}" for name in ("clean", "image", "text", "attacked")]
        best = ["best"] if row["epoch"] and row["epoch"] == header["best_epoch"] else []
        assert cells[: len(cells) - ("best" in cells)] == [str(row["epoch"]), *losses, *shares]
        assert not best or cells[-1] == "best"
    assert f"art-multimodal audit checkpoint:{out} --data demo:digits" in printed
    capsys.readouterr()
    audit = ["audit", f"checkpoint:{out}", "--data", "demo:digits", "--attacks", "pgd", "--limit", "10"]
    assert cli.main([*audit, "--out", str(tmp_path / "audit"), "--device", "cpu"]) == 0
    report = json.loads((tmp_path / "audit" / "report.json").read_text())
    # An audit names the very weights that training saved.
    assert (
        report["model"]["weights_sha256"]
        == json.loads((out / "best" / "saved_model.json").read_text())["weights_sha256"]
    )
    # And training goes on from there.
    code, _, _ = run(capsys, "tecoa", f"checkpoint:{out}/last", *QUICK, "--out", str(tmp_path / "more"))
    assert code == 0
    assert header_of(tmp_path / "more")["model"]["weights_sha256"] == weights_sha256(
        load_model(f"checkpoint:{out}/last")
    )


def test_retrieval(tmp_path: Path, capsys) -> None:
    arguments = ["--task", "retrieval", "--data", "demo:scenes", "--limit", "20", "--batch-size", "20", "--steps", "1"]
    arguments += ["--epochs", "1", "--validation", "0.3", "--device", "cpu", "--out", str(tmp_path / "out")]
    code, printed, _ = run(capsys, "tecoa", "demo:scenes", *arguments)
    assert code == 0 and "recall@1" in printed and "--task retrieval" in printed
    facts = header_of(tmp_path / "out")["data"]
    # An image stays with its captions, of which each has two.
    assert (facts["trained_on"], facts["validated_on"]) == (28, 12)


FIRST = ["mmcoa", "demo:digits"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument"),
        (FIRST, "Missing option"),
        (["mmcao", "demo:digits", *QUICK], "Unknown training method 'mmcao'. Did you mean mmcoa"),
        (["mmcoa", "demo:digit", *QUICK], "Unknown demo model"),
        (["mmcoa", "demo:shapes", *QUICK], "demo:shapes is a fusion model"),
        ([*FIRST, "--option", "lambda=1", *QUICK], "mmcoa has no option lambda. Its options: lambda_img, lambda_txt"),
        (["tecoa", "demo:digits", "--option", "lambda_img=1", *QUICK], "tecoa has no option lambda_img. It has none"),
        ([*FIRST, "--option", "lambda_img", *QUICK], "is not NAME=NUMBER"),
        ([*FIRST, "--option", "lambda_img=nan", *QUICK], "must be a finite number, not nan"),
        ([*FIRST, *QUICK, "--optiom", "lambda_img=1"], "No such option"),
        ([*FIRST, *DATA, "--eps", "nan"], "eps must be a finite number"),
        ([*FIRST, *DATA, "--eps", "0"], "eps must be greater than 0"),
        ([*FIRST, *DATA, "--eps", "8"], "Did you mean 8/255"),
        ([*FIRST, *DATA, "--eps-step", "0"], "eps_step must be a finite number greater than 0"),
        ([*FIRST, *DATA, "--norm", "2"], "With --norm 2 give --eps"),
        ([*FIRST, *DATA, "--steps", "0"], "--steps"),
        ([*FIRST, *DATA, "--learning-rate", "nan"], "learning_rate must be a finite number greater than 0"),
        ([*FIRST, *DATA, "--learning-rate", "-1"], "learning_rate must be a finite number greater than 0"),
        ([*FIRST, *DATA, "--max-grad-norm", "0"], "max_grad_norm must be a finite number greater than 0"),
        ([*FIRST, *DATA, "--towers", "left"], "towers must be one of both, image, text, not 'left'"),
        ([*FIRST, *DATA, "--precision", "fp8"], "precision must be one of float32, bf16-attack, bf16"),
        ([*FIRST, *DATA, "--positives", "all"], "positives must be one of"),
        ([*FIRST, *DATA, "--optimizer", "lion"], "optimizer must be one of"),
        ([*FIRST, *DATA, "--schedule", "linear"], "schedule must be one of"),
        ([*FIRST, *DATA, "--seed", "-1"], "seed must be a whole number of at least 0"),
        ([*FIRST, *DATA, "--epochs", "0"], "epochs must be at least 1"),
        ([*FIRST, *DATA, "--limit", "0"], "limit must be at least 1"),
        ([*FIRST, *DATA, "--limit", "1"], "1 sample cannot be both trained on and validated on"),
        ([*FIRST, *DATA, "--validate-every", "0"], "validate every must be at least 1"),
        ([*FIRST, *DATA, "--checkpoint-every", "0"], "checkpoint_every must be a whole number of at least 1"),
        ([*FIRST, *DATA, "--validation", "0"], "Validation is a share of the data"),
        ([*FIRST, *DATA, "--validation", "1"], "Validation is a share of the data"),
        ([*FIRST, *DATA, "--validation", "digits"], "Validation is a share of the data"),
        ([*FIRST, *DATA, "--validation", "demo:digts"], "Unknown demo data set"),
        ([*FIRST, *DATA, "--batch-size", "1"], "batch_size must be at least 2"),
        ([*FIRST, *DATA, "--language-model", "/nowhere"], "There is no folder"),
        ([*FIRST, *DATA, "--templates", "a digit"], "must hold {} exactly once"),
        ([*FIRST, *DATA, "--templates", "a very " * 30 + "{}"], "needs more than the 128 tokens that this model reads"),
        ([*FIRST, "--data", "demo:shapes"], "asks questions about its images"),
        ([*FIRST, "--data", "demo:scenes"], "it is for retrieval"),
        ([*FIRST, *DATA, "--task", "retrieval"], "has no captions"),
        ([*FIRST, "--data", "demo:scenes", "--task", "retrieval", "--classes", "a,b"], "leave out --classes"),
        (["leaf", "demo:digits", *QUICK, "--towers", "image"], "Nothing that is trained takes part"),
        (["fare", "demo:digits", *QUICK, "--towers", "text"], "Nothing that is trained takes part"),
        (["tecoa", "demo:digits", *QUICK, "--learning-rate", "1e38"], "training has diverged"),
        (["tecoa", "demo:digits", *QUICK, "--learning-rate", "1e30"], "training has diverged"),
        (["tecoa", "checkpoint:nowhere", *QUICK], "holds no saved model"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_trace(tmp_path: Path, capsys, monkeypatch, arguments, message) -> None:
    monkeypatch.chdir(tmp_path)
    code, printed, err = run(capsys, *arguments, *(["--out", "out"] if len(arguments) > 2 else []))
    assert code == 2
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert message in line
    assert "Traceback" not in err + printed
    if "diverged" in message:  # in the second step
        assert not (tmp_path / "out" / "best").exists() and not (tmp_path / "out" / "state").exists()
    else:
        assert not list(tmp_path.iterdir())


def write_csv(path: Path, rows: list[tuple[str, str]], column: str) -> Path:
    for number, (name, _) in enumerate(rows):
        save_photo(path.parent / name, (32, 32), number)
    path.write_text(f"image,{column}\n" + "".join(f"{name},{text}\n" for name, text in rows))
    return path


@pytest.mark.parametrize(
    ("rows", "column", "more", "message"),
    [
        ([(f"{n}.png", "cat") for n in range(9)], "label", [], "at least two classes; 1 given"),
        ([(f"{n}.png", "cat") for n in range(9)], "label", ["--classes", "cat,dog"], "samples belong to one class"),
        ([("0.png", "cat"), ("1.png", "dog")], "label", [], "1 samples belong to one class, or there is only one"),
        ([(f"{n}.png", f"{n} cats") for n in range(4)], "text", ["--task", "retrieval"], "at least two images"),
        ([(f"{n}.png", "a cat") for n in range(9)], "text", ["--task", "retrieval"], "samples belong to one class"),
        (
            [(f"{n}.png", "a very long tail " * 9 + str(n)) for n in range(9)],
            "text",
            ["--task", "retrieval", "--validation", "0.4"],
            "cannot be read in full and are left out",
        ),
    ],
)
def test_data_that_teach_nothing(tmp_path: Path, capsys, rows, column, more, message) -> None:
    path = write_csv(tmp_path / "data.csv", rows, column)
    if "two images" not in message and "--validation" not in more and "retrieval" in more:
        more = [*more, "--validation", "0.3"]
    arguments = ["mmcoa", "demo:digits", "--data", f"csv:{path}", "--out", str(tmp_path / "out"), "--device", "cpu"]
    code, _, err = run(capsys, *arguments, "--steps", "1", *more)
    assert code == 2 and message in err
    assert not (tmp_path / "out").exists()


# --- options ----------------------------------------------------------------------------------------------------------


def test_every_option_reaches_the_settings(tmp_path: Path, capsys) -> None:
    arguments = ["--data", "demo:digits", "--task", "classification", "--epochs", "1", "--batch-size", "20"]
    arguments += ["--learning-rate", "0.001", "--eps", "0.5", "--eps-step", "1/8", "--norm", "2", "--steps", "2"]
    arguments += ["--towers", "text", "--positives", "index", "--option", "lambda_img=0.25", "--optimizer", "sgd"]
    arguments += ["--schedule", "constant", "--weight-decay", "0.01", "--warmup-steps", "3", "--max-grad-norm", "1.5"]
    arguments += ["--precision", "bf16-attack", "--train-logit-scale", "--language-model", "demo:mlm"]
    arguments += ["--protect", "photo, of", "--validation", "0.2", "--validate-every", "4", "--validation-steps", "1"]
    arguments += ["--limit", "40", "--templates", "the {}", "--classes", "a,b,c,d,e,f,g,h,i,j", "--device", "cpu"]
    arguments += ["--seed", "9", "--checkpoint-every", "1", "--strict", "--attacked", "all"]
    arguments += ["--modality-dropout", "0.25"]
    code, _, err = run(capsys, "mmcoa", "demo:digits", *arguments, "--out", str(tmp_path / "out"))
    assert code == 0, err
    header = header_of(tmp_path / "out")
    assert header["settings"] == {
        "method": "mmcoa",
        "model": "demo:digits",
        "data": "demo:digits",
        "training": {
            "towers": "text",
            "positives": "index",
            "optimizer": "sgd",
            "learning_rate": 0.001,
            "betas": [0.9, 0.98],
            "adam_eps": 1e-06,
            "weight_decay": 0.01,
            "schedule": "constant",
            "warmup_steps": 3,
            "max_grad_norm": 1.5,
            "norm": "2.0",
            "eps": 0.5,
            "eps_step": 0.125,
            "max_iter": 2,
            "language_model": "demo:mlm",
            "precision": "bf16-attack",
            "training_mode": True,
            "update_batch_norm": False,
            "modality_dropout": 0.25,
            "train_logit_scale": True,
            "seed": 9,
        },
        "options": {"lambda_img": 0.25, "lambda_txt": 0.5},
        "radii": None,
        "keep": None,
        "elements": None,
        "attacked": "joint",
        "task": "classification",
        "epochs": 1,
        "batch_size": 20,
        "validation": "0.2",
        "validate_every": 4,
        "validation_steps": 1,
        "limit": 40,
        "templates": ["the {}"],
        "classes": list("abcdefghij"),
        "protected_words": ["photo", "of"],
    }
    assert header["text_attack"]["protected_words"] == [*"0123456789", "photo", "of"]


def test_options_of_a_method() -> None:
    assert parse_options(["lambda_img=0.5", " lambda_txt = 2"]) == {"lambda_img": 0.5, "lambda_txt": 2.0}
    for entries in (["lambda_img=x"], ["=1=2"], ["a=1", "a=2"]):
        with pytest.raises(InputError):
            parse_options(entries)


def test_methods_are_listed(capsys) -> None:
    assert cli.main(["list", "methods"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in METHODS)
    assert "lambda_img=0.5" in printed


def test_help_of_training_does_not_wait_for_torch() -> None:
    code = (
        "import sys; from art_multimodal import cli; cli.main(['train', '--help']); assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_characters_are_the_attack_of_leaf(tmp_path: Path, capsys) -> None:
    code, printed, _ = run(capsys, "leaf", "demo:digits", *QUICK, *FEWER, "--out", str(tmp_path / "out"))
    assert code == 0 and "text: CharacterAttack" in printed and "image:" not in printed
    assert header_of(tmp_path / "out")["text_attack"]["name"] == CharacterAttack.__name__
