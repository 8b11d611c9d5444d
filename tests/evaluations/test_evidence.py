"""Evidence: what an audit keeps is asked about again by itself, and gives the same verdicts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audits import read_report
from evidence import KINDS, edited, first, forged, kept, reported, samples_of
from PIL import Image
from rounding import OtherRounding

from art_multimodal import ZeroShotClassifier, cli, load_model
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit import Audit
from art_multimodal.evaluations.audit.log import RunLog
from art_multimodal.evaluations.audit.outcomes import outcomes
from art_multimodal.evaluations.evidence.bundle import Bundle, Written
from art_multimodal.evaluations.evidence.comparing import compare
from art_multimodal.evaluations.evidence.data import BundledSamples
from art_multimodal.evaluations.evidence.files import sha256_of
from art_multimodal.evaluations.evidence.keeping import estimated_bytes
from art_multimodal.evaluations.evidence.rescoring import rescore
from art_multimodal.modalities import image

pytestmark = pytest.mark.usefixtures("little_effort")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Written]:
    return {kind: kept(settings, tmp_path_factory.mktemp(kind) / "out") for kind, settings in KINDS.items()}


@pytest.fixture
def digits(written: dict[str, Written], tmp_path: Path) -> Path:
    """A bundle of one's own."""
    return Path(shutil.copytree(written["digits"].folder, tmp_path / "bundle"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_model_confirms_every_sample_whatever_the_batch_size(written, kind: str) -> None:
    bundle = Bundle(written[kind].folder.parent, written[kind].digest)
    report, listed = read_report(written[kind].folder.parent), dict[str, int]()
    for line in bundle.lines():
        listed[line.attack] = listed.get(line.attack, 0) + len(line.samples)
    for size in (1, 5):
        found = rescore(bundle, batch_size=size, device="cpu")
        assert found.same_weights and found.same_model and found.confirmed and not found.changed
        assert {name: one.same + one.near for name, one in found.tallies.items()} == listed
        assert not any(one.unkept for one in found.tallies.values())
        shares = {row: result["accuracy"] for row, result in report["results"].items()}
        # Behind them come passes that are no row by themselves.
        assert {row: found.report[row]["accuracy"] for row in shares} == shares and found.within_budget
        assert found.report.keys() - shares.keys() == listed.keys() - shares.keys()
        if not found.near:
            assert {row: found.now[row]["accuracy"] for row in shares} == shares
        assert found.pages == ""
    assert found.eight_bit is not None


@pytest.mark.parametrize("kind", KINDS)
def test_on_another_machine_nothing_differs_by_more_than_rounding(written, kind: str) -> None:
    bundle = Bundle(written[kind].folder)
    for seed in (1, 2):
        with OtherRounding(seed):
            found = rescore(bundle, device="cpu")
        assert found.confirmed, found.changed


@pytest.mark.parametrize("kind", ["random", "retrieval", "views"])
def test_what_is_printed_has_80_columns_and_every_pass(written, capsys, kind: str) -> None:
    folder = written[kind].folder
    assert cli.main(["verify", str(folder), "--digest", written[kind].digest.upper(), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    # The digest is as long as it is.
    assert max(len(line) for line in printed.splitlines() if "digest" not in line) <= 80
    assert f"digest: {written[kind].digest}, as given" in printed and "weights: the same" in printed
    assert all(any(line.startswith(name) for line in printed.splitlines()) for name in Bundle(folder).passes)


@pytest.mark.parametrize("kind", KINDS)
def test_outcomes_are_what_a_report_counts(written, kind: str) -> None:
    bundle = Bundle(written[kind].folder)
    found, results = outcomes(bundle.header, bundle.lines()), read_report(written[kind].folder.parent)["results"]
    assert found.keys() >= results.keys()
    for row, result in results.items():
        assert len(found[row]) == result["n"] and sum(found[row].values()) == result["accuracy"] * result["n"]
        if "naive" in result and f"naive:{row}" in found:
            naive = found[f"naive:{row}"]
            assert sum(naive.values()) == result["naive"]["accuracy"] * result["naive"]["n"]


def test_samples_are_kept_without_loss_within_the_budget(written) -> None:
    bundle = Bundle(written["digits"].folder)
    reader, eps = BundledSamples(bundle), KINDS["digits"].eps
    assert isinstance(eps, float)
    job = Audit(KINDS["digits"], Path("unused"), device="cpu")
    seen = 0
    for line in bundle.lines():
        own = {
            index: sample
            for group in reader.clean(line.batch)
            for index, sample in zip(group.indices, reader.of_subject(group), strict=True)
        }
        if line.attack == "clean":
            for index, sample in own.items():
                read = job.subject.read(index)
                np.testing.assert_array_equal(sample.image, read.image)
                assert (sample.name, sample.label) == (read.name, read.label)
            continue
        for group in reader.attacked(line.attack, line.batch):
            for index, after in zip(group.indices, reader.stacked(group), strict=True):
                moved = np.abs(after - own[index].image).max()
                seen += 1
                if line.attack == "pgd":
                    # Differences of numbers below 1 round by half a unit of them.
                    assert 0 < moved <= eps + 2.0**-24
                if line.attack == "character_attack":
                    assert moved == 0
    assert seen == written["digits"].samples


def test_what_an_attack_left_alone_is_kept_once(written) -> None:
    folder, number = written["digits"].folder, 2
    assert KINDS["digits"].attacks.split(",")[number - 1] == "character_attack"
    assert not list((folder / "fixtures").glob(f"p{number:03d}-*.safetensors"))
    assert "prompts" in (json.loads(first(folder, "jsonl", number).read_text().splitlines()[1]))


def test_the_digest_stands_for_every_byte(written) -> None:
    one = written["pairs"]
    manifest = json.loads((one.folder / "manifest.json").read_text())
    assert sha256_of(one.folder / "manifest.json")[1] == one.digest
    assert one.files == len(manifest["files"]) + 1
    for name, entry in manifest["files"].items():
        assert sha256_of(one.folder / name) == (entry["size"], entry["sha256"])
    header = json.loads((one.folder / "run.json").read_text())
    assert manifest["hashes"]["weights"] == header["model"]["weights_sha256"]
    assert set(manifest["hashes"]) == {"weights", "data", "configuration", "environment"}
    environment = (one.folder / "environment.json").read_text()
    import platform

    assert platform.node() not in environment and "torch" in json.loads(environment)["packages"]
    with pytest.raises(InputError, match="another one than was noted down"):
        Bundle(one.folder, "0" * 64)


def test_a_sample_whose_verdict_was_changed_in_the_log_is_named(written, digits: Path, capsys) -> None:
    lines = [json.loads(line) for line in (digits / "log.jsonl").read_text().splitlines()]
    place = next(number for number, line in enumerate(lines) if line["attack"] == "pgd")
    sample = lines[place]["samples"][0]
    other = (sample["predicted"] + 1) % 10

    def lie(value: dict) -> None:
        value["samples"][0]["predicted"] = other

    def lying(folder: Path) -> None:
        edited(folder / "log.jsonl", lie, place)
        reported(folder, written["digits"].folder.parent / "pictures")

    forged(digits, lying)
    assert cli.main(["verify", str(digits), "--device", "cpu"]) == 1
    printed = capsys.readouterr().out
    assert "other verdicts: 1 differ" in printed and f"pgd: {sample['name']} was " in printed
    assert max(map(len, printed.replace(str(digits), "").splitlines())) <= 80


def test_another_model_is_asked_about_the_same_samples(digits: Path, capsys) -> None:
    assert cli.main(["verify", str(digits), "demo:digits/robust", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "weights: not the same" in printed and "of another model" in printed
    found = rescore(Bundle(digits), "demo:digits/robust", device="cpu")
    kinds = {line.attack: line for line in Bundle(digits).lines()}
    assert not found.same_model and found.report["clean"]["accuracy"] == 1 and "pgd" in kinds
    assert found.now["pgd"]["n"] == found.report["pgd"]["n"] <= 6
    # It was hardened, and these samples were made for the other one.
    assert found.now["pgd"]["accuracy"] >= found.report["pgd"]["accuracy"]
    for other, said in (
        ("demo:shapes", "is a fusion model"),
        ("demo:nothing", "Unknown"),
        ("demo:views", "multimodal"),
    ):
        assert cli.main(["verify", str(digits), other, "--device", "cpu"]) == 2
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1


def test_another_model_must_take_the_same_modalities(written) -> None:
    with pytest.raises(InputError, match="demo:rgbd/concat (takes|answers) .* and the bundle"):
        rescore(Bundle(written["views"].folder), "demo:rgbd/concat", device="cpu")


def test_successes_alone_are_kept_where_they_are_asked_for(written, tmp_path: Path) -> None:
    settings = replace(KINDS["digits"], attacks="pgd")
    one = kept(settings, tmp_path / "out", "successes")
    found = rescore(Bundle(one.folder), device="cpu")
    results = read_report(tmp_path / "out")["results"]["pgd"]
    fooled = round(results["attack_success_rate"] * results["attacked"])
    assert found.confirmed and 0 < fooled < results["attacked"]
    assert found.tallies["pgd"].same + found.tallies["pgd"].near == one.samples == fooled
    assert found.tallies["pgd"].unkept == results["attacked"] - fooled
    assert found.now["pgd"]["accuracy"] == results["accuracy"]
    with pytest.raises(InputError, match="does not go with a random defence"):
        Audit(KINDS["random"], tmp_path / "other", device="cpu", fixtures="successes")
    with pytest.raises(InputError, match="--fixtures"):
        Audit(settings, tmp_path / "other", device="cpu", fixtures="some")


@pytest.mark.parametrize("kind", KINDS)
def test_the_estimate_is_no_less_than_what_is_kept(written, kind: str) -> None:
    job = Audit(KINDS[kind], Path("unused"), device="cpu")
    arrays = sum(path.stat().st_size for path in (written[kind].folder / "fixtures").glob("*.safetensors"))
    headers = 2000 * len(list((written[kind].folder / "fixtures").glob("*.safetensors")))
    most = estimated_bytes(job.subject, job.order, job.passes)
    assert 0.2 * most < arrays <= most + headers


def test_lines_are_logged_after_their_samples(tmp_path: Path, monkeypatch) -> None:
    settings = replace(KINDS["digits"], attacks="pgd")
    job = Audit(settings, tmp_path / "out", device="cpu", fixtures="all")
    append, seen = RunLog.append, []

    def checked(log: RunLog, line) -> None:
        assert job.keeper.is_whole(line), line.part
        seen.append(line.part)
        append(log, line)

    monkeypatch.setattr(RunLog, "append", checked)
    job.evaluate()
    assert len(seen) == 4


def test_a_run_that_was_killed_keeps_the_same_samples(written, tmp_path: Path) -> None:
    whole = written["digits"].folder
    expected = samples_of(whole)
    out = Path(shutil.copytree(whole.parent, tmp_path / "out"))
    log = (out / "log.jsonl").read_bytes()
    ends = [place + 1 for place, byte in enumerate(log) if byte == 10]
    # Cut within a line; a file of samples gone, another damaged, a third half-written and its line never logged.
    (out / "log.jsonl").write_bytes(log[: ends[6] + 10])
    evidence = out / "evidence"
    first(evidence, "safetensors", 0).unlink()
    damaged = first(evidence, "safetensors", 1)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x55")
    (evidence / "fixtures" / ".p003-b000001.safetensors.part").write_bytes(b"half")
    with pytest.raises(InputError, match="damaged|not as it was closed"):
        Bundle(out / "evidence")
    again = kept(KINDS["digits"], out, resume=True)
    assert samples_of(again.folder) == expected
    assert not list((evidence / "fixtures").glob(".*")) and rescore(Bundle(again.folder), device="cpu").confirmed


def test_samples_of_a_finished_run_are_made_when_they_are_asked_for_later(written, tmp_path: Path) -> None:
    out = Path(shutil.copytree(written["views"].folder.parent, tmp_path / "out"))
    shutil.rmtree(out / "evidence")
    lines = (out / "log.jsonl").read_bytes()
    again = kept(KINDS["views"], out, resume=True)
    assert samples_of(again.folder) == samples_of(written["views"].folder)
    assert (out / "log.jsonl").read_bytes() == lines


def test_an_unfinished_bundle_is_none(written, tmp_path: Path) -> None:
    out = Path(shutil.copytree(written["pairs"].folder.parent, tmp_path / "out"))
    (out / "evidence" / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"is no bundle of evidence: it has no manifest\.json"):
        Bundle(out)
    with pytest.raises(InputError, match="is no folder"):
        Bundle(out / "elsewhere")


def test_overwrite_removes_evidence_and_nothing_else(tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    base = ["audit", "demo:digits", "--data", "demo:digits", "--attacks", "pgd", "--steps", "1", "--limit", "3"]
    base += ["--device", "cpu", "--out", str(out)]
    assert cli.main([*base, "--fixtures", "all"]) == 0
    printed = capsys.readouterr().out
    assert "evidence: up to " in printed and "digest: " in printed and "attacked samples" in printed
    (out / "evidence" / "notes.txt").write_text("mine")
    assert cli.main([*base, "--overwrite"]) == 2 and (out / "evidence" / "notes.txt").exists()
    (out / "evidence" / "notes.txt").unlink()
    (out / "evidence" / "fixtures" / ".p000-b000000.jsonl.part").write_text("left by a kill")
    assert cli.main([*base, "--overwrite"]) == 0
    assert not (out / "evidence").exists() and (out / "samples.csv").exists()


def test_images_alone_have_eight_bits() -> None:
    from art_multimodal.evaluations.evidence.judging import _eight_bit

    values = np.random.default_rng(0).random((3, 3, 4, 4)).astype(np.float32)
    rounded = _eight_bit(values)
    assert np.abs(rounded - values).max() <= 0.5 / 255 + 2.0**-24
    np.testing.assert_array_equal(_eight_bit(rounded), rounded)
    # As a file of 8 bits is read.
    np.testing.assert_array_equal(np.round(values * 255).astype(np.uint8) / np.float32(255), rounded)
    assert image("rgb", 3, 4, 4).clip_values == (0.0, 1.0)


def test_votes_of_a_smoothed_model_are_named_and_not_asked_again(tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    base = ["audit", "demo:views/late", "--data", "demo:views", "--attacks", "modality_missing", "--limit", "4"]
    base += ["--keep", "pix=4,fou=20", "--device", "cpu", "--out", str(out), "--fixtures", "all"]
    assert cli.main(base) == 0
    capsys.readouterr()
    assert cli.main(["verify", str(out), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "smoothed models, certificates: they are votes" in printed
    bundle, results = Bundle(out), read_report(out)["results"]
    found = outcomes(bundle.header, bundle.lines())
    for row, result in results.items():
        assert len(found[row]) == result["n"] and sum(found[row].values()) == result["accuracy"] * result["n"]
    assert compare(out, bundle.folder).left_out == {}


def test_passes_within_smaller_radii_are_asked_again_by_their_numbers(tmp_path: Path, capsys) -> None:
    settings = replace(KINDS["digits"], attacks="pgd", eps=8 / 255, smaller_eps=(2 / 255,), limit=4)
    one = kept(settings, tmp_path / "out")
    bundle = Bundle(one.folder)
    (smaller,) = [name for name in bundle.passes if name.startswith("eps=2/255:")]
    found = rescore(bundle, device="cpu")
    assert found.confirmed and found.tallies[smaller].same + found.tallies[smaller].near > 0
    assert first(one.folder, "jsonl", bundle.manifest.passes.index(smaller)).exists()
    rows, results = outcomes(bundle.header, bundle.lines()), read_report(tmp_path / "out")["results"]
    assert sum(rows["image"].values()) == results["image"]["accuracy"] * results["image"]["n"]
    assert sum(rows[smaller].values()) >= sum(rows["pgd"].values())
    (_, point, _) = read_report(tmp_path / "out")["curves"]["pgd"]["points"]
    assert {key: found.report[smaller][key] for key in ("n", "accuracy")} == {
        key: point[key] for key in ("n", "accuracy")
    }
    assert found.now[smaller]["accuracy"] == point["accuracy"] and found.eight_bit is not None
    assert cli.main(["verify", str(one.folder), "--device", "cpu"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(smaller) and "%" in line]
    assert line.split()[:6] == [smaller, "4", *f"{100 * point['accuracy']:.1f} %".split() * 2]


def test_images_of_8_bits_are_what_a_file_gives_back(written, tmp_path: Path) -> None:
    """By plain means: each image saved as a PNG and read again, and the model asked about it."""
    bundle = Bundle(written["digits"].folder)
    reader, model = BundledSamples(bundle), load_model("demo:digits")
    data = bundle.header["data"]
    classifier = ZeroShotClassifier(model, data["class_names"], data["templates"], device_type="cpu")
    right: dict[str, list[bool]] = {"clean": [], "pgd": [], "typographic": []}
    for line in bundle.lines():
        if line.attack not in right:
            continue
        labels = {one.index: one.verdict.label for one in line.samples}
        for group in reader.clean(line.batch) if line.attack == "clean" else reader.attacked(line.attack, line.batch):
            for index, pixels in zip(group.indices, reader.stacked(group), strict=True):
                path = tmp_path / f"{line.attack}-{index}.png"
                Image.fromarray(np.rint(pixels.transpose(1, 2, 0) * 255).astype(np.uint8)).save(path)
                with Image.open(path) as opened:
                    again = (np.asarray(opened, dtype=np.float64) / 255).astype(np.float32).transpose(2, 0, 1)
                right[line.attack].append(int(classifier.predict(again[None]).argmax()) == labels[index])
    found = rescore(bundle, device="cpu")
    assert found.eight_bit is not None and found.confirmed
    for attack, said in right.items():
        row = found.eight_bit[attack]
        assert row["n"] * row["accuracy"] == sum(said) and (attack == "clean" or len(said) == row["attacked"])
