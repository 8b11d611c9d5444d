"""A leaderboard, and break-ins of others that lower its numbers: what counts, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from audits import one_thread
from evidence import edited, first, forged, kept
from safetensors.numpy import load_file, save_file

from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit import AuditSettings
from art_multimodal.evaluations.benchmark import Benchmark, parse_config
from art_multimodal.evaluations.benchmark.amending import amend
from art_multimodal.evaluations.benchmark.leaderboard import places, ranges, read_leaderboard
from art_multimodal.evaluations.evidence.bundle import Bundle
from art_multimodal.evaluations.evidence.keeping_within import TextRule, beyond, edit_distance
from art_multimodal.store import sealed_document

pytestmark = pytest.mark.usefixtures("little_effort")

#: Weak on purpose: one step within a small radius.
CONFIG = """
benchmark: 1
title: Digits
models: [demo:digits, {name: robust, model: demo:digits/robust}]
data: demo:digits
attacks: {image: [pgd], text: [bert_attack]}
samples: {limit: 12}
budgets: {eps: 6/255, eps_step: 0.5/255, steps: 1}
"""
#: Somebody else's: more samples, more steps, the same budget.
SETTINGS = AuditSettings("demo:digits", "demo:digits", "pgd", eps=6 / 255, steps=20, limit=20, seed=0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("benchmark") / "out"
    job = Benchmark(parse_config(CONFIG), out, "cpu")
    with one_thread():
        assert not job.run().failed
    job.write()
    return out


@pytest.fixture
def board(run: Path, tmp_path: Path) -> Path:
    path = tmp_path / "board" / "leaderboard.json"
    path.parent.mkdir()
    shutil.copy(run / "leaderboard.json", path)
    return path


@pytest.fixture(scope="module")
def break_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evidence") / "run"
    with one_thread():
        kept(SETTINGS, out)
    return out / "evidence"


@pytest.fixture
def own(break_in: Path, tmp_path: Path) -> Path:
    """A copy of the break-in that a test may spoil."""
    return Path(shutil.copytree(break_in, tmp_path / "own"))


def entered(board: Path, bundle: Path, **more: str) -> list:
    with one_thread():
        return amend(board, bundle, "Ann", "2026-01-31", device="cpu", **more)


def broken_in(bundle: Path) -> set[int]:
    """By its log, of the samples that were right."""
    lines = [json.loads(line) for line in (bundle / "log.jsonl").read_text().splitlines()]
    return {
        one["index"]
        for line in lines
        if line["attack"] == "pgd"
        for one in line["samples"]
        if one["label"] != one["predicted"]
    }


def test_a_break_in_lowers_what_it_breaks_and_keeps_what_was(board: Path, break_in: Path) -> None:
    before = read_leaderboard(board).entries[0]
    (lowered,) = entered(board, break_in, source="arXiv:0000.00000", digest=Bundle(break_in).digest)
    after, other = read_leaderboard(board).entries
    newly = before.right("worst") & broken_in(break_in)
    assert newly and after.right("worst") == before.right("worst") - newly
    assert after.right("image") == before.right("image") - broken_in(break_in)
    # Nothing was done to texts, nor to another model.
    assert after.right("text") == before.right("text") and after.right("clean") == before.right("clean")
    assert other.amendments == () and lowered.entry == after
    (one,) = after.amendments
    assert (one.by, one.date, one.source) == ("Ann", "2026-01-31", "arXiv:0000.00000")
    assert one.was["worst"] == before.accuracy("worst") > one.now["worst"] == after.accuracy("worst")
    assert lowered.samples["worst"] == len(newly)
    page = (board.parent / "leaderboard.md").read_text()
    assert "*was " in page and "Ann, 2026-01-31, arXiv:0000.00000" in page
    with pytest.raises(InputError, match="has been entered already"):
        entered(board, break_in)


def test_a_benchmark_that_runs_again_keeps_break_ins(run: Path, break_in: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(run, out)
    entered(out / "leaderboard.json", break_in)
    amended = read_leaderboard(out / "leaderboard.json")
    Benchmark(parse_config(CONFIG), out, "cpu").write()
    assert read_leaderboard(out / "leaderboard.json") == amended
    # Even where the configuration names the model no more.
    Benchmark(parse_config(CONFIG.replace("[demo:digits, ", "[")), out, "cpu").write()
    assert {one.key: one for one in read_leaderboard(out / "leaderboard.json").entries} == {
        one.key: one for one in amended.entries
    }


def test_no_number_falls_twice(board: Path, break_in: Path, tmp_path: Path) -> None:
    entered(board, break_in)
    with one_thread():
        kept(replace(SETTINGS, limit=4), tmp_path / "again")
    before = board.read_bytes()
    assert entered(board, tmp_path / "again") == []
    assert board.read_bytes() == before


def spoilt(board: Path, bundle: Path, match: str, **more: str) -> None:
    """It is refused, in one line, and nothing is written."""
    before = board.read_bytes()
    with pytest.raises(InputError, match=match) as error:
        entered(board, bundle, **more)
    assert "\n" not in str(error.value)
    assert board.read_bytes() == before


def test_what_was_changed_is_refused(board: Path, own: Path) -> None:
    path = first(own, "safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    spoilt(board, own, "is not as it was closed: .* was changed")
    spoilt(board, own.parent / "nothing", "is no folder")
    (own / "manifest.json").unlink()
    spoilt(board, own, "is no bundle of evidence")


def test_another_digest_is_refused(board: Path, break_in: Path) -> None:
    spoilt(board, break_in, "is another one than was noted down", digest="0" * 64)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"eps": 12 / 255},
            r"pgd changes sample \d+ by more than the leaderboard allows: image is moved by 0.04\d*, more",
        ),
        ({"defences": ("jpeg",)}, "no entry of the leaderboard has the same defences"),
        ({"templates": ("the {}",)}, "no entry of the leaderboard has the same templates"),
    ],
)
def test_another_budget_or_subject_is_refused(board: Path, tmp_path: Path, change: dict, match: str) -> None:
    with one_thread():
        kept(replace(SETTINGS, limit=6, **change), tmp_path / "other")
    spoilt(board, tmp_path / "other", match)


def test_another_model_is_refused(run: Path, board: Path, break_in: Path) -> None:
    spoilt(board, break_in, "has other weights here", model="demo:digits/robust")
    only = read_leaderboard(board)
    replace(only, entries=only.entries[1:]).write(board)
    spoilt(board, break_in, "is of demo:digits on demo:digits, and no entry .* has the same model")


def header_with(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        header = json.loads((folder / "run.json").read_text())
        del header["checksum"]
        change(header)
        (folder / "run.json").write_text(sealed_document(header))

    return changed


def test_other_data_are_refused(board: Path, own: Path) -> None:
    forged(own, header_with(lambda header: header["data"].update(fingerprint="0" * 64)))
    spoilt(board, own, "no entry of the leaderboard has the same data")


def test_labels_and_clean_samples_of_the_bundle_are_not_believed(board: Path, own: Path, break_in: Path) -> None:
    """Whoever says that nines are ones breaks every nine, with a fitting log; and who moves the clean image, too."""
    before = read_leaderboard(board).entries[0].right("worst")

    def moved(folder: Path) -> None:
        # The same shift on clean and attacked samples: between the two nothing is beyond the budget.
        for number in (0, 1):
            path = first(folder, "safetensors", number)
            arrays = {name: np.clip(values + 0.3, 0, 1) for name, values in load_file(path).items()}
            save_file(arrays, path)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            edited(first(folder, "jsonl", number), partial(dict.update, tensors=digest), 0)

    forged(own, moved)
    with pytest.raises(InputError, match="says something else than the bundle|more than the leaderboard allows"):
        entered(board, own)

    def relabelled(folder: Path) -> None:
        path = first(folder, "jsonl", 0)
        for line in range(1, len(path.read_text().splitlines())):
            edited(path, lambda sample: sample.update(label=(sample["label"] + 1) % 10), line)

    fresh = Path(shutil.copytree(break_in, own.parent / "fresh"))
    forged(fresh, relabelled)
    spoilt(board, fresh, "says something else than the bundle")
    assert read_leaderboard(board).entries[0].right("worst") == before


def test_removals_are_beyond_any_radius(board: Path, tmp_path: Path) -> None:
    with one_thread():
        kept(replace(SETTINGS, attacks="decoupling_image", limit=4), tmp_path / "removed")
    spoilt(board, tmp_path / "removed", "decoupling_image changes sample .* by more than the leaderboard allows")


def test_text_break_ins_lower_the_column_of_texts(board: Path, tmp_path: Path) -> None:
    before = read_leaderboard(board).entries[0]
    with one_thread():
        kept(replace(SETTINGS, attacks="text_exhaustive", limit=12), tmp_path / "texts")
    found = entered(board, tmp_path / "texts")
    after = read_leaderboard(board).entries[0]
    assert after.right("image") == before.right("image")
    assert found and found[0].samples.keys() <= {"text", "worst"}
    assert after.right("text") < before.right("text")


def test_a_leaderboard_that_was_edited_is_refused(board: Path, break_in: Path) -> None:
    text = board.read_text()
    board.write_text(text.replace('"title": "Digits"', '"title": "Mine"'))
    spoilt(board, break_in, "it was changed: its checksum does not fit")
    board.write_text("{}")
    spoilt(board, break_in, "it has no checksum")
    board.unlink()
    with pytest.raises(InputError, match=r"There is no .*leaderboard.json. Give the leaderboard.json that"):
        entered(board, break_in)


@pytest.mark.parametrize("change", [{"schema_version": 2}, {"kind": "x"}, {"entries": [{}]}, {"entries": [1]}])
def test_a_leaderboard_of_another_form_is_refused(board: Path, change: dict) -> None:
    value = json.loads(board.read_text())
    del value["checksum"]
    board.write_text(sealed_document({**value, **change}))
    with pytest.raises(InputError, match="cannot be used"):
        read_leaderboard(board)


# --- How far, and which words.


def test_places_are_written_in_little_effort() -> None:
    for indices in ([], [0], [0, 1, 2, 7], [3, 5, 6]):
        assert places(ranges(indices)) == indices
    assert ranges([7, 0, 2, 1]) == "0-2,7"
    for wrong in ("3,2", "5-2", "0-4,3", "0-99999999999"):
        with pytest.raises(ValueError, match="order|invalid|not"):
            places(wrong)


def test_distances_are_measured_in_the_norm_of_the_budget() -> None:
    x = np.full((1, 3, 4, 4), 0.5, dtype=np.float32)
    near, far = {"image": x + np.float32(8 / 255)}, {"image": x + np.float32(8.1 / 255)}
    linf = {"norm": "inf", "eps": 8 / 255}
    assert beyond({"image": x}, near, linf) == "" and "image is moved by 0.03176, more" in beyond(
        {"image": x}, far, linf
    )
    length = float(np.sqrt(48) * 8 / 255)
    assert beyond({"image": x}, near, {"norm": "2", "eps": length}) == ""
    assert "is moved by" in beyond({"image": x}, near, {"norm": "2", "eps": 0.99 * length})
    assert "is moved by nan" in beyond({"image": x}, {"image": x * np.nan}, linf)
    assert beyond({"image": x}, {"image": x[:, :, :2]}, linf) == "image has another shape"
    balls = {**linf, "modalities": {"depth": 0.1}}
    assert beyond({"depth": x}, {"depth": x + np.float32(0.1)}, balls) == ""
    assert beyond({"other": x}, {"other": x + 1}, balls) == "other may not be changed"
    longer = {"depth.length": np.array([4])}
    assert beyond({"depth.length": np.array([3])}, longer, balls) == "depth may not be changed"


@pytest.mark.parametrize(
    ("after", "fault"),
    [
        ("a photo of a cat", ""),
        ("a drawing of a cat", ""),  # a word
        ("a phto of a cat", ""),  # a letter left out
        ("a pohto of a cat", ""),  # two swapped
        ("the drawing of a cat", "more than 1 words or 1 letters"),
        ("a photo of a dog", "a word of a class name"),
        ("a photo of a cta", "a word of a class name"),
        ("a dog of a cat", "a word of a class name comes in"),
        ("a photo of a small cat", "more than 1 words or 1 letters"),
        ("", "more than 1 words or 1 letters"),
    ],
)
def test_a_text_may_change_as_the_budget_says(after: str, fault: str) -> None:
    rule = TextRule({"max_words": 1, "max_edits": 1, "protect_class_names": True}, ["cat", "dog"])
    said = rule.beyond(["a photo of a cat"], [after])
    assert fault in said and bool(said) == bool(fault)
    assert rule.beyond(["a"], ["a", "b"]) == "there are more or fewer texts"


def test_edits_are_those_of_a_plain_recursion() -> None:
    """Optimal string alignment, by its definition."""

    def slow(a: str, b: str) -> int:
        if not a or not b:
            return len(a) + len(b)
        found = [slow(a[1:], b) + 1, slow(a, b[1:]) + 1, slow(a[1:], b[1:]) + (a[0] != b[0])]
        if len(a) > 1 and len(b) > 1 and a[0] == b[1] and a[1] == b[0]:
            found.append(slow(a[2:], b[2:]) + 1)
        return min(found)

    rng = np.random.default_rng(0)
    for _ in range(60):
        a, b = ("".join(rng.choice(list("ab"), rng.integers(0, 5))) for _ in range(2))
        assert edit_distance(a, b, 9) == slow(a, b)


#: Weak benchmarks, and what others break of them, of further kinds of models.
OTHERS = {
    "pairs": (
        "demo:shapes",
        "classification",
        "image: [art_pgd], text: [bert_attack]",
        "apgd,text_exhaustive",
        "12/255",
    ),
    "captions": ("demo:scenes", "retrieval", "image: [similarity_pgd], text: [bert_attack]", "pgd_targeted", "24/255"),
    "samples": ("demo:views", "classification", "pix: [apgd]", "pgd_multimodal,modality_swap", "0.2"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_kinds_of_models_are_broken_likewise(kind: str, tmp_path: Path) -> None:
    spec, task, attacks, theirs, eps = OTHERS[kind]
    by_name = ", ".join(f"{name}: {eps}" for name in ("pix", "fou", "kar"))
    given = f"{{{by_name}}}" if kind == "samples" else eps
    config = (
        f"benchmark: 1\nmodels: ['{spec}']\ndata: '{spec}'\ntask: {task}\nattacks: {{{attacks}}}\n"
        f"samples: {{limit: 10}}\nbudgets: {{eps: {given}, eps_step: 0.0001, steps: 1}}"
    )
    job = Benchmark(parse_config(config), tmp_path / "out", "cpu")
    with one_thread():
        assert not job.run().failed
    job.write()
    board = tmp_path / "out" / "leaderboard.json"
    (before,) = read_leaderboard(board).entries
    cell = job.cells[0].settings
    stronger = replace(cell, attacks=theirs.partition(",")[0], attacks_on_samples=None, steps=40, eps_step=None)
    with one_thread():
        kept(stronger, tmp_path / "stronger")
    entered(board, tmp_path / "stronger")
    (after,) = read_leaderboard(board).entries
    assert after.right("worst") < before.right("worst")
    if kind == "samples":
        # All modalities at once: not the row of one of them. One of another sample is no change within a radius.
        assert after.right("pix") == before.right("pix")
        with one_thread():
            kept(replace(stronger, attacks=theirs), tmp_path / "beyond")
        spoilt(board, tmp_path / "beyond", "modality_swap@.* changes sample .* by more than the leaderboard allows")
    if kind == "captions":
        with one_thread():
            kept(replace(stronger, limit=6), tmp_path / "smaller")
        spoilt(board, tmp_path / "smaller", "all ranks depend on the gallery")
