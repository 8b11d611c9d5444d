"""What a bundle says of its budget and its plan: samples are measured, and the text of the plan is compared."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evidence import KINDS, edited, first, forged, header_changed, kept, reported

from art_multimodal import cli
from art_multimodal.errors import InputError
from art_multimodal.evaluations.evidence.bundle import Bundle, Written
from art_multimodal.evaluations.evidence.distances import declared_radii
from art_multimodal.evaluations.evidence.files import read_tensors, write_tensors
from art_multimodal.evaluations.evidence.keeping_within import distance
from art_multimodal.evaluations.evidence.manifest import entries_of, read_manifest
from art_multimodal.evaluations.evidence.rescoring import rescore
from art_multimodal.evaluations.plans import parse_plan, read_plan
from art_multimodal.store import opened_document, sealed_document

PLAN = """# Ours, of the spring. Ask Ann.\r
plan: 1
models: [demo:digits]
data: demo:digits
samples: {limit: 4}
attacks: {image: [pgd], text: [character_attack], decoupling: [decoupling_guided]}
budgets: {eps: [4/255, 8/255], steps: 1}
floors: {clean: 0.1}
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return kept(parse_plan(PLAN).settings("demo:digits"), tmp_path_factory.mktemp("planned") / "out")


@pytest.fixture
def own(written: Written, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written.folder, tmp_path / "bundle"))


def resealed(written: Written, folder: Path, *changes: Callable[[Path], None]) -> None:
    """Change a bundle, and everything that has to fit."""

    def change(where: Path) -> None:
        for one in changes:
            one(where)
        reported(where, written.folder.parent / "pictures")

    forged(folder, change)


def said_of(folder: Path, capsys: pytest.CaptureFixture[str], code: int) -> str:
    assert cli.main(["verify", str(folder), "--device", "cpu"]) == code
    captured = capsys.readouterr()
    assert code != 2 or captured.err.count("\n") == 1
    return captured.err if code == 2 else captured.out


def test_what_is_moved_is_measured_and_printed(written: Written, capsys) -> None:
    printed = said_of(written.folder, capsys, 0)
    assert max(len(line) for line in printed.splitlines() if "digest" not in line) <= 80
    found = rescore(Bundle(written.folder), device="cpu")
    moved = {attack: one for (attack, modality), one in found.distances.moved.items() if modality == "image"}
    assert moved.keys() == {"pgd", "eps=4/255:pgd"} and found.distances.unbound == ["decoupling_guided"]
    for attack, eps in (("pgd", 8 / 255), ("eps=4/255:pgd", 4 / 255)):
        assert moved[attack].eps == pytest.approx(eps) and 0.9 * eps < moved[attack].farthest < 1.001 * eps
        assert any(line.split() == [attack, "image", *[f"{round(255 * eps)}/255"] * 2] for line in printed.splitlines())
    assert f"budget: {found.distances.measured} of {found.distances.measured} samples keep to it" in printed
    assert "not measured, for no distance binds them: decoupling_guided" in printed


SMALLER: dict[str, tuple[Callable[[Path], None], str]] = {
    "what came of it": (header_changed(budget={"eps": 6 / 255}), "more than eps 0.02353"),
    "what was asked for": (header_changed(settings={"eps": 6 / 255}), "more than eps 0.02353"),
    "letters": (header_changed(budget={"max_edits": 0, "max_words": 0}), "by more than 0 words or 0 letters"),
}


@pytest.mark.parametrize("name", SMALLER)
def test_a_smaller_budget_than_the_samples_keep_to(written: Written, own: Path, capsys, name: str) -> None:
    change, said = SMALLER[name]
    resealed(written, own, change)
    printed = said_of(own, capsys, 1)
    assert said in printed and "samples keep to it" in printed
    found = rescore(Bundle(own), device="cpu")
    assert found.confirmed and not found.within_budget
    assert {one.attack for one in found.distances.beyond} == {"character_attack" if name == "letters" else "pgd"}
    # Another model does not make it right.
    assert cli.main(["verify", str(own), "demo:digits/robust", "--device", "cpu"]) == 1


def test_a_run_of_one_radius_that_says_a_smaller_one(tmp_path: Path, capsys) -> None:
    one = kept(replace(KINDS["digits"], attacks="pgd", limit=3), tmp_path / "out")
    own = Path(shutil.copytree(one.folder, tmp_path / "bundle"))
    resealed(one, own, header_changed(budget={"eps": 2 / 255}, settings={"eps": 2 / 255}))
    assert "image is moved by 0.03137, more than eps 0.007843" in said_of(own, capsys, 1)


def test_radii_that_do_not_go_together_are_refused(written: Written) -> None:
    header = Bundle(written.folder).header
    assert declared_radii(header) == {
        "": {"image": pytest.approx(8 / 255)},
        "4/255": {"image": pytest.approx(4 / 255)},
    }
    smaller = [{**header["smaller"][0], "name": "1/255"}]
    with pytest.raises(ValueError, match="is called 1/255, and is another one"):
        declared_radii({**header, "smaller": smaller})
    with pytest.raises(ValueError, match="another number of radii"):
        declared_radii({**header, "smaller": []})
    for change in ({"norm": "1"}, {"max_words": None}, {"eps": "x"}):
        with pytest.raises(ValueError, match="budget|radius"):
            declared_radii({**header, "budget": {**header["budget"], **change}})


