"""Audits of fusion models on image-text pairs."""

from __future__ import annotations

import csv
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from audits import PAIRS, check_resumes_after, ends_of_lines, logged, read_report
from photos import save_photo
from PIL import Image

from art_multimodal import FusionClassifier, InputError, image_text_pairs, load_model
from art_multimodal.attacks.evasion import DecouplingAttack
from art_multimodal.demo.shapes_data import ShapesData
from art_multimodal.evaluations.audit import Audit, AuditSettings, RunLog, write_reports

DECOUPLING = {
    "decoupling_guided": {"search": "guided"},
    "decoupling_image": {"search": "guided", "modalities": ("image",)},
    "decoupling_exhaustive": {"search": "exhaustive"},
}


@pytest.fixture(scope="module")
def classifier() -> FusionClassifier:
    return FusionClassifier(load_model("demo:shapes"), device_type="cpu")


@pytest.fixture(scope="module")
def chosen() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the small audit is asked about: indices, pairs and labels, without the audit's own code."""
    data = ShapesData()
    order = np.random.default_rng(PAIRS.seed).permutation(len(data))[: PAIRS.limit]
    return order, image_text_pairs(data.images[order], [data.texts[i] for i in order]), data.labels[order]


def records(log: RunLog, attack: str) -> dict[int, dict]:
    return {s["index"]: s for line in logged(log) if line["attack"] == attack for s in line["samples"]}


def test_clean_numbers_and_modality_importance(finished_pairs, classifier, chosen) -> None:
    report = read_report(finished_pairs.folder)
    _, pairs, labels = chosen
    right = classifier.predict(pairs).argmax(axis=1) == labels
    assert report["complete"] and report["results"]["clean"]["n"] == len(labels) == PAIRS.limit
    assert report["results"]["clean"]["accuracy"] == right.mean()
    grey = pairs.copy()
    grey["image"] = classifier.model.preprocess.mean.numpy()
    mute = pairs.copy()
    mute["text"] = ""
    for modality, x in (("image", grey), ("text", mute)):
        accuracy = (classifier.predict(x).argmax(axis=1) == labels).mean()
        assert report["without_modality"][modality]["accuracy"] == accuracy < 0.9
        assert report["without_modality"][modality]["n"] == PAIRS.limit


@pytest.mark.parametrize("name", DECOUPLING)
def test_removals_are_those_of_the_attack_run_by_hand(finished_pairs, classifier, chosen, name) -> None:
    order, pairs, labels = chosen
    right = classifier.predict(pairs).argmax(axis=1) == labels
    attack = DecouplingAttack(
        classifier,
        max_queries=PAIRS.max_queries,
        batch_size=PAIRS.batch_size,
        verbose=False,
        **DECOUPLING[name],
    )
    removals, texts = [], []
    for start in range(0, len(pairs), PAIRS.batch_size):
        rows = slice(start, start + PAIRS.batch_size)
        texts += attack.generate(pairs[rows][right[rows]])["text"].tolist()
        removals += attack.records
    row = read_report(finished_pairs.folder)["results"][name]
    fooled = [record for record in removals if record.success]
    assert row["attacked"] == right.sum() and len(fooled) > 3
    assert row["attack_success_rate"] == pytest.approx(len(fooled) / right.sum())
    assert row["accuracy"] == pytest.approx((right.sum() - len(fooled)) / len(labels))
    for statistic in (np.mean, np.median, np.min):
        value = row[f"share_removed_{'min' if statistic is np.min else statistic.__name__}"]
        assert value == pytest.approx(statistic([record.share_removed for record in fooled]))
    assert row["queries"] == pytest.approx(np.mean([record.queries for record in removals]))
    logged = records(finished_pairs, name)
    for index, record, text in zip(order[right], removals, texts, strict=True):
        kept = logged[int(index)]
        assert kept["removed_words"] == [[0, word] for word in record.words]
        assert (kept["words"], kept["pixels"]) == (len(record.words), record.pixels)
        assert kept["predicted"] == record.label_after
        if kept.get("picture"):
            words = [w for i, w in enumerate(kept["text"].split()) if [0, i] not in kept["removed_words"]]
            assert " ".join(words) == text
            assert kept["text"] == pairs["text"][order == index][0]


