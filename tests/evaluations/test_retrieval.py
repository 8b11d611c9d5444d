"""Retrieval audits: ranks against a plain recount, what counts as relevant, the report, resuming."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from audits import RETRIEVAL as SETTINGS
from audits import logged, read_report, timeless
from photos import save_photo
from torch.nn import functional as F

from art_multimodal import InputError
from art_multimodal.cli import main
from art_multimodal.evaluations.audit import Audit, RunLog, write_reports
from art_multimodal.evaluations.audit.opening import open_subject
from art_multimodal.evaluations.suite import ATTACKS, Attacked, Budget, Detail
from art_multimodal.models.loading import load_model

pytestmark = pytest.mark.usefixtures("little_effort")


def slow_ranks(images, texts, owners, captions, own_images=None, own_texts=None) -> list[tuple[int, ...]]:
    """Ranks one score at a time; own_images and own_texts are what attacked samples have instead."""
    own_images = images if own_images is None else own_images
    own_texts = texts if own_texts is None else own_texts
    found = []
    for sample in range(len(images)):
        mine = [t for t, owner in enumerate(owners) if owner == sample]
        best = max(float(own_texts[t] @ own_images[sample]) for t in mine)
        named = {captions[t] for t in mine}
        foreign = [captions.index(text) for text in set(captions) - named]
        ranks = [1 + sum(float(texts[t] @ own_images[sample]) >= best for t in foreign)]
        for t in mine:
            same = {owners[u] for u in range(len(captions)) if captions[u] == captions[t]}
            score = float(own_images[sample] @ own_texts[t])
            others = [i for i in range(len(images)) if i not in same]
            ranks.append(1 + sum(float(images[i] @ own_texts[t]) >= score for i in others))
        found.append(tuple(ranks))
    return found


@pytest.fixture
def captions_file(tmp_path: Path) -> str:
    """Seven photos; the first has three captions, the last three share one."""
    rows = [
        ("0.png", "a red circle"),
        ("0.png", "a circle, red"),
        ("1.png", "a blue square"),
        ("2.png", "a green triangle"),
        ("0.png", "something round"),
        ("3.png", "a yellow square and a red circle"),
        ("4.png", "the same words"),
        ("5.png", "the same words"),
        ("6.png", "the same words"),
    ]
    for name in {name for name, _ in rows}:
        save_photo(tmp_path / name, (32, 32), int(name[0]))
    with (tmp_path / "captions.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("image", "text"), *rows])
    return f"csv:{tmp_path / 'captions.csv'}"


def test_ranks_are_those_of_a_plain_recount(captions_file: str) -> None:
    settings = dataclasses.replace(SETTINGS, data=captions_file)
    subject = open_subject(settings, "cpu")
    order = np.array([3, 0, 5, 1, 6, 2, 4])
    subject.select(order)
    subject.prepare(order, 4)
    samples = [subject.read(index) for index in order]
    captions = [caption for sample in samples for caption in sample.captions]
    owners = [number for number, sample in enumerate(samples) for _ in sample.captions]
    model = load_model(SETTINGS.model)
    with torch.no_grad():
        images = F.normalize(model.encode_image(torch.from_numpy(np.stack([s.image for s in samples]))), dim=1)
        texts = F.normalize(model.encode_text(model.tokenize(captions)), dim=1)
    said = subject.answers(order.tolist(), samples, 4)
    assert [s.verdict.ranks for s in said] == slow_ranks(images, texts, owners, captions)
    # An attacked sample stands among clean others.
    x = subject.stack(samples)
    assert x["text"].tolist() == captions
    attacked = x.copy()
    rng = np.random.default_rng(0)
    changed = rng.random((len(samples), 3, 32, 32), dtype=np.float32)
    attacked["image"] = np.repeat(changed, [len(s.captions) for s in samples], axis=0)
    attacked["text"] = [text.replace("a ", "one ") for text in captions]
    with torch.no_grad():
        own_images = F.normalize(model.encode_image(torch.from_numpy(changed)), dim=1)
        own_texts = F.normalize(model.encode_text(model.tokenize(attacked["text"].tolist())), dim=1)
    judged = subject.judged(order.tolist(), samples, Attacked(attacked, None), 4)
    expected = slow_ranks(images, texts, owners, captions, own_images, own_texts)
    assert [s.verdict.ranks for s in judged] == expected
    assert judged != said
    # One sample at a time is the same.
    starts = subject.image_rows(samples)
    for row, (index, sample) in enumerate(zip(order.tolist(), samples, strict=True)):
        part = attacked[starts[row] : starts[row] + len(sample.captions)]
        assert subject.judged([index], [sample], Attacked(part, None), 4) == [judged[row]]


@pytest.mark.parametrize("seed", range(8))
def test_a_model_that_embeds_everything_alike_finds_nothing_first(captions_file: str, seed: int, monkeypatch) -> None:
    # Equal scores count against the model, however the products that they come from are summed.
    subject = open_subject(dataclasses.replace(SETTINGS, data=captions_file), "cpu")
    image, text = torch.randn(2, 50, generator=torch.Generator().manual_seed(seed))
    monkeypatch.setattr(subject.estimator, "image_features", lambda images, size: image.repeat(len(images), 1))
    monkeypatch.setattr(subject.estimator, "text_features", lambda texts, size: text.repeat(len(texts), 1))
    order = np.arange(6)
    subject.select(order)
    subject.prepare(order, 4)
    samples = [subject.read(index) for index in order]
    expected = [(5, 6, 6, 6), (7, 6), (7, 6), (7, 6), (7, 5), (7, 5)]
    said = subject.answers(order.tolist(), samples, 4)
    assert [one.verdict.ranks for one in said] == expected
    judged = subject.judged(order.tolist(), samples, Attacked(subject.stack(samples), None), 4)
    assert judged == said


def test_embeddings_that_are_not_finite_are_refused(captions_file: str) -> None:
    subject = open_subject(dataclasses.replace(SETTINGS, data=captions_file), "cpu")
    with torch.no_grad():
        for parameter in subject.model.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(InputError, match="NaN or infinite"):
        subject.prepare(np.arange(6), 4)


def test_a_refused_gallery_leaves_no_trace(tmp_path: Path) -> None:
    audit = Audit(dataclasses.replace(SETTINGS, attacks="similarity_pgd"), tmp_path / "out", device="cpu")
    with torch.no_grad():
        for parameter in audit.subject.model.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(InputError, match="NaN or infinite"):
        audit.evaluate()
    assert not (tmp_path / "out").exists()


def test_the_report_counts_from_the_ranks_in_the_log(finished_retrieval: RunLog) -> None:
    report = read_report(finished_retrieval.folder)
    assert report["complete"] and report["task"] == "retrieval"
    lines = logged(finished_retrieval)
    clean = {s["index"]: s for line in lines if line["attack"] == "clean" for s in line["samples"]}
    assert len(clean) == SETTINGS.limit
    for name in report["attacks"]:
        after = {s["index"]: s for line in lines if line["attack"] == name for s in line["samples"]}
        assert set(after) == set(clean)
        worst = {i: max(after[i]["image_rank"], clean[i]["image_rank"]) for i in clean}
        texts = [max(pair) for i in clean for pair in zip(after[i]["text_ranks"], clean[i]["text_ranks"], strict=True)]
        row = report["results"][name]
        assert row["accuracy"] == pytest.approx(np.mean([rank == 1 for rank in worst.values()]))
        right = [i for i in clean if clean[i]["image_rank"] == 1]
        assert row["attacked"] == len(right)
        assert row["attack_success_rate"] == pytest.approx(np.mean([worst[i] > 1 for i in right]))
        for k in (1, 5, 10):
            assert row["recall"]["image_to_text"][str(k)]["accuracy"] == pytest.approx(
                np.mean([rank <= k for rank in worst.values()])
            )
            assert row["recall"]["text_to_image"][str(k)]["accuracy"] == pytest.approx(
                np.mean([rank <= k for rank in texts])
            )
        assert row["recall"]["text_to_image"]["1"]["n"] == len(texts) == 2 * SETTINGS.limit
    worst_of = report["results"]["multimodal"]["recall"]["image_to_text"]["1"]["accuracy"]
    members = [n for n in report["attacks"] if ATTACKS[n].modality in ("image", "text", "multimodal")]
    assert worst_of <= min(report["results"][n]["recall"]["image_to_text"]["1"]["accuracy"] for n in members)


def test_every_attack_on_retrieval_does_harm(finished_retrieval: RunLog) -> None:
    results = read_report(finished_retrieval.folder)["results"]
    clean = results["clean"]["recall"]
    assert clean["image_to_text"]["1"]["accuracy"] >= 0.9 and clean["text_to_image"]["1"]["accuracy"] >= 0.9
    for name in ("pgd", "similarity_pgd", "co_attack", "set_level_guidance", "worst_image"):
        for direction in clean:
            assert results[name]["recall"][direction]["1"]["accuracy"] < 0.8, name
    assert results["worst_image"]["accuracy"] <= min(results[name]["accuracy"] for name in ("pgd", "similarity_pgd"))
    assert 0 < results["decoupling_image"]["share_removed_mean"] < 0.1
    # One context word of a caption tells this model little, and so does one of two letters.
    for name in ("bert_attack", "character_attack"):
        assert results[name]["recall"]["text_to_image"]["1"]["accuracy"] <= clean["text_to_image"]["1"]["accuracy"]


def test_of_several_versions_the_worst_rank_counts(captions_file: str) -> None:
    subject = open_subject(dataclasses.replace(SETTINGS, data=captions_file), "cpu")
    order = np.arange(6)
    subject.select(order)
    subject.prepare(order, 4)
    samples = [subject.read(index) for index in order]
    assert [sample.label for sample in samples] == [0, 1, 2, 3, 4, 4]
    x = subject.stack(samples)
    rng = np.random.default_rng(1)
    versions = []
    for name in ("one", "two", "three"):
        attacked = x.copy()
        changed = rng.random((6, 3, 32, 32), dtype=np.float32)
        attacked["image"] = np.repeat(changed, [len(s.captions) for s in samples], axis=0)
        details = [Detail(broken_by=name, texts=((t, t),), text_queries=2) for t in x["text"]]
        versions.append(Attacked(attacked, None, details))
    alone = [subject.judged(order.tolist(), samples, version, 4) for version in versions]
    together = subject.judged(
        order.tolist(), samples, dataclasses.replace(versions[0], versions=tuple(versions[1:])), 4
    )
    for of_sample, said, sample in zip(zip(*alone, strict=True), together, samples, strict=True):
        rank = said.verdict.image_rank
        assert rank == max(one.verdict.image_rank for one in of_sample)
        assert said.verdict.text_ranks == tuple(
            max(ranks) for ranks in zip(*(one.verdict.text_ranks for one in of_sample), strict=True)
        )
        assert said.detail.text_queries == 3 * 2 * len(sample.captions)
        worst = next(one for one in of_sample if one.verdict.image_rank == rank)
        assert said.detail.broken_by == (worst.detail.broken_by if rank > 1 else None)


def test_a_resumed_run_ends_with_the_same_report(finished_retrieval: RunLog, tmp_path: Path) -> None:
    whole, folder = (finished_retrieval.folder / "log.jsonl").read_bytes(), tmp_path / "out"
    shutil.copytree(finished_retrieval.folder, folder)
    (folder / "log.jsonl").write_bytes(whole[: int(0.75 * len(whole))])
    log = Audit(SETTINGS, folder, device="cpu").evaluate(resume=True)
    assert timeless(write_reports(log)) == timeless(read_report(finished_retrieval.folder))


def test_pages_speak_of_recall_and_show_what_changed(finished_retrieval: RunLog) -> None:
    page = (finished_retrieval.folder / "report.html").read_text()
    assert "Recall in both directions" in page and "own caption at rank" in page
    assert "Removing pixels puts another caption first" in page and "Modality importance" not in page
    assert "<ins>" in page and "<del>" in page and "Predictions by class" not in page
    # An ensemble does not stop at what fell, unlike in classification.
    assert "of which the worst rank counts" in page and "all attacks on all samples" in page
    assert "goes on where" not in page and "what the ones before it left" not in page
    text = (finished_retrieval.folder / "report.md").read_text()
    assert "| image to text @1 |" in text and "finds a caption of the image first" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo:shapes", "--data", "demo:scenes"], "Retrieval needs a dual encoder"),
        (["demo:scenes", "--data", "demo:digits"], "no captions"),
        (
            ["demo:scenes", "--data", "demo:scenes", "--attacks", "typographic"],
            "typographic does not work on retrieval",
        ),
        (["demo:scenes", "--data", "demo:scenes", "--attacks", "joint"], "joint does not work on retrieval"),
        (["demo:scenes", "--data", "demo:scenes", "--templates", "a {}"], "leave out --templates"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message, tmp_path: Path, capsys) -> None:
    assert main(["audit", *arguments, "--task", "retrieval", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_unreadable_image_is_no_part_of_the_gallery(captions_file: str, tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"no picture")
    settings = dataclasses.replace(
        SETTINGS, data=captions_file, attacks="bert_attack", limit=None, batch_size=4, group_size=4
    )
    report = write_reports(Audit(settings, tmp_path / "out", device="cpu").evaluate())
    assert report["complete"] and [one["name"] for one in report["skipped"]] == ["1.png"]
    assert report["results"]["clean"]["n"] == 6
    assert report["results"]["clean"]["recall"]["text_to_image"]["1"]["n"] == 8


def test_the_terminal_shows_both_directions(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    command = ["audit", "demo:scenes", "--data", "demo:scenes", "--task", "retrieval", "--limit", "12"]
    command += ["--attacks", "similarity_pgd", "--out", str(tmp_path / "out"), "--device", "cpu", "--steps", "2"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "text@10" in shown and "image@1 " in shown and "similarity_pgd" in shown
    assert "recall in %: text@k of 12 images, image@k of 24 captions" in shown
    assert max(map(len, shown.split(str(tmp_path))[0].splitlines())) <= 80


def test_without_a_readable_image_there_is_no_report(tmp_path: Path, capsys) -> None:
    (tmp_path / "captions.csv").write_text("image,text\nnone.png,a cat\ntoo.png,a dog\n")
    command = ["audit", "demo:scenes", "--data", f"csv:{tmp_path / 'captions.csv'}", "--task", "retrieval"]
    command += ["--attacks", "bert_attack", "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main([*command, "--fail-under", "text.accuracy=0.1"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "None of the 2 samples can be read" in error and "none.png: there is no such file" in error.replace(
        "too", "none"
    )
    assert not (tmp_path / "out").exists()


def test_samples_that_share_their_captions_are_one_class_to_attacks(captions_file: str) -> None:
    # ART's attacks leave alone what is misclassified, as the second of two equal classes would always be.
    subject = open_subject(dataclasses.replace(SETTINGS, data=captions_file), "cpu")
    order = np.array([5, 3, 4, 0])
    subject.select(order)
    assert [subject.read(index).label for index in order] == [0, 1, 0, 2]
    assert [list(captions) for captions in subject.estimator.gallery] == [
        ["the same words"],
        ["a yellow square and a red circle"],
        ["a red circle", "a circle, red", "something round"],
    ]
    subject.prepare(order, 4)
    samples = [subject.read(index) for index in order]
    x, labels = subject.stack(samples), subject.labels(samples)
    assert labels.tolist() == [0, 1, 0, 2, 2, 2]
    # Their images may even be the same, and still one of them is attacked in the direction of the other.
    x["image"][1] = x["image"][0]
    attacked = ATTACKS["pgd"].run(subject.estimator, x, labels, Budget(eps=8 / 255), 0)
    assert (attacked.x["image"][3:] == attacked.x["image"][3]).all()
    assert (attacked.x["image"][0] != attacked.x["image"][1]).any()


def test_images_that_all_have_the_same_caption_cannot_be_told_apart(tmp_path: Path, capsys) -> None:
    (tmp_path / "captions.csv").write_text("image,text\na.png,a cat\nb.png,a cat\n")
    command = ["audit", "demo:scenes", "--data", f"csv:{tmp_path / 'captions.csv'}", "--task", "retrieval"]
    assert main([*command, "--attacks", "apgd", "--out", str(tmp_path / "out"), "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert "needs at least 2 images with different captions; there are 1" in error and error.count("\n") == 1


def test_resuming_with_another_image_in_a_finished_batch_is_refused(captions_file: str, tmp_path: Path) -> None:
    settings = dataclasses.replace(
        SETTINGS, data=captions_file, attacks="bert_attack", limit=None, batch_size=3, group_size=3
    )
    log = Audit(settings, tmp_path / "out", device="cpu").evaluate()
    whole = (log.folder / "log.jsonl").read_bytes()
    first = next(log.lines()).samples[0].name
    (log.folder / "log.jsonl").write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
    save_photo(tmp_path / first, (32, 32), 77)
    with pytest.raises(InputError, match="have changed since, and all ranks depend on them"):
        Audit(settings, tmp_path / "out", device="cpu").evaluate(resume=True)
    save_photo(tmp_path / first, (32, 32), int(first[0]))
    resumed = Audit(settings, tmp_path / "out", device="cpu").evaluate(resume=True)
    before, after = whole.splitlines(), (resumed.folder / "log.jsonl").read_bytes().splitlines()
    assert [timeless(json.loads(line)) for line in after] == [timeless(json.loads(line)) for line in before]
