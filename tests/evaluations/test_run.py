"""Running, killing and resuming audits."""

from __future__ import annotations

import dataclasses
import errno
import gc
import json
import os
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest
from audits import SETTINGS, read_report, sealed, timeless
from forked import Forked
from killed import killed_in
from photos import save_photo

from art_multimodal import InputError, ZeroShotClassifier, load_model
from art_multimodal.attacks.evasion import DecouplingAttack
from art_multimodal.datasets import LabelledImages
from art_multimodal.evaluations.audit import Audit, AuditSettings, RunLog, summarise, write_reports
from art_multimodal.evaluations.audit import opening as opening_module


def test_numbers_are_those_of_the_attacks_run_by_hand(finished: RunLog, digits, digits_images) -> None:
    """Every sample once, the clean and decoupling rows recomputed without the audit."""
    results = read_report(finished.folder)["results"]
    order = np.random.default_rng(SETTINGS.seed).permutation(len(digits))[: SETTINGS.limit]
    images, labels = digits_images[0][order], digits_images[1][order]
    classifier = ZeroShotClassifier(load_model("demo:digits"), digits.class_names, digits.templates, device_type="cpu")
    right = classifier.predict(images).argmax(axis=1) == labels
    assert results["clean"]["n"] == SETTINGS.limit
    assert results["clean"]["accuracy"] == right.mean()
    attack = DecouplingAttack(classifier, search="exhaustive", verbose=False)
    attack.generate(images[right])
    fooled = [record for record in attack.records if record.success]
    row = results["decoupling_exhaustive"]
    assert row["attacked"] == right.sum()
    assert row["accuracy"] == pytest.approx((right.sum() - len(fooled)) / SETTINGS.limit)
    assert row["attack_success_rate"] == pytest.approx(len(fooled) / right.sum())
    shares = [record.share_removed for record in fooled]
    assert row["share_removed_mean"] == pytest.approx(np.mean(shares))
    assert row["share_removed_median"] == pytest.approx(np.median(shares))
    assert row["share_removed_min"] == pytest.approx(min(shares))
    assert row["queries"] == pytest.approx(np.mean([record.queries for record in attack.records]))
    # One per step, one to score the result; and it is the one that looks whether gradients are hidden.
    looked = results["pgd"]["flags"]["checked"] / results["pgd"]["attacked"]
    assert SETTINGS.steps + 1 < results["pgd"]["queries"] <= SETTINGS.steps + 1 + 22 * looked
    assert results["pgd"]["gradients"] == pytest.approx(SETTINGS.steps + 2 * looked)
    assert not results["apgd_dlr"].get("flags")
    assert results["image"]["accuracy"] <= min(results["pgd"]["accuracy"], results["apgd_dlr"]["accuracy"])
    assert results["pgd"]["accuracy"] < results["clean"]["accuracy"] - 0.2


def test_report_names_everything_that_a_number_depends_on(finished: RunLog) -> None:
    report = read_report(finished.folder)
    assert report["schema_version"] == 5
    assert report["complete"] is True
    assert report["seed"] == 3
    assert report["task"] == "zero-shot"
    budget = {"norm": "inf", "eps": 8 / 255, "eps_step": 4 / 255, "steps": 5, "max_queries": 500}
    text = {"language_model": "demo:mlm", "max_words": 1, "max_edits": 1, "top_k": 10, "protect_class_names": True}
    # What the digits name besides: "a photo of the handwritten digit 3" is of another digit.
    text["protected_words"] = list("0123456789")
    assert report["budget"] == {**budget, **text, "max_share": 0.1, "word_curve": []}
    assert report["model"]["spec"] == "demo:digits"
    assert len(report["model"]["weights_sha256"]) == 64
    assert report["data"]["class_names"][7] == "seven"
    assert {"torch", "adversarial-robustness-toolbox", "art-multimodal"} <= set(report["versions"])
    for name in ("pgd", "apgd_dlr", "decoupling_exhaustive", "image", "decoupling"):
        row = report["results"][name]
        assert row["accuracy_ci95"][0] <= row["accuracy"] <= row["accuracy_ci95"][1]
        assert row["seconds"] > 0 and row["queries"] > 0


