"""Audits of models over any modalities, from the command line: rows, budgets by modality, reports and mistakes."""

from __future__ import annotations

import json
import re
import warnings
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch
from several import contracting

from art_multimodal import FusionClassifier, cli, load_model
from art_multimodal.datasets import LabelledSampleArrays, open_data
from art_multimodal.evaluations.audit import Audit, AuditSettings, write_reports
from art_multimodal.models.families.modular.towers import fitting_model
from art_multimodal.sample_arrays import with_field

LIMIT = 8
ATTACKS = "pgd,pgd_multimodal,modality_missing,modality_removed,decoupling_guided"
COMMAND = ["audit", "demo:views/concat", "--data", "demo:views", "--limit", str(LIMIT), "--batch-size", "5"]
EPS = {"pix": 0.1, "fou": 0.05, "kar": 0.02}


def run(out: Path, *more: str) -> int:
    return cli.main([*COMMAND, "--out", str(out), *more])


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("audits") / "views"
    eps = ",".join(f"{name}={value}" for name, value in EPS.items())
    assert run(out, "--attacks", ATTACKS, "--eps", eps, "--steps", "4", "--max-queries", "40", "--seed", "1") == 0
    return out


@pytest.fixture(scope="module")
def report(audited: Path) -> dict:
    return json.loads((audited / "report.json").read_text(encoding="utf-8"))


def test_every_modality_has_its_rows_and_its_own_eps(report: dict) -> None:
    wanted = {f"{attack}@{name}" for attack in ("pgd", "modality_missing", "modality_removed") for name in EPS}
    assert wanted | {"clean", "pgd_multimodal", "decoupling_guided"} <= set(report["results"])
    assert {name: ball["eps"] for name, ball in report["budget"]["modalities"].items()} == EPS
    assert set(report["by_modality"]) == set(EPS)


def test_accuracies_are_those_of_the_model(audited: Path, report: dict) -> None:
    classifier, data = FusionClassifier(load_model("demo:views/concat"), device_type="cpu"), open_data("demo:views")
    lines = map(json.loads, (audited / "log.jsonl").read_text(encoding="utf-8").splitlines())
    rows = np.array(
        [one["index"] for line in lines if line.get("attack", "clean") == "clean" for one in line["samples"]]
    )
    x, y = data.samples(rows), data.labels[rows]

    def accuracy(of: np.ndarray) -> float:
        return float((classifier.predict_labels(of) == y).mean())

    assert len(rows) == LIMIT and report["results"]["clean"]["accuracy"] == pytest.approx(accuracy(x))
    for name, modality in classifier.modalities.items():
        told = with_field(x, name, modality.left_out(x[name]))
        everything = np.ones((len(x), *modality.point_shape(x[name])), dtype=bool)
        not_told = with_field(x, name, modality.remove(x[name], everything))
        assert report["results"][f"modality_missing@{name}"]["accuracy"] == pytest.approx(accuracy(told))
        assert report["results"][f"modality_removed@{name}"]["accuracy"] == pytest.approx(accuracy(not_told))


def test_the_page_shows_each_modality_and_runs_nothing(audited: Path) -> None:
    page = (audited / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page and "<svg" in page and "data:image" in page
    for name in EPS:
        assert f"<bdi>{name}</bdi>" in page
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) > len(EPS)
    for drawing in drawings:
        ElementTree.fromstring(drawing)
    assert "is missing and the model is told" in (audited / "report.md").read_text(encoding="utf-8")


def test_resuming_a_complete_run_changes_nothing(audited: Path, report: dict) -> None:
    before = (audited / "log.jsonl").read_bytes()
    eps = ",".join(f"{name}={value}" for name, value in EPS.items())
    more = ["--attacks", ATTACKS, "--eps", eps, "--steps", "4", "--max-queries", "40", "--seed", "1", "--resume"]
    assert run(audited, *more) == 0
    assert (audited / "log.jsonl").read_bytes() == before
    assert json.loads((audited / "report.json").read_text(encoding="utf-8"))["results"] == report["results"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--eps", "depth=0.1"], "depth"),
        (["--eps", "pix=0"], "greater than 0"),
        (["--eps", "pix=abc"], "abc"),
        (["--attacks", "pgd@depth"], "depth"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, capsys, more: list[str], said: str) -> None:
    assert run(tmp_path / "out", *more) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and said in lines[0]
    assert not (tmp_path / "out").exists()


def test_data_that_do_not_fit_are_one_line(tmp_path: Path, capsys) -> None:
    np.savez(tmp_path / "some.npz", pix=np.zeros((3, 1, 16, 15), np.float32), label=np.zeros(3, np.int64))
    command = ["audit", "demo:views/concat", "--data", f"npz:{tmp_path / 'some.npz'}", "--out", str(tmp_path / "out")]
    assert cli.main(command) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")


def test_a_solver_that_does_not_get_there_is_said_and_counted(tmp_path: Path, capsys) -> None:
    """Before an attack in a note, after it in a flag of its row; of a model that converges nothing is said."""
    data = open_data("demo:views")
    x = data.samples(slice(0, LIMIT))
    for most, said in ((2, True), (300, False)):
        torch.manual_seed(0)
        model = fitting_model("deq", data.modalities.values(), data.class_names, x, max_iter=most).eval()
        if not said:
            contracting(model.fusion, 0.02)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            labels = FusionClassifier(model, device_type="cpu").predict_labels(x)
            settings = AuditSettings(
                model, LabelledSampleArrays(x, labels, data.class_names), attacks="pgd@kar", steps=2, eps={"kar": 0.01}
            )
            write_reports(Audit(settings, tmp_path / str(most), device="cpu").evaluate())
        found = json.loads((tmp_path / str(most) / "report.json").read_text(encoding="utf-8"))
        words = "the fixed point is not reached"
        assert any(f"{LIMIT} of {LIMIT} samples {words}" in note for note in found["notes"]) is said
        assert found["results"]["pgd@kar"].get("flags", {}).get("no_equilibrium", 0) == (LIMIT if said else 0)
        flags = [flag for flag in found["flags"] if flag["kind"] == "no_equilibrium"]
        assert [flag["row"] for flag in flags] == (["pgd@kar"] if said else [])
        assert (words in (tmp_path / str(most) / "report.md").read_text(encoding="utf-8")) is said
