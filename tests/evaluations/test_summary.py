"""The arithmetic of the report, on logs written by hand."""

from __future__ import annotations

from typing import Any

import pytest
from audits import typed_lines
from hypothesis import given
from hypothesis import strategies as st

from art_multimodal import InputError
from art_multimodal.evaluations.audit import Gate
from art_multimodal.evaluations.audit import summarise as summarise_lines
from art_multimodal.evaluations.audit.summary import summary_rows

ATTACKS = ["pgd", "square", "decoupling_exhaustive"]


def summarise(header: dict[str, Any], lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Of lines that were written by hand."""
    return summarise_lines(header, typed_lines(header, *lines))


def header(selected: int, attacks: list[str] = ATTACKS) -> dict[str, Any]:
    return {"task": "zero-shot", "attacks": attacks, "data": {"class_names": ["a", "b"], "selected": selected}}


def line(attack: str, samples: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"batch": 0, "attack": attack, "seconds": 1.5, "queries": 10, "gradients": 0, "samples": samples, **more}


def sample(index: int, label: int, predicted: int, **more: Any) -> dict[str, Any]:
    return {"index": index, "name": str(index), "label": label, "predicted": predicted, **more}


def removal(index: int, predicted: int, share: float, pixels: int, words: int) -> dict[str, Any]:
    return sample(index, 0, predicted, share_removed=share, pixels=pixels, words=words)


def test_every_number() -> None:
    # Samples 0-3 are right, 4 is wrong; pgd fools 0 and 1, square 1 and 2, decoupling 0 (pixels) and 3 (a word).
    lines = [
        line("clean", [sample(0, 0, 0), sample(1, 1, 1)], queries=0),
        line("clean", [sample(2, 0, 0), sample(3, 0, 0), sample(4, 1, 0)], skipped=[{"name": "x", "reason": "y"}]),
        line("pgd", [sample(0, 0, 1), sample(1, 1, 0), sample(2, 0, 0), sample(3, 0, 0)]),
        line("square", [sample(0, 0, 0), sample(1, 1, 0), sample(2, 0, 1), sample(3, 0, 0)]),
        line(
            "decoupling_exhaustive",
            [removal(0, 1, 0.5, 50, 0), sample(1, 1, 1, share_removed=0.0, pixels=0, words=0)]
            + [removal(2, 0, 0.0, 0, 0), removal(3, 1, 0.1, 0, 1)],
        ),
    ]
    summary = summarise(header(6), lines)
    assert summary["complete"] is True
    assert summary["skipped"] == [{"name": "x", "reason": "y"}]
    results = summary["results"]
    assert list(results) == ["clean", *ATTACKS, "image", "decoupling"] == summary_rows(ATTACKS)
    clean = results["clean"]
    assert (clean["n"], clean["accuracy"], clean["seconds"]) == (5, 0.8, 3.0)
    assert clean["balanced_accuracy"] == pytest.approx((3 / 3 + 1 / 2) / 2)
    assert clean["prediction_counts"] == [4, 1]
    assert clean["label_counts"] == [3, 2]
    for name, accuracy, success in (("pgd", 2 / 5, 2 / 4), ("square", 2 / 5, 2 / 4), ("image", 1 / 5, 3 / 4)):
        row = results[name]
        assert (row["n"], row["attacked"]) == (5, 4)
        assert row["accuracy"] == pytest.approx(accuracy)
        assert row["attack_success_rate"] == pytest.approx(success)
    assert results["pgd"]["queries"] == 10 / 4
    assert results["image"]["queries"] == 20 / 4
    removals = results["decoupling_exhaustive"]
    assert removals["share_removed_mean"] == pytest.approx(0.3)
    assert removals["share_removed_median"] == pytest.approx(0.3)
    assert removals["share_removed_min"] == 0.1
    assert (removals["image_only"], removals["text_only"], removals["both"]) == (1, 1, 0)
    assert removals["pixels_mean"] == 25 and removals["words_mean"] == 0.5
    # The worst case of a single attack is that attack.
    worst = results["decoupling"]
    assert worst | {"knowledge": "", "not_applicable": 0} == removals | {"knowledge": ""}


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_worst_case_and_denominators(outcomes: list[tuple[bool, bool, bool]]) -> None:
    lines = [line("clean", [sample(i, 0, int(not right)) for i, (right, _, _) in enumerate(outcomes)])]
    for position, name in ((1, "pgd"), (2, "square")):
        lines.append(line(name, [sample(i, 0, int(not o[position])) for i, o in enumerate(outcomes) if o[0]]))
    results = summarise(header(len(outcomes), ["pgd", "square"]), lines)["results"]
    n = len(outcomes)
    assert results["clean"]["accuracy"] == pytest.approx(sum(o[0] for o in outcomes) / n)
    assert results["pgd"]["accuracy"] == pytest.approx(sum(o[0] and o[1] for o in outcomes) / n)
    assert results["image"]["accuracy"] == pytest.approx(sum(all(o) for o in outcomes) / n)
    right = sum(o[0] for o in outcomes)
    if right:
        fooled = sum(o[0] and not (o[1] and o[2]) for o in outcomes)
        assert results["image"]["attack_success_rate"] == pytest.approx(fooled / right)
    else:
        assert results["image"]["attack_success_rate"] is None


def test_an_unfinished_run_says_so() -> None:
    lines = [line("clean", [sample(0, 0, 0), sample(1, 0, 0)])]
    summary = summarise(header(2), lines)
    assert summary["complete"] is False
    assert summary["results"]["pgd"]["accuracy"] is None
    assert summarise(header(3, []), lines)["complete"] is False
    assert summarise(header(2, []), lines)["complete"] is True


DECOUPLING = ["decoupling_guided", "decoupling_image", "decoupling_exhaustive"]


def test_the_worst_case_of_decoupling_takes_the_smaller_removal_of_each_sample() -> None:
    # Sample 0: both find something; 1: only the image attack; 2: only the exhaustive one; 3: none; 4: wrong before.
    lines = [
        line("clean", [sample(i, 0, int(i == 4)) for i in range(5)], queries=0),
        line(DECOUPLING[0], [removal(0, 1, 0.1, 0, 1), removal(1, 0, 0.0, 0, 0)], queries=30),
        line(DECOUPLING[0], [removal(2, 0, 0.0, 0, 0), removal(3, 0, 0.0, 0, 0)], queries=30),
        line(DECOUPLING[1], [removal(0, 1, 0.3, 30, 0), removal(1, 1, 0.2, 20, 0)], queries=20, gradients=8),
        line(DECOUPLING[1], [removal(2, 0, 0.0, 0, 0), removal(3, 0, 0.0, 0, 0)], queries=20),
        line(DECOUPLING[2], [removal(0, 1, 0.6, 50, 1), removal(1, 1, 0.2, 0, 2)], queries=10),
        line(DECOUPLING[2], [removal(2, 1, 0.9, 80, 1), removal(3, 0, 0.0, 0, 0)], queries=10),
    ]
    summary = summarise(header(5, DECOUPLING), lines)
    row = summary["results"]["decoupling"]
    assert summary["complete"] and list(summary["results"]) == ["clean", *DECOUPLING, "decoupling"]
    assert (row["n"], row["attacked"], row["accuracy"]) == (5, 4, 1 / 5)
    assert row["attack_success_rate"] == 3 / 4
    assert row["share_removed_mean"] == pytest.approx((0.1 + 0.2 + 0.9) / 3)
    assert (row["share_removed_median"], row["share_removed_min"]) == (0.2, 0.1)
    # Of two equal removals the earlier attack's counts.
    assert (row["image_only"], row["text_only"], row["both"]) == (1, 1, 1)
    assert (row["pixels_mean"], row["words_mean"]) == (pytest.approx(100 / 3), pytest.approx(2 / 3))
    assert (row["queries"], row["gradients"]) == (120 / 4, 8 / 4)
    assert row["knowledge"] == "worst case of decoupling_guided, decoupling_image, decoupling_exhaustive"
    assert summary["results"]["decoupling_image"]["share_removed_min"] == 0.2


def test_the_worst_case_of_an_unfinished_run_is_over_what_every_attack_is_done_with() -> None:
    lines = [
        line("clean", [sample(i, 0, 0) for i in range(3)]),
        line(DECOUPLING[0], [removal(0, 1, 0.4, 4, 0), removal(1, 1, 0.1, 1, 0)]),
        line(DECOUPLING[2], [removal(0, 1, 0.5, 0, 5)]),
    ]
    attacks = [DECOUPLING[0], DECOUPLING[2]]
    summary = summarise(header(3, attacks), lines)
    row = summary["results"]["decoupling"]
    assert summary["complete"] is False
    assert (row["n"], row["attacked"], row["share_removed_mean"], row["image_only"]) == (1, 1, 0.4, 1)
    nothing = summarise(header(3, DECOUPLING), lines)["results"]["decoupling"]
    assert (nothing["n"], nothing["accuracy"], nothing["share_removed_mean"]) == (0, None, None)


def test_a_removal_that_found_nothing_counts_as_survived() -> None:
    lines = [line("clean", [sample(0, 0, 0)]), *(line(name, [removal(0, 0, 0.0, 0, 0)]) for name in DECOUPLING)]
    row = summarise(header(1, DECOUPLING), lines)["results"]["decoupling"]
    assert (row["accuracy"], row["attack_success_rate"]) == (1.0, 0.0)
    assert row["share_removed_mean"] is row["share_removed_min"] is row["pixels_mean"] is None


def test_modality_importance() -> None:
    clean = [sample(i, 0, 0, without_image=int(i > 0), without_text=int(i > 1)) for i in range(4)]
    lines = [line("clean", clean[:3]), line("clean", clean[3:])]
    without = summarise(header(4, DECOUPLING), lines)["without_modality"]
    assert {name: (row["n"], row["accuracy"]) for name, row in without.items()} == {
        "image": (4, 0.25),
        "text": (4, 0.5),
    }
    assert without["image"]["accuracy_ci95"][0] < 0.25 < without["image"]["accuracy_ci95"][1]
    # Both rows are there before the first sample, and neither where nothing is removed at all.
    nothing = summarise(header(4, DECOUPLING), [])["without_modality"]
    assert {name: (row["n"], row["accuracy"]) for name, row in nothing.items()} == {
        "image": (0, None),
        "text": (0, None),
    }
    assert summarise(header(4, ["pgd"]), lines)["without_modality"] == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image=0.3", "not of the form"),
        ("image.accuracy", "not of the form"),
        ("image.acuracy=0.3", "Did you mean accuracy"),
        ("image.accuracy=much", "'much' is not a number"),
        ("image.accuracy=nan", "must be finite"),
    ],
)
def test_bad_gates(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Gate.parse(text)


def test_gates_name_rows_that_will_be_there() -> None:
    rows = summary_rows(ATTACKS)
    for text in (
        "image.accuracy=0.3",
        "clean.balanced_accuracy=1",
        "decoupling.share_removed_min=0.01",
        "decoupling_exhaustive.share_removed_mean=0.1",
    ):
        Gate.parse(text).check_row(rows)
    for text, message in (
        ("imgae.accuracy=1", "Did you mean image"),
        ("pgd.share_removed_mean=1", "a number of decoupling"),
        ("pgd.balanced_accuracy=1", "a number of clean"),
    ):
        with pytest.raises(InputError, match=message):
            Gate.parse(text).check_row(rows)


def test_gates_fail_below_and_only_below() -> None:
    results = {
        "pgd": {"accuracy": 0.3},
        "apgd": {"accuracy": None},
        "decoupling": {"share_removed_mean": None, "attacked": 4},
    }
    assert Gate.parse("pgd.accuracy=0.3").failure(results) is None
    assert "0.3000, under 0.31" in str(Gate.parse("pgd.accuracy=0.31").failure(results))
    assert "no sample" in str(Gate.parse("apgd.accuracy=0").failure(results))
    assert Gate.parse("decoupling.share_removed_mean=0.9").failure(results) is None
    results["decoupling"]["attacked"] = 0
    assert Gate.parse("decoupling.share_removed_mean=0.9").failure(results) is not None


def test_what_an_attack_costs_is_per_sample_that_it_was_run_on() -> None:
    # In retrieval samples that are wrong before are attacked, too: here two of three.
    ranks = [1, 2, 3]
    names = ["bert_attack", "character_attack"]
    found = {"text_ranks": [1]}
    lines = [line("clean", [{"index": i, "image_rank": rank, **found} for i, rank in enumerate(ranks)])]
    for name, tried in zip(names, (4, 6), strict=True):
        samples = [{"index": i, "image_rank": rank, "text_queries": tried, **found} for i, rank in enumerate(ranks)]
        lines.append(line(name, samples, queries=9, gradients=3))
    data = {"class_names": [], "selected": 3}
    results = summarise({"task": "retrieval", "attacks": names, "data": data}, lines)["results"]
    for name, *cost in (("bert_attack", 3, 1, 4), ("character_attack", 3, 1, 6), ("text", 6, 2, 10)):
        row = results[name]
        assert row["attacked"] == 1
        assert [row["queries"], row["gradients"], row["text_queries"]] == cost


def test_what_fell_before_costs_an_ensemble_nothing() -> None:
    # Sample 0 falls to images and 1 to texts, before texts are tried on sample 2 together with its image.
    lines = [
        line("clean", [sample(i, 0, 0) for i in range(3)]),
        line("worst_image", [sample(i, 0, int(i == 0)) for i in range(3)]),
        line("worst_text", [sample(i, 0, int(i == 1), text_queries=6) for i in range(3)]),
        line("worst_multimodal", [sample(0, 0, 1), sample(1, 0, 1), sample(2, 0, 0, text_queries=3)]),
    ]
    results = summarise(header(3, ["worst_image", "worst_text", "worst_multimodal"]), lines)["results"]
    tried = [results[name].get("text_queries") for name in ("worst_image", "worst_text", "worst_multimodal", "worst")]
    assert tried == [None, 6, 1, 7]


def test_a_run_of_retrieval_is_complete_once_wrong_samples_are_attacked_too() -> None:
    samples = [{"index": i, "image_rank": 1 + i, "text_ranks": [1]} for i in range(2)]
    data = {"class_names": [], "selected": 2}
    for done in (1, 2):
        lines = [line("clean", samples), line("bert_attack", samples[:done])]
        summary = summarise({"task": "retrieval", "attacks": ["bert_attack"], "data": data}, lines)
        assert summary["complete"] is (done == 2)


def test_in_retrieval_nobody_broke_what_was_wrong_before() -> None:
    # Sample 2 is wrong before; 0 falls to images, so the ensemble on both modalities gets no credit for it.
    names = ["worst_image", "worst_text", "worst_multimodal"]
    found = (("clean", (1, 1, 2), ()), ("worst_image", (2, 1, 5), ("apgd", None, "apgd")))
    found += (("worst_text", (1, 1, 4), (None, None, "bert_attack")),)
    found += (("worst_multimodal", (3, 2, 6), ("co_attack", "co_attack", "co_attack")),)
    lines = []
    for name, ranks, breakers in found:
        samples = [{"index": i, "image_rank": rank, "text_ranks": [1]} for i, rank in enumerate(ranks)]
        for one, who in zip(samples, breakers, strict=False):
            one["broken_by"] = who
        lines.append(line(name, samples))
    data = {"class_names": [], "selected": 3}
    results = summarise({"task": "retrieval", "attacks": names, "data": data}, lines)["results"]
    counts = [results[name].get("broken_by") for name in names]
    assert counts == [{"apgd": 1}, None, {"apgd": 1, "co_attack": 1}]


def test_whoever_may_change_both_may_change_one_alone() -> None:
    # pgd misleads about 0, bert_attack about 1, joint about neither of them, but about 2.
    lines = [
        line("clean", [sample(index, 0, 0) for index in range(4)], queries=0),
        line("pgd", [sample(0, 0, 1), sample(1, 0, 0), sample(2, 0, 0), sample(3, 0, 0)]),
        line("bert_attack", [sample(0, 0, 0), sample(1, 0, 1), sample(2, 0, 0), sample(3, 0, 0)]),
        line("joint", [sample(0, 0, 0), sample(1, 0, 0), sample(2, 0, 1), sample(3, 0, 0)]),
    ]
    results = summarise(header(4, ["pgd", "bert_attack", "joint"]), lines)["results"]
    assert [results[name]["accuracy"] for name in ("image", "text", "joint", "multimodal")] == [0.75, 0.75, 0.75, 0.25]
    assert results["multimodal"]["knowledge"] == "worst case of pgd, bert_attack, joint"
    alone = summarise(header(4, ["joint"]), [lines[0], lines[3]])["results"]
    assert alone["multimodal"]["accuracy"] == 0.75


def curve_lines(fell: list[int | None], tried: int) -> list[dict]:
    """Samples of which the last was wrong before, and what ``worst_text`` did to the others."""
    lines = [line("clean", [*(sample(i, 0, 0) for i in range(len(fell))), sample(len(fell), 0, 1)])]
    said = [
        sample(i, 0, int(at is not None), fell_at=at, word_candidates=tried, broken_by=at and "text_exhaustive")
        for i, at in enumerate(fell)
    ]
    return [*lines, line("worst_text", said[:2]), line("worst_text", said[2:])]


def curve_header(count: int, points: list[int]) -> dict:
    return {**header(count, ["worst_text"]), "budget": {"word_curve": points}}


def test_what_is_left_as_more_words_compete() -> None:
    summary = summarise(curve_header(6, [10, 100, 400]), curve_lines([10, None, 100, 400, 10], 400))
    row = summary["results"]["worst_text"]
    assert [(p["words"], p["tried"], p["accuracy"]) for p in row["word_curve"]] == [
        (10, 10, 3 / 6),
        (100, 100, 2 / 6),
        (400, 400, 1 / 6),
    ]
    assert row["word_curve"][-1]["accuracy"] == row["accuracy"]
    assert row["word_curve"][-1]["accuracy_ci95"] == row["accuracy_ci95"]


def test_the_curve_ends_where_not_all_words_could_be_tried() -> None:
    summary = summarise(curve_header(4, [10, 100, 30_522]), curve_lines([None, 10, None], 60))
    curve = summary["results"]["worst_text"]["word_curve"]
    assert [(p["words"], p["tried"]) for p in curve] == [(10, 10), (100, 60)]


@given(st.lists(st.sampled_from([None, 5, 10, 50, 100]), min_size=3, max_size=20), st.booleans())
def test_the_curve_never_rises(fell: list[int | None], by_another: bool) -> None:
    lines = curve_lines(fell, 100)
    if by_another:
        # Two changes one after the other, by an attack that counts no words.
        lines[1]["samples"][0] |= {"predicted": 1, "fell_at": None, "broken_by": "bert_attack"}
    row = summarise(curve_header(len(fell) + 1, [5, 10, 50, 100]), lines)["results"]["worst_text"]
    left = [p["accuracy"] for p in row["word_curve"]]
    assert left == sorted(left, reverse=True) and left[-1] == row["accuracy"]