def test_equal_seeds_equal_reports_and_other_seeds_others(finished: RunLog, tmp_path: Path) -> None:
    again = write_reports(Audit(SETTINGS, tmp_path / "again", device="cpu").evaluate())
    assert timeless(again) == timeless(read_report(finished.folder))
    other = write_reports(Audit(dataclasses.replace(SETTINGS, seed=4), tmp_path / "other", device="cpu").evaluate())
    assert timeless(other["results"]) != timeless(again["results"])


def test_resume_after_a_cut_at_any_byte(finished: RunLog, tmp_path: Path) -> None:
    """A kill leaves the log cut anywhere; whatever is left, the resumed run ends with the same report."""
    whole = (finished.folder / "log.jsonl").read_bytes()
    rng = np.random.default_rng(0)
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    cuts = [0, ends[0] - 1, ends[4] + 1, len(whole) - 1, len(whole), int(rng.integers(0, len(whole)))]
    job = Audit(SETTINGS, tmp_path, device="cpu")
    for number, cut in enumerate(cuts):
        folder = tmp_path / str(number)
        shutil.copytree(finished.folder, folder)
        shutil.rmtree(folder / "pictures")
        (folder / "log.jsonl").write_bytes(whole[:cut])
        job.out = folder
        counts: dict[str, int] = {}

        def progress(name: str, count: int, counts=counts) -> None:
            counts[name] = counts.get(name, 0) + count

        log = job.evaluate(resume=True, progress=progress)
        assert timeless(write_reports(log)) == timeless(read_report(finished.folder)), cut
        assert (folder / "log.jsonl").read_bytes().count(b"\n") == len(ends)
        assert counts == dict.fromkeys(("clean", "pgd", "apgd_dlr", "decoupling_exhaustive"), SETTINGS.limit)