def test_the_worst_case_of_decoupling(finished_pairs) -> None:
    results = read_report(finished_pairs.folder)["results"]
    logged = [records(finished_pairs, name) for name in DECOUPLING]
    shares = [
        min(one[index]["share_removed"] for one in logged if one[index]["predicted"] != one[index]["label"])
        for index in logged[0]
        if any(one[index]["predicted"] != one[index]["label"] for one in logged)
    ]
    row = results["decoupling"]
    assert row["share_removed_mean"] == pytest.approx(np.mean(shares))
    assert row["attack_success_rate"] == pytest.approx(len(shares) / row["attacked"])
    assert row["accuracy"] <= min(results[name]["accuracy"] for name in DECOUPLING)
    assert row["queries"] == pytest.approx(sum(results[name]["queries"] for name in DECOUPLING))


def test_image_attacks_stay_inside_the_budget_and_leave_texts_alone(finished_pairs, classifier, chosen) -> None:
    order, pairs, _ = chosen
    row = read_report(finished_pairs.folder)["results"]["art_pgd"]
    # A step each, ART's own look at both ends, and one to score the result; and it looks whether gradients are hidden.
    looked = row["flags"]["checked"] / row["attacked"]
    assert PAIRS.steps + 3 < row["queries"] <= PAIRS.steps + 3 + 22 * looked
    assert row["gradients"] == pytest.approx(PAIRS.steps + 2 * looked)
    assert row["attack_success_rate"] > 0.2
    shown = 0
    for index, record in records(finished_pairs, "art_pgd").items():
        if record.get("picture"):
            place = int(np.flatnonzero(order == index)[0])
            path = finished_pairs.pictures / f"art_pgd-{index}-attacked.png"
            attacked = np.asarray(Image.open(path), dtype=np.float64).transpose(2, 0, 1) / 255
            assert np.abs(attacked - pairs["image"][place]).max() <= PAIRS.eps + 0.51 / 255
            assert record["text"] == pairs["text"][place] and "removed_words" not in record
            shown += 1
    assert shown >= 2


def test_pictures_of_removals_show_them_in_red(finished_pairs) -> None:
    shown = 0
    for index, record in records(finished_pairs, "decoupling_image").items():
        if not record.get("picture"):
            continue
        clean, attacked, difference = (
            np.asarray(Image.open(finished_pairs.pictures / f"decoupling_image-{index}-{what}.png"), dtype=int)
            for what in ("clean", "attacked", "difference")
        )
        red = (difference == np.round(np.array([0.91, 0.13, 0.31]) * 255)).all(axis=2)
        assert red.sum() == record["pixels"] > 0
        assert (attacked[red] == round(0.6 * 255)).all()
        np.testing.assert_array_equal(attacked[~red], clean[~red])
        assert (difference[~red] == difference[~red][:, :1]).all() and difference[~red].min() >= 0.6 * 255 - 1
        shown += 1
    assert shown >= 3


def test_reports_say_what_was_asked(finished_pairs) -> None:
    report = read_report(finished_pairs.folder)
    assert report["schema_version"] == 5
    assert report["model"]["kind"] == "fusion model" and report["data"]["templates"] == []
    assert report["data"]["class_names"] == ["no", "yes"]
    page = (finished_pairs.folder / "report.html").read_text()
    markdown = (finished_pairs.folder / "report.md").read_text()
    for text in (page, markdown):
        assert f"of {PAIRS.limit} questions about images correctly" in text
        assert "Removing pixels or words of the text" in text
        assert "With all of the image removed" in text
    struck = [r for r in records(finished_pairs, "decoupling_guided").values() if r.get("picture") and r["words"]]
    assert struck
    for record in struck:
        assert f"<del>{record['text'].split()[record['removed_words'][0][1]]}</del>" in page


def test_resume_after_a_cut_at_any_byte(finished_pairs, tmp_path: Path) -> None:
    ends = ends_of_lines(finished_pairs)
    check_resumes_after(finished_pairs, PAIRS, (ends[0] - 1, ends[-3] + 40, ends[-1]), tmp_path)


def test_a_question_that_changed_is_noticed(finished_pairs, tmp_path: Path) -> None:
    shutil.copytree(finished_pairs.folder, tmp_path / "out")
    log = tmp_path / "out" / "log.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:2]))
    job = Audit(PAIRS, tmp_path / "out", device="cpu")
    first = int(job.order[0])
    texts = job.subject.data.texts  # type: ignore[attr-defined]
    job.subject.data.texts = (*texts[:first], "is there a red circle", *texts[first + 1 :])  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="fingerprint"):
        job.evaluate(resume=True)


def test_another_fusion_is_another_run(finished_pairs, tmp_path: Path) -> None:
    shutil.copytree(finished_pairs.folder, tmp_path / "out")
    settings = dataclasses.replace(PAIRS, model="demo:shapes/gated")
    with pytest.raises(InputError, match="demo:shapes then, demo:shapes/gated now"):
        Audit(settings, tmp_path / "out", device="cpu").evaluate(resume=True)


