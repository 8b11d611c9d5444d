"""Motions of a watch: the format of their files, and the two sequences that are not aligned."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from installed import pretend

from art_multimodal import InputError
from art_multimodal.datasets import open_data
from art_multimodal.demo import installed as places
from art_multimodal.demo.motions import ACTIVITIES, RANGE, read_ts
from art_multimodal.demo.motions_data import MotionsData

HEADER = "# of a watch\n@problemName BasicMotions\n@dimensions 6\n@classLabel true Standing Running\n@data\n"
real = pytest.mark.skipif(
    find_spec("aeon") is None and find_spec("sktime") is None, reason="neither aeon nor sktime is installed"
)


def written(series: np.ndarray, labels: list[str], header: str = HEADER) -> str:
    lines = [
        ":".join([*(",".join(map(str, axis)) for axis in one), label])
        for one, label in zip(series, labels, strict=True)
    ]
    return header + "\n".join(lines) + "\n"


def pretend_motions(monkeypatch: pytest.MonkeyPatch, root: Path, package: str = "aeon") -> np.ndarray:
    """Files of the package's names, with four samples each."""
    folder = pretend(monkeypatch, root, package) / "datasets" / "data" / "BasicMotions"
    folder.mkdir(parents=True)
    series = np.random.default_rng(0).uniform(-30, 30, (4, 6, 100)).round(3)
    labels = ["Walking", "Standing", "Badminton", "Running"]
    for split in ("TRAIN", "TEST"):
        (folder / f"BasicMotions_{split}.ts").write_text(written(series, labels))
    return series


@pytest.mark.parametrize("package", ["aeon", "sktime"])
def test_two_sequences_of_different_rates(monkeypatch, tmp_path, package: str) -> None:
    monkeypatch.setattr(places, "find_spec", lambda name: find_spec(name) if name == package else None)
    series = pretend_motions(monkeypatch, tmp_path, package)
    data = open_data("demo:motions")
    assert isinstance(data, MotionsData) and package not in sys.modules
    assert [ACTIVITIES[label] for label in data.labels] == ["walking", "standing", "badminton", "running"]
    x = data.samples()
    for name, modality in data.modalities.items():
        modality.check(x[name])
    assert x["accelerometer"]["length"].tolist() == [100] * 4 and x["gyroscope"]["length"].tolist() == [50] * 4
    np.testing.assert_allclose(x["accelerometer"]["values"] * RANGE, series[:, :3].transpose(0, 2, 1), rtol=1e-6)
    np.testing.assert_allclose(x["gyroscope"]["values"][:, 3] * RANGE, series[:, 3:, 6], rtol=1e-6)


def test_what_is_missing_or_other_data_is_said(monkeypatch, tmp_path) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(places, "find_spec", lambda name: None)
        with pytest.raises(InputError, match="package aeon, which is not installed: pip install --no-deps aeon"):
            MotionsData()
    with pytest.raises(InputError, match="split of demo:motions"):
        MotionsData("all")
    pretend_motions(monkeypatch, tmp_path)
    file = tmp_path / "aeon" / "datasets" / "data" / "BasicMotions" / "BasicMotions_TEST.ts"
    for series, label in ((np.zeros((1, 6, 99)), "Walking"), (np.zeros((1, 6, 100)), "Swimming")):
        file.write_text(written(series, [label]))
        with pytest.raises(InputError, match="has other data"):
            MotionsData()


def test_the_format(tmp_path) -> None:
    file = tmp_path / "a.ts"
    file.write_text("#c\n@data x\n@DATA\n\n1,2e0:-3,.5:up\n# between\n5,6:7,8:down\n")
    series, labels = read_ts(file)
    assert series.tolist() == [[[1, 2], [-3, 0.5]], [[5, 6], [7, 8]]] and labels == ["up", "down"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@data\n",
        "1,2:3,4:up\n",
        "@data\n1,2:3:up\n",
        "@data\n1,2:3,4:up\n1:2:down\n",
        "@data\n1,?:3,4:up\n",
        "@data\n1,nan:3,4:up\n",
        "@data\n(0,1):(1,2):up\n",
        "@data\n__import__('os').system('x'),1:up\n",
        "@data\nup\n",
        "\udcff",
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path, text: str) -> None:
    file = tmp_path / "a.ts"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"a\.ts is no file of series"):
        read_ts(file)


@real
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_motions_themselves(split: str) -> None:
    data = MotionsData(split)
    assert len(data) == 40 and np.bincount(data.labels).tolist() == [10] * 4
    x = data.samples()
    for name, modality in data.modalities.items():
        modality.check(x[name])
    # Who stands moves least.
    moves = x["accelerometer"]["values"].std(axis=1).mean(axis=1)
    assert moves[data.labels == 0].max() < moves[data.labels == 1].min()