@pytest.mark.parametrize("attack", ["character_attack", "eps=4/255:pgd", "pgd"])
def test_a_sample_that_was_moved_further_is_named(written: Written, own: Path, capsys, attack: str) -> None:
    """One pixel of a single sample, by one step of 8 bits too much; of an attack on texts by as little as may be."""
    number = read_manifest(own)[0].passes.index(attack)

    path = first(own, "jsonl", number).with_suffix(".safetensors")
    clean, _ = read_tensors(first(own, "safetensors", 0))
    key, step = "g0.v0.image", {"pgd": 9 / 255, "eps=4/255:pgd": 5 / 255}.get(attack, 1e-3)
    # An attack on texts has no file of images.
    tensors = read_tensors(path)[0] if path.exists() else {key: clean[key].copy()}
    tensors[key][0, 0, 0, 0] = abs(clean[key][0, 0, 0, 0] - step)
    digest = write_tensors(path, tensors)
    edited(path.with_suffix(".jsonl"), lambda head: head.update(tensors=digest, same=[]), 0)
    forged(own, lambda folder: None, **entries_of(own, [f"fixtures/{path.name}"]))
    if attack == "pgd":
        # The report shows this sample as it was.
        assert "report.html is not what" in said_of(own, capsys, 2)
        return
    said_of(own, capsys, 1)
    (beyond,) = rescore(Bundle(own), device="cpu").distances.beyond
    assert beyond.attack == attack
    assert ("may not be changed" if attack == "character_attack" else "is moved by") in beyond.said


def test_rounding_is_no_distance() -> None:
    """A sample projected in float32, in units of the radius, is within the radius; a thousandth more is not."""
    generator = np.random.default_rng(0)
    for norm, eps in ((np.inf, 3 / 255), (2.0, 0.5), (np.inf, 40.0)):
        x = (generator.random((1, 3, 40, 40)) * (1000 if eps == 40 else 1)).astype(np.float32)
        step = generator.standard_normal(x.shape)
        step = np.sign(step) * eps if norm == np.inf else step * eps / np.linalg.norm(step)
        # There and back again, as packed samples are.
        unit = np.float32(eps)
        moved = ((x / unit + (step / eps).astype(np.float32)) * unit).astype(np.float32)
        far, rounding = distance(x, moved, norm)
        assert far <= eps + rounding + 2.0**-20 * eps < 1.001 * eps
        far, rounding = distance(x, x + (1.002 * step).astype(np.float32), norm)
        assert far > eps + rounding + 2.0**-20 * eps
    missing = np.full((1, 3), np.nan, dtype=np.float32)
    assert distance(missing, missing, np.inf)[0] == 0 and np.isnan(distance(missing, np.zeros((1, 3)), 2.0)[0])


def test_the_text_of_the_plan_is_kept_as_it_was_read(written: Written, tmp_path: Path, capsys) -> None:
    path = written.folder / "plan.yaml"
    assert path.read_bytes() == PLAN.encode()
    declared = read_plan(path)
    assert declared.sha256 == hashlib.sha256(PLAN.encode()).hexdigest()
    assert declared.as_json() == Bundle(written.folder).header["plan"]
    assert "plan: plan.yaml is the text that the run names" in said_of(written.folder, capsys, 0)
    # It makes the same run again.
    again = kept(declared.settings("demo:digits"), tmp_path / "again")
    lines = [read_manifest(folder)[0].files for folder in (written.folder, again.folder)]
    assert {name: one for name, one in lines[0].items() if "fixtures" in name} == {
        name: one for name, one in lines[1].items() if "fixtures" in name
    }


def _plan(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "plan.yaml"
        path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))

    return change


def _declared(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        header = opened_document((folder / "run.json").read_bytes())
        change(header["plan"])
        (folder / "run.json").write_text(sealed_document(header))

    return apply


@pytest.mark.parametrize(
    "changes",
    [
        [_plan("Ann", "Bob")],
        [_plan("clean: 0.1", "clean: 0.9")],
        [_declared(lambda plan: plan["content"]["floors"].update(clean={"": 0.2}))],
        [_declared(lambda plan: plan.update(sha256="0" * 64))],
    ],
)
def test_another_plan_is_refused(written: Written, own: Path, capsys, changes: list) -> None:
    resealed(written, own, *changes)
    assert "plan.yaml is not the plan of the run" in said_of(own, capsys, 2)


def test_a_plan_that_is_none_or_too_large_is_refused(written: Written, own: Path, capsys) -> None:
    forged(own, lambda folder: (folder / "plan.yaml").write_bytes(b"\xff" * 10))
    assert "plan.yaml" in said_of(own, capsys, 2)
    forged(own, lambda folder: (folder / "plan.yaml").write_bytes(b"#" * (1 << 17)))
    assert "plan.yaml cannot be read" in said_of(own, capsys, 2)


def test_bundles_that_kept_no_text_are_read(written: Written, own: Path, capsys) -> None:
    assert opened_document((own / "manifest.json").read_bytes())["schema_version"] == 2
    forged(own, lambda folder: (folder / "plan.yaml").unlink())
    value = opened_document((own / "manifest.json").read_bytes())
    assert value["schema_version"] == 1
    assert "plan: its text was not kept" in said_of(own, capsys, 0)
    (own / "plan.yaml").write_text(PLAN)
    with pytest.raises(InputError, match="plan.yaml is not in the manifest"):
        Bundle(own)


def test_hashes_are_of_what_the_bundle_holds(written: Written, own: Path, capsys) -> None:
    manifest, _ = read_manifest(own)
    assert dict(manifest.hashes) == Bundle(own).hashes()
    for name in manifest.hashes:
        replace(manifest, hashes={**manifest.hashes, name: "0" * 64}).write(own)
        assert f"names another SHA-256 of the {name} than it holds" in said_of(own, capsys, 2)
