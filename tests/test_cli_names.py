"""Names as newcomers write them: in any case, with hyphens, or as other tools call the same thing."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from art_multimodal import cli
from art_multimodal.cli import names
from art_multimodal.cli.audit import audit
from art_multimodal.cli.options import parse_distance
from art_multimodal.cli.train import train
from art_multimodal.defences.registry import DEFENCES
from art_multimodal.defences.trainer import METHODS
from art_multimodal.errors import InputError
from art_multimodal.evaluations.suite import ATTACKS

MODALITIES = {entry.modality for _, entry in ATTACKS.items()}


@pytest.mark.parametrize(
    ("table", "given", "found", "said"),
    [
        (names.NORMS, "inf", "inf", False),
        (names.NORMS, "Inf", "inf", False),
        (names.NORMS, "Linf", "inf", True),
        (names.NORMS, "l_inf", "inf", True),
        (names.NORMS, "L-INF", "inf", True),
        (names.NORMS, "l2", "2", True),
        (names.TASKS, "Retrieval", "retrieval", False),
        (names.TASKS, "zero-shot", "classification", True),
        (names.DEVICES, "GPU", "cuda", True),
        (names.DEVICES, "CPU", "cpu", False),
    ],
)
def test_names_and_aliases(capsys, table, given, found, said) -> None:
    assert table.find(given) == found
    err = capsys.readouterr().err
    assert err == (f"note: the {table.kind} {given} is taken for {found}\n" if said else "")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("AutoAttack", "worst_image"),
        ("auto-attack", "worst_image"),
        ("PGD", "pgd"),
        ("pgd-linf", "pgd"),
        ("APGD-CE, apgd-dlr", "apgd,apgd_dlr"),
        ("BertAttack,Worst-Text", "bert_attack,worst_text"),
        ("Images", "image"),
        (",", ","),
        (None, None),
    ],
)
def test_attacks(given, found) -> None:
    assert names.attack_names(given) == found


def test_an_unknown_name_is_an_error_that_suggests() -> None:
    with pytest.raises(InputError, match=r"^--device: unknown device 'cpus'. Did you mean cpu"):
        names.DEVICES.find("cpus")


@pytest.mark.parametrize("registry", [ATTACKS, METHODS, DEFENCES])
def test_no_two_names_are_spelt_alike(registry) -> None:
    known = [*registry, *(MODALITIES if registry is ATTACKS else ())]
    assert len({names.folded(name) for name in known}) == len(set(known))


def test_aliases_lead_to_names_and_hide_none() -> None:
    known = {*ATTACKS, *MODALITIES}
    assert set(names.ATTACK_ALIASES.values()) <= known
    assert not {names.folded(alias) for alias in names.ATTACK_ALIASES} & {names.folded(name) for name in known}
    options = {name.replace("_", "-") for command in (audit, train) for name in inspect.signature(command).parameters}
    assert set(names.OPTION_ALIASES.values()) <= options
    taken = {alias for alias, name in names.OPTION_ALIASES.items() if alias in options and alias != name}
    # Of the audit's own: --model collects what --models does.
    assert taken <= {"models"}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("OpenCLIP:ViT-B-32/openai", "open_clip:ViT-B-32/openai"),
        ("open-clip:a:b", "open_clip:a:b"),
        ("HuggingFace:openai/clip", "hf:openai/clip"),
        ("HF:x", "hf:x"),
        ("Demo:digits", "demo:digits"),
        ("C:\\models", "C:\\models"),
    ],
)
def test_sources_of_models(given, found) -> None:
    assert names.model_spec(given) == found


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("digits", "Did you mean demo:digits?"),
        ("ViT-B-32/openai", "Did you mean open_clip:ViT-B-32/openai or hf:ViT-B-32/openai?"),
        (".", "Did you mean checkpoint:. or hf:.?"),
        ("folder:photos", "is data, not a model: give it to --data"),
        ("\x1b[31m", "\\x1b"),
    ],
)
def test_models_that_are_none(given: str, hint: str) -> None:
    with pytest.raises(InputError) as raised:
        names.model_spec(given)
    assert hint in str(raised.value) and "\x1b" not in str(raised.value)


def test_what_is_nearly_a_name_or_stands_in_another_place() -> None:
    with pytest.raises(InputError, match="Did you mean auto_attack"):
        names.attack_names("pgd,autoatack")
    with pytest.raises(InputError, match="neither a folder, a CSV file nor the name of a data set"):
        names.data_spec("nowhere")
    with pytest.raises(InputError, match="The first argument is the method"):
        names.method_name("demo:digits")


def test_data_by_a_bare_path(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    assert names.data_spec("photos") == "folder:photos"
    assert names.data_spec("captions.CSV") == "csv:captions.CSV"
    assert capsys.readouterr().err.count("is taken for") == 2
    assert names.data_spec("Folder:photos") == names.data_spec("dir:photos") == "folder:photos"


@pytest.mark.parametrize(
    ("given", "found"),
    [("JPEG:quality=75", "jpeg:quality=75"), ("JpegCompression", "jpeg"), ("spatial-smoothing", "spatial_smoothing")],
)
def test_defences_and_methods(given, found) -> None:
    assert names.defence_spec(given) == found
    assert names.method_name("MMCoA") == "mmcoa" and names.method_name("PMG_AFT") == "pmg-aft"


@pytest.mark.parametrize("text", ["8/255", "8/255.", " 8 / 255 ", "8.0/255"])
def test_distances_as_people_write_them(text: str) -> None:
    assert parse_distance(text, "--eps") == 8 / 255


@pytest.mark.parametrize(
    ("text", "hint"), [("0,03", "Did you mean 0.03?"), ("8/255/2", "such as 1/255"), ("", "such as 1/255")]
)
def test_distances_that_are_none_name_the_option(text: str, hint: str) -> None:
    with pytest.raises(InputError, match="^--eps-step: ") as raised:
        parse_distance(text, "--eps-step")
    assert hint in str(raised.value)


def test_a_newcomer_s_spelling_is_recorded_as_ours(tmp_path: Path, capsys) -> None:
    arguments = [
        "Audit",
        "--Models",
        "Demo:digits",
        "--dataset",
        "DEMO:digits",
        "--attack",
        "PGD",
        "--Epsilon",
        "8/255",
    ]
    arguments += ["--norm", "Linf", "--max_samples", "4", "--defense", "JPEG", "--iterations", "2"]
    arguments += ["--device", "CPU"]
    assert cli.main([*arguments, "--output", str(tmp_path / "out")]) == 0
    settings = json.loads((tmp_path / "out" / "report.json").read_text())["settings"]
    assert settings["model"] == settings["data"] == "demo:digits"
    assert (settings["attacks"], settings["norm"], settings["steps"], settings["limit"]) == ("pgd", "inf", 2, 4)
    assert settings["eps"] == 8 / 255 and settings["defences"] == ["jpeg:quality=50"]
    assert capsys.readouterr().err.count("note: ") == 1