def test_a_limited_audit_is_the_beginning_of_the_whole_one(finished_pairs, tmp_path: Path) -> None:
    settings = dataclasses.replace(PAIRS, limit=5, attacks="decoupling_exhaustive")
    log = Audit(settings, tmp_path / "out", device="cpu").evaluate()
    few = records(log, "clean")
    assert len(few) == 5
    assert few.items() <= records(finished_pairs, "clean").items()
    assert records(log, "decoupling_exhaustive").keys() <= few.keys()


@pytest.mark.parametrize("fusion", ["gated", "cross_attention"])
def test_other_fusions(tmp_path: Path, fusion: str) -> None:
    settings = dataclasses.replace(
        PAIRS, model=f"demo:shapes/{fusion}", attacks="art_pgd", limit=200, batch_size=50, group_size=50, steps=1
    )
    report = write_reports(Audit(settings, tmp_path / "out", device="cpu").evaluate())
    assert report["results"]["clean"]["accuracy"] >= 0.9
    assert report["results"]["image"]["attack_success_rate"] > 0
    assert report["without_modality"] == {}


def test_modalities_select_what_works_on_pairs(tmp_path: Path) -> None:
    audit = Audit(dataclasses.replace(PAIRS, attacks="image,decoupling"), tmp_path / "out", device="cpu")
    assert audit.attacks == ("art_pgd", "apgd", "pgd_targeted", "square", *DECOUPLING)
    with pytest.raises(InputError, match="Use art_pgd, apgd, pgd_targeted, square"):
        Audit(dataclasses.replace(PAIRS, attacks="pgd"), tmp_path / "out", device="cpu")


@pytest.mark.parametrize("native_size", [False, True])
def test_photos_of_many_sizes_and_unreadable_ones(tmp_path: Path, native_size: bool) -> None:
    sizes = ((40, 30), (20, 50), (90, 60), (32, 32), (40, 30))
    rows = [["image", "text", "label"]]
    for index, size in enumerate(sizes):
        save_photo(tmp_path / f"{index}.png", size, index)
        rows += [[f"{index}.png", "is there a red circle", label] for label in ("yes", "no")]
    (tmp_path / "broken.png").write_bytes(b"")
    rows += [["broken.png", "is there a blue square", "no"], ["nowhere.png", "is there a blue square", "yes"]]
    with (tmp_path / "pairs.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    settings = AuditSettings(
        "demo:shapes",
        f"csv:{tmp_path / 'pairs.csv'}",
        "image,decoupling",
        steps=2,
        max_queries=12,
        native_size=native_size,
        batch_size=7,
        group_size=7,
    )
    log = Audit(settings, tmp_path / "out", device="cpu").evaluate()
    report = write_reports(log)
    assert report["complete"] and report["results"]["clean"]["n"] == 10
    # Each photo stands beside both answers, so exactly half of them are right.
    assert report["results"]["clean"]["accuracy"] == 0.5
    assert report["results"]["decoupling_exhaustive"]["attacked"] == 5
    assert {sample["name"] for sample in report["skipped"]} == {"broken.png", "nowhere.png"}
    assert "the file is empty" in (tmp_path / "out" / "report.html").read_text()
    with pytest.raises(InputError, match=r"(broken|nowhere)\.png: .* Without --strict"):
        Audit(settings, tmp_path / "strict", device="cpu", strict=True).evaluate()


def test_no_readable_photo(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("image,text,label\nnowhere.png,is there a red circle,yes\n")
    settings = AuditSettings("demo:shapes", f"csv:{tmp_path / 'pairs.csv'}")
    with pytest.raises(InputError, match="None of the 1 samples can be read.*nowhere.png: there is no such file"):
        Audit(settings, tmp_path / "out", device="cpu").evaluate()


def test_questions_beyond_the_context_are_unreadable_samples(tmp_path: Path) -> None:
    save_photo(tmp_path / "a.png", (32, 32))
    long = "is there a red circle " * 40
    rows = [("a.png", "is there a red circle", "yes"), ("a.png", long, "no"), ("a.png", "is there a blue square", "no")]
    with (tmp_path / "pairs.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("image", "text", "label"), *rows])
    settings = AuditSettings("demo:shapes", f"csv:{tmp_path / 'pairs.csv'}", "art_pgd", steps=1)
    report = write_reports(Audit(settings, tmp_path / "out", device="cpu").evaluate())
    assert report["complete"] and report["results"]["clean"]["n"] == 2
    assert len(report["skipped"]) == 1 and "more than the" in report["skipped"][0]["reason"]