def test_resume_after_real_kills(finished: RunLog, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("art_multimodal", "audit", "demo:digits", "--data", "demo:digits", "--attacks", SETTINGS.attacks)
    command += ("--eps", "8/255", "--steps", "5", "--limit", "20", "--batch-size", "8", "--group-size", "8")
    command += ("--seed", "3", "--device", "cpu", "--out", str(out), "--resume")
    # Between two lines of a batch, and before the first picture that the next batch leaves.
    for names, number, lines in ((r"^log\.jsonl$", 4, 2), ("^pictures/.", 1, 2)):
        killed_in(out, number, *command, names=names)
        assert (out / "log.jsonl").read_bytes().count(b"\n") == lines
    assert Forked(tmp_path, "-m", *command).wait() == 0
    assert timeless(read_report(out)) == timeless(read_report(finished.folder))
    assert {path.name for path in (out / "pictures").iterdir()} == {
        path.name for path in (finished.folder / "pictures").iterdir()
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eps": 4 / 255}, "eps: "),
        ({"seed": 9}, "seed: 3 then, 9 now"),
        ({"group_size": 4}, "group_size: 8 then, 4 now"),
        ({"attacks": "pgd"}, "attacks: pgd,apgd_dlr,decoupling_exhaustive then, pgd now"),
        ({"templates": ("the digit {}",)}, "templates: "),
        ({"limit": 19}, "limit: 20 then, 19 now"),
    ],
)
def test_resume_with_other_settings_is_refused_and_nothing_is_lost(finished, tmp_path, change, message) -> None:
    folder = tmp_path / "out"
    shutil.copytree(finished.folder, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(InputError, match=message):
        Audit(dataclasses.replace(SETTINGS, **change), folder, device="cpu").evaluate(resume=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_finished_run_is_not_overwritten(finished: RunLog) -> None:
    before = (finished.folder / "log.jsonl").read_bytes()
    with pytest.raises(InputError, match="holds a run already"):
        Audit(SETTINGS, finished.folder, device="cpu").evaluate()
    assert (finished.folder / "log.jsonl").read_bytes() == before


def test_resume_of_changed_weights_or_data_is_refused(finished, tmp_path, monkeypatch) -> None:
    folder = tmp_path / "out"
    shutil.copytree(finished.folder, folder)
    job = Audit(SETTINGS, folder, device="cpu")
    next(job.estimator.dual_encoder.parameters()).data.add_(1e-3)
    with pytest.raises(InputError, match="weights_sha256"):
        job.evaluate(resume=True)
    job = Audit(SETTINGS, folder, device="cpu")
    monkeypatch.setattr(type(job.subject.data), "label_of", lambda self, index: 0)
    with pytest.raises(InputError, match="fingerprint"):
        job.evaluate(resume=True)


def test_images_that_changed_in_a_started_batch_are_noticed(finished: RunLog, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(finished.folder, folder)
    lines = (folder / "log.jsonl").read_text().splitlines(keepends=True)
    (folder / "log.jsonl").write_text("".join(lines[:2]))
    job = Audit(SETTINGS, folder, device="cpu")
    job.subject.data._images = 1 - job.subject.data._images  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="have changed since, in batch 0"):
        job.evaluate(resume=True)
    assert (folder / "log.jsonl").read_text() == "".join(lines[:2])


def test_a_resumed_batch_attacks_what_the_log_says_was_right(finished: RunLog, tmp_path: Path) -> None:
    """Another machine may round another way: the clean row and the attacked samples must not come apart."""
    folder = tmp_path / "out"
    shutil.copytree(finished.folder, folder)
    lines = (folder / "log.jsonl").read_text().splitlines(keepends=True)
    clean = json.loads(lines[0])
    clean["samples"][0]["predicted"] = (clean["samples"][0]["label"] + 1) % 10
    (folder / "log.jsonl").write_bytes(sealed(clean))
    report = write_reports(Audit(SETTINGS, folder, device="cpu").evaluate(resume=True))
    assert report["complete"] is True
    assert report["results"]["pgd"]["attacked"] == report["results"]["clean"]["n"] - 1


def test_an_attack_that_cannot_work_on_a_photo_is_left_out_of_its_row(photos: Path, tmp_path: Path) -> None:
    settings = AuditSettings(
        "demo:digits", f"folder:{photos}", "pgd,square", norm="2", eps=0.5, max_queries=10, native_size=True
    )
    report = write_reports(Audit(settings, tmp_path / "out", device="cpu").evaluate())
    square, pgd, image = (report["results"][name] for name in ("square", "pgd", "image"))
    assert report["complete"] is True
    assert square["not_applicable"] > 0
    assert square["attacked"] + square["not_applicable"] == pgd["attacked"] == image["attacked"]
    assert (
        f"square cannot work on {square['not_applicable']} of the images" in (tmp_path / "out/report.html").read_text()
    )


def test_file_names_in_another_encoding(photos: Path, tmp_path: Path) -> None:
    save_photo(tmp_path / "x.png", seed=1)
    (tmp_path / "x.png").rename(photos / "one" / os.fsdecode(b"caf\xe9.png"))
    settings = AuditSettings("demo:digits", f"folder:{photos}", "pgd", eps=0.1, steps=1)
    report = write_reports(Audit(settings, tmp_path / "out", device="cpu").evaluate())
    assert report["results"]["clean"]["n"] == 13


def test_damaged_run_folders(finished: RunLog, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(finished.folder, folder)
    lines = (folder / "log.jsonl").read_text().splitlines(keepends=True)
    (folder / "log.jsonl").write_text("".join(["garbage\n", *lines[1:]]))
    with pytest.raises(InputError, match="Line 1 of .* is damaged"):
        Audit(SETTINGS, folder, device="cpu").evaluate(resume=True)
    (folder / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run\.json cannot be read"):
        Audit(SETTINGS, folder, device="cpu").evaluate(resume=True)


def test_a_full_disk_is_said_and_the_run_goes_on_later(finished, tmp_path, monkeypatch) -> None:
    writes = iter(range(100))
    fsync = os.fsync

    def full(descriptor: int) -> None:
        if next(writes) == 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    job = Audit(SETTINGS, tmp_path / "out", device="cpu")
    with pytest.raises(InputError, match=r"No space left on device.*--resume"):
        job.evaluate()
    assert timeless(write_reports(job.evaluate(resume=True))) == timeless(read_report(finished.folder))


def test_an_output_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="Cannot write to"):
        Audit(SETTINGS, tmp_path / "file" / "out", device="cpu").evaluate()


class CountedImages(LabelledImages):
    """Many images, of which it is counted how many are alive at once."""

    class_names = tuple(f"digit {i}" for i in range(10))
    templates = ("the {}",)

    def __init__(self, n: int) -> None:
        self.n = n
        self.alive = self.most = 0

    def __len__(self) -> int:
        return self.n

    def name_of(self, index: int) -> str:
        return str(index)

    def label_of(self, index: int) -> int:
        return index % 10

    def image(self, index: int) -> np.ndarray:
        class Tracked(np.ndarray):
            pass

        image = np.random.default_rng(index).random((3, 16, 16), dtype=np.float32).view(Tracked)
        weakref.finalize(image, self._gone)
        self.alive += 1
        self.most = max(self.most, self.alive)
        return image

    def _gone(self) -> None:
        self.alive -= 1


def test_memory_does_not_grow_with_the_data(tmp_path: Path, monkeypatch) -> None:
    most = []
    for n in (40, 200):
        data = CountedImages(n)
        monkeypatch.setattr(opening_module, "open_images", lambda *args, data=data, **kwargs: data)
        gc.collect()
        settings = AuditSettings("demo:digits", "demo:digits", "pgd", steps=1, batch_size=10, group_size=10)
        log = Audit(settings, tmp_path / str(n), device="cpu").evaluate()
        assert summarise(log.header, log.lines())["results"]["clean"]["n"] == n
        most.append(data.most)
    assert most[1] == most[0] <= 20


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    sizes = ((40, 30), (20, 50), (90, 60), (33, 33))
    for index in range(12):
        save_photo(root / ("one", "two", "three")[index % 3] / f"{index}.png", size=sizes[index % 4], seed=index)
    return root


def test_unreadable_photos_are_named_counted_and_skipped(photos: Path, tmp_path: Path) -> None:
    (photos / "one" / "empty.jpg").write_bytes(b"")
    (photos / "two" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nxx")
    settings = AuditSettings(
        "demo:digits",
        f"folder:{photos}",
        "pgd,square,decoupling_exhaustive",
        eps=0.1,
        max_queries=10,
        batch_size=4,
        group_size=4,
    )
    report = write_reports(Audit(settings, tmp_path / "out", device="cpu").evaluate())
    assert report["complete"] is True
    assert {entry["name"]: entry["reason"] for entry in report["skipped"]}.keys() == {"one/empty.jpg", "two/broken.png"}
    assert report["results"]["clean"]["n"] == 12
    for name in ("report.md", "report.html"):
        assert "the file is empty" in (tmp_path / "out" / name).read_text()
    with pytest.raises(InputError, match="Without --strict it would be skipped"):
        Audit(settings, tmp_path / "strict", device="cpu", strict=True).evaluate()


@pytest.mark.parametrize("native_size", [True, False])
def test_photos_of_many_sizes(photos: Path, tmp_path: Path, native_size: bool) -> None:
    settings = AuditSettings(
        "demo:digits", f"folder:{photos}", "image", eps=0.1, steps=2, max_queries=10, native_size=native_size
    )
    job = Audit(settings, tmp_path / "out", device="cpu")
    shapes = {job.subject.data.read(index).image.shape for index in range(12)}
    assert (3, 60, 90) in shapes if native_size else (3, 60, 90) not in shapes
    report = write_reports(job.evaluate())
    assert report["complete"] is True
    assert report["results"]["clean"]["n"] == 12


def test_all_photos_unreadable(photos: Path, tmp_path: Path) -> None:
    for path in photos.rglob("*.png"):
        path.write_bytes(b"")
    settings = AuditSettings("demo:digits", f"folder:{photos}", "pgd,decoupling")
    with pytest.raises(InputError, match="None of the 12 samples can be read.*: the file is empty"):
        Audit(settings, tmp_path / "out", device="cpu").evaluate()
    assert not (tmp_path / "out").exists()


def test_text_beyond_the_context_is_said(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, templates=("a very long " * 20 + "{}",))
    with pytest.raises(InputError, match="more than the 128 tokens"):
        Audit(settings, tmp_path / "out", device="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eps": 8.0}, "Did you mean 8/255"),
        ({"eps": 0.0}, "eps must be greater than 0"),
        ({"eps": float("nan")}, "eps must be greater than 0"),
        ({"eps_step": 0.0}, "step must be greater than 0"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"batch_size": 0}, "batch size must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"norm": "1"}, "norm must be 2 or inf"),
    ],
)
def test_bad_settings(change, message) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(SETTINGS, **change)


def test_device(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="device must be"):
        Audit(SETTINGS, tmp_path, device="tpu")
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no CUDA device"):
            Audit(SETTINGS, tmp_path, device="cuda")
