"""Evidence on a model of one's own over an image, a sequence, a table and a text, some of which are missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audits import read_report
from evidence import kept
from PIL import Image
from several import ANSWERS, make, make_samples

from art_multimodal import FusionClassifier, cli
from art_multimodal.datasets import LabelledSampleArrays
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit import AuditSettings
from art_multimodal.evaluations.evidence.bundle import Bundle, Written
from art_multimodal.evaluations.evidence.data import BundledSamples
from art_multimodal.evaluations.evidence.looking import write_images
from art_multimodal.evaluations.evidence.rescoring import rescore

pytestmark = pytest.mark.usefixtures("little_effort")

ATTACKS = "apgd,pgd_multimodal,character_attack,modality_swap,modality_missing,modality_removed,time_shift,"
ATTACKS += "decoupling_exhaustive"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    model, x = make("late"), make_samples()
    # One sample lacks its image, one its table; one has no text anyway.
    x["rgb"][1], x["lab"][2] = np.nan, np.nan
    labels = FusionClassifier(model, device_type="cpu").predict_labels(x)
    data = LabelledSampleArrays(x, labels, ANSWERS, names=["../a", "=b", "\x1b[31m", "d", "e", "f"])
    settings = AuditSettings(model, data, attacks=ATTACKS, eps=0.3, steps=2, max_queries=20, group_size=4)
    return kept(settings, tmp_path_factory.mktemp("own") / "out")


def test_every_kind_of_pass_is_asked_again(written: Written) -> None:
    bundle = Bundle(written.folder)
    found = rescore(bundle, make("late"), batch_size=5, device="cpu")
    assert found.same_weights and found.same_model and found.confirmed
    results = read_report(written.folder.parent)["results"]
    assert {row: found.now[row]["accuracy"] for row in results} == {
        row: one["accuracy"] for row, one in results.items()
    }
    assert found.within_budget and found.pages == ""
    assert {"apgd@rgb", "apgd@lab", "pgd_multimodal"} <= {attack for attack, _ in found.distances.moved}
    passes = set(bundle.passes)
    assert {"character_attack@note", "modality_missing@audio", "time_shift@audio", "apgd@rgb", "apgd@lab"} <= passes
    assert any(one["accuracy"] < 1 for one in results.values())
    # Its image is in [0, 1].
    assert found.eight_bit is not None


def test_what_is_missing_is_kept_as_missing(written: Written) -> None:
    bundle, modalities = Bundle(written.folder), make("late").modalities
    reader = BundledSamples(bundle, modalities)
    x = make_samples()
    for line in bundle.lines():
        if line.attack.startswith("modality_missing@"):
            name = line.attack.partition("@")[2]
            for group in reader.attacked(line.attack, line.batch):
                assert modalities[name].missing(reader.stacked(group)[name]).all()
        if line.attack == "clean":
            for group in reader.clean(line.batch):
                stacked = reader.stacked(group)
                for row, index in enumerate(group.indices):
                    assert modalities["rgb"].missing(stacked["rgb"])[row] == (index == 1)
                    np.testing.assert_array_equal(stacked["audio"][row], x["audio"][index])
                    assert stacked["note"][row] == x["note"][index]


def test_a_model_without_a_name_must_be_given(written: Written) -> None:
    bundle = Bundle(written.folder)
    with pytest.raises(InputError, match="came from Python, unnamed: name one as MODEL"):
        rescore(bundle, device="cpu")
    other = rescore(bundle, make("concat"), device="cpu")
    assert not other.same_weights and not other.same_model
    with pytest.raises(InputError, match="demo:views/late answers .* and the bundle is about no, maybe, yes"):
        rescore(bundle, "demo:views/late", device="cpu")


def test_images_can_be_looked_at(written: Written, tmp_path: Path, capsys) -> None:
    bundle = Bundle(written.folder)
    found = rescore(bundle, make("late"), device="cpu")
    count = write_images(bundle, BundledSamples(bundle, make("late").modalities), tmp_path / "images")
    files = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert len(files) == count > 6 and found.confirmed
    assert all(name.replace("-", "").removesuffix(".png").replace("p", "").replace("m", "").isdigit() for name in files)
    with Image.open(tmp_path / "images" / files[0], formats=("PNG",)) as picture:
        assert picture.size == (6, 6) and picture.mode == "RGB"
    assert replace(written, files=0).files == 0
    # From the command line nobody can name a model that has no name.
    assert cli.main(["verify", str(written.folder), "--device", "cpu"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
