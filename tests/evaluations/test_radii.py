"""Several radii in one audit: passes, the curve, and what is suspicious about it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audits import check_resumes_after, ends_of_lines, logged, read_report, run_audit, timeless, typed_lines
from hypothesis import given
from hypothesis import strategies as st

from art_multimodal import InputError
from art_multimodal.cli.options import parse_radii
from art_multimodal.evaluations.audit import Audit, AuditSettings, RunLog
from art_multimodal.evaluations.audit.curve import area_under
from art_multimodal.evaluations.audit.flags import Flag, sentences_of
from art_multimodal.evaluations.audit.passes import Pass, goes_on_after, passes_of
from art_multimodal.evaluations.audit.radii import name_of, nested
from art_multimodal.evaluations.audit.summary import summarise
from art_multimodal.evaluations.suite import Budget
from art_multimodal.evaluations.suite.noise import noise
from art_multimodal.functional.statistics import mcnemar

pytestmark = pytest.mark.usefixtures("little_effort")

#: A quick one, an attack on texts that no radius binds, and noise.
SETTINGS = AuditSettings(
    "demo:digits",
    "demo:digits",
    "pgd,noise,independent,character_attack",
    eps=12 / 255,
    smaller_eps=(2 / 255, 6 / 255),
    steps=2,
    limit=6,
    group_size=3,
    protected_words=("handwritten",),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunLog:
    return run_audit(SETTINGS, tmp_path_factory.mktemp("radii") / "out")


# Names.


@given(
    st.sampled_from(["pgd", "pgd@depth", "worst_multimodal"]),
    st.booleans(),
    st.sampled_from(["", "1/255", "0.5", "pix=0.1,fou=4/255"]),
)
def test_the_name_of_a_pass_says_what_it_is(attack: str, naive: bool, eps: str) -> None:
    one = Pass(attack, naive, eps)
    assert Pass.of(one.name) == one
    assert one.name == ("" if not eps else f"eps={eps}:") + ("naive:" if naive else "") + attack


def test_passes_come_in_their_order_and_cascades_stay_within_a_radius() -> None:
    attacks = ["pgd", "worst_image", "worst_text", "worst_multimodal"]
    bound = ["pgd", "worst_image", "worst_multimodal"]
    assert passes_of(attacks, False) == attacks
    passes = passes_of(attacks, True, {"1/255": bound})
    assert passes[:8] == [*attacks, *(f"naive:{name}" for name in attacks)]
    assert passes[8:] == [f"eps=1/255:{kind}{name}" for kind in ("", "naive:") for name in bound]
    assert goes_on_after("worst_multimodal", passes) == ("worst_image", "worst_text")
    # What no radius binds is run once for all, and counts in each.
    after = goes_on_after("eps=1/255:naive:worst_multimodal", passes)
    assert set(after) == {"eps=1/255:naive:worst_image", "naive:worst_text"}


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["1/255"], [1 / 255]),
        (["1/255, 2/255"], [1 / 255, 2 / 255]),
        (["0.1", "0.2"], [0.1, 0.2]),
        (["pix=0.1,fou=0.2"], [{"pix": 0.1, "fou": 0.2}]),
        (["pix=0.1", "pix=0.2"], [{"pix": 0.1}, {"pix": 0.2}]),
    ],
)
def test_radii_are_read(texts: list[str], found: list[Any]) -> None:
    assert parse_radii(texts, "--eps") == found


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["0,03"], "Did you mean 0.03"),
        (["1/255,"], "is not a distance"),
        (["1/255,1/255"], "1/255 is given twice"),
        (["1/255", "pix=1"], "some radii are for images and some for modalities"),
        (["pix=1", "fou=1"], "name different modalities"),
        (["pix=1,fou=2", "pix=2,fou=1"], "neither is inside the other"),
        (["pix=1,fou=2", "pix=2,fou=2"], "neither is inside the other"),
        (["pix=nan", "pix=nan"], "of pix=nan and pix=nan neither is inside the other"),
        (["pix=-inf", "pix=-inf"], "neither is inside the other"),
        ([",".join(f"{n}/255" for n in range(1, 30))], "29 radii are more than 20"),
    ],
)
def test_radii_that_are_none_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=rf"^[^\n]*{message}"):
        nested(parse_radii(texts, "--eps"))


@pytest.mark.parametrize(
    ("eps", "smaller", "message"),
    [
        (4 / 255, (0.0,), "greater than 0"),
        (4 / 255, (float("nan"),), "greater than 0"),
        (4 / 255, (8 / 255,), "in ascending order"),
        (4 / 255, (2 / 255, 1 / 255), "in ascending order"),
        (1 / 255, (0.99999 / 255,), "two radii are both 1/255"),
    ],
)
def test_settings_refuse_radii_that_are_not_inside(eps: float, smaller: tuple[float, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(SETTINGS, eps=eps, smaller_eps=smaller)


def test_names_of_radii() -> None:
    assert nested([{"a": 0.2}, {"a": 0.1}]) == ({"a": 0.2}, ({"a": 0.1},))
    assert name_of(2 / 255, "inf") == "2/255" and name_of(0.5, "2") == "0.5"
    assert name_of({"rgb": 4 / 255, "depth": 0.02}, "inf") == "rgb=4/255,depth=0.02"


def test_steps_are_in_proportion_and_every_modality_is_named(tmp_path: Path) -> None:
    budget = SETTINGS.budget()
    smaller = SETTINGS.smaller_budgets(budget)
    assert list(smaller) == ["2/255", "6/255"]
    for one in smaller.values():
        assert one.eps_step / one.eps == pytest.approx(budget.eps_step / budget.eps)
    views = AuditSettings(
        "demo:views/concat", "demo:views", "pgd", eps={"pix": 0.2}, smaller_eps=({"pix": 0.1},), limit=2
    )
    with pytest.raises(InputError, match=r"give each modality its radius in all of them; missing: fou, kar"):
        Audit(views, tmp_path, device="cpu")


# The curve.


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=0, max_size=8), st.floats(0, 1), st.floats(0, 1))
def test_the_area_lies_between_the_least_and_the_most(
    points: list[tuple[float, float]], first: float, last: float
) -> None:
    points = [(0.0, first), *sorted(points), (1.0, last)]
    area = area_under(points)
    values = [value for _, value in points]
    # A sum of at most nine products.
    assert area is not None and 0 <= area <= 1
    assert min(values) - 1e-14 <= area <= max(values) + 1e-14
    assert area_under([*points[:-1], (1.0, None)]) is None


def header(*attacks: str, smaller: dict[str, float] | None = None, eps: float = 4 / 255) -> dict[str, Any]:
    found = {
        "task": "zero-shot",
        "attacks": list(attacks),
        "data": {"class_names": ["a", "b"], "selected": 0, "templates": []},
        "settings": {"eps": eps},
        "budget": {"norm": "inf", "eps": eps},
        "model": {},
    }
    if smaller:
        found["smaller"] = [{"name": name, "eps": value, "attacks": list(attacks)} for name, value in smaller.items()]
    return found


def summary_of(head: dict[str, Any], fell: dict[str, set[int]], n: int) -> dict[str, Any]:
    """Of samples that are all right before; by pass those that fell."""
    names = ["clean", *fell]
    lines = [
        {
            "batch": 0,
            "attack": name,
            "samples": [
                {"index": i, "label": 0, "predicted": int(i in fell.get(name, set())), "name": "n"} for i in range(n)
            ],
        }
        for name in names
    ]
    head = {**head, "data": {**head["data"], "selected": n}}
    return summarise(head, typed_lines(head, *lines))


RADII = {"1/255": 1 / 255, "2/255": 2 / 255}


def test_the_area_of_a_curve_and_its_points() -> None:
    fell = {"pgd": {0, 1, 2, 3}, "eps=1/255:pgd": set(), "eps=2/255:pgd": {0}}
    summary = summary_of(header("pgd", smaller=RADII), fell, 4)
    curve = summary["curves"]["pgd"]
    assert [(one["radius"], one["share"], one["accuracy"]) for one in curve["points"]] == [
        ("0", 0.0, 1.0), ("1/255", 0.25, 1.0), ("2/255", 0.5, 0.75), ("4/255", 1.0, 0.0),
    ]  # fmt: skip
    assert curve["area"] == pytest.approx(0.25 + 0.25 * 0.875 + 0.5 * 0.375)
    assert summary["complete"] and curve["points"][-1]["accuracy_ci95"] == summary["results"]["pgd"]["accuracy_ci95"]
    assert summary["curves"]["image"] == curve and "curves" not in summary_of(header("pgd"), {"pgd": set()}, 4)


def test_what_no_radius_binds_counts_at_each_point() -> None:
    head = header("pgd", "character_attack", "independent", smaller=RADII)
    for one in head["smaller"]:
        one["attacks"] = ["pgd", "independent"]
    fell: dict[str, set[int]] = {name: set() for name in ("pgd", "character_attack", "independent")}
    fell |= {f"eps={radius}:{name}": set() for radius in RADII for name in ("pgd", "independent")}
    fell["character_attack"], fell["eps=2/255:pgd"] = {3}, {2}
    curves = summary_of(head, fell, 4)["curves"]
    assert [one["accuracy"] for one in curves["multimodal"]["points"]] == [0.75, 0.75, 0.5, 0.75]
    assert [one["accuracy"] for one in curves["image"]["points"]] == [1, 1, 0.75, 1]
    assert "text" not in curves and "character_attack" not in curves


def test_a_radius_that_was_not_finished_has_no_point_and_no_area() -> None:
    summary = summary_of(header("pgd", smaller=RADII), {"pgd": set(), "eps=1/255:pgd": set()}, 4)
    assert not summary["complete"]
    curve = summary["curves"]["pgd"]
    assert [one["accuracy"] for one in curve["points"]] == [1, 1, None, 1] and curve["area"] is None


# Flags.


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_exact_test_is_that_of_a_coin(count: int, against: int) -> None:
    from math import comb

    n = count + against
    expected = sum(comb(n, k) for k in range(count, n + 1)) / 2**n
    assert mcnemar(count, against, "greater") == pytest.approx(expected, rel=1e-9)


def flags(summary: dict[str, Any], kind: str) -> list[Flag]:
    return [Flag(**one) for one in summary["flags"] if one["kind"] == kind]


def test_accuracy_that_rises_with_the_radius_is_flagged() -> None:
    fell = {"eps=1/255:pgd": set(range(12)), "eps=2/255:pgd": set(range(12)), "pgd": {0, 1, 2, 3, 12}}
    summary = summary_of(header("pgd", smaller=RADII), fell, 20)
    (flag,) = flags(summary, "not_monotonic")
    assert (flag.row, flag.count, flag.against, flag.certain) == ("pgd", 8, 1, True)
    assert flag.said.startswith("pgd within 4/255 leaves 8 samples right that fell to it within 2/255")
    # One sample that comes back may be chance: it is counted, and not said.
    fell["pgd"] = set(range(1, 12))
    summary = summary_of(header("pgd", smaller=RADII), fell, 20)
    (flag,) = flags(summary, "not_monotonic")
    assert (flag.count, flag.certain) == (1, False) and not sentences_of(summary)
    fell["pgd"] = set(range(12))
    assert not flags(summary_of(header("pgd", smaller=RADII), fell, 20), "not_monotonic")


def test_of_several_tests_the_weaker_ones_are_corrected_for_fewer_of_them() -> None:
    """Holm: the larger of two p values may be .031 = 2^-5, which half of .05 for each would not allow."""
    fell = {"eps=1/255:pgd": set(range(15)), "eps=2/255:pgd": set(range(10, 15)), "pgd": set()}
    found = flags(summary_of(header("pgd", smaller=RADII), fell, 20), "not_monotonic")
    assert [(one.count, one.p, one.certain) for one in found] == [(10, 2**-10, True), (5, 2**-5, True)]
    fell |= {"eps=1/255:pgd": set(range(9)), "eps=2/255:pgd": set(range(5, 9)), "pgd": set()}
    found = flags(summary_of(header("pgd", smaller=RADII), fell, 20), "not_monotonic")
    # 2^-5 is the smaller one here, and counts twice.
    assert [(one.count, one.certain) for one in found] == [(5, False), (4, False)]


def test_a_black_box_and_noise_that_beat_gradients_are_flagged() -> None:
    fell = {"pgd": {0}, "art_pgd": {1}, "square": set(range(10)), "noise": set(range(2, 9))}
    summary = summary_of(header(*fell), fell, 12)
    (black,) = flags(summary, "black_box_beats_white_box")
    assert (black.row, black.count, black.against, black.certain) == ("square", 8, 0, True)
    noisy = flags(summary, "noise_beats_gradients")
    assert [(one.row, one.count, one.against) for one in noisy] == [("pgd", 7, 1), ("art_pgd", 7, 1)]
    said = sentences_of(summary)
    assert sum("gradients are hidden" in one for one in said) == 1 and all("\n" not in one for one in said)
    # An attack on texts is no white box of images.
    alone = {"square": {0, 1}, "bert_attack": set()}
    assert not summary_of(header(*alone), alone, 4)["flags"]


def test_an_outage_that_does_good_is_flagged() -> None:
    head = header("modality_removed@pix")
    head |= {"task": "samples", "data": {**head["data"], "modalities": [{"name": "pix", "kind": "table"}]}}
    head["data"]["selected"] = 10
    wrong = [{"index": i, "label": 0, "predicted": int(i < 8), "name": "n"} for i in range(10)]
    right = [{**one, "predicted": 0} for one in wrong]
    lines = [{"batch": 0, "attack": "clean", "samples": wrong}]
    lines.append({"batch": 0, "attack": "modality_removed@pix", "samples": right})
    summary = summarise(head, typed_lines(head, *lines))
    assert {one.row for one in flags(summary, "above_clean") if one.certain} >= {"modality_removed@pix"}


@pytest.mark.parametrize("norm", ["inf", "2"])
def test_noise_keeps_to_the_radius(norm: str) -> None:
    budget = Budget(norm=norm, eps=0.3)
    for draw in range(3):
        drawn = noise(np.random.default_rng(draw), (5, 3, 4, 4), budget, draw).astype(np.float64)
        lengths = np.abs(drawn).max(axis=(1, 2, 3)) if norm == "inf" else np.sqrt((drawn**2).sum(axis=(1, 2, 3)))
        # Rounded to float32 once.
        assert (lengths <= 0.3 * (1 + 1e-6)).all() and (lengths > 0.2).all()


# Whole runs.


def test_one_radius_is_what_it_was(finished: RunLog, tmp_path: Path) -> None:
    """Names, seeds and header are those of a run that knows of no others; its lines are the first of one that does."""
    alone = run_audit(replace(SETTINGS, smaller_eps=()), tmp_path / "alone")
    assert "smaller" not in alone.header and "smaller_eps" not in alone.header["settings"]
    assert {**finished.header["settings"], "smaller_eps": None} == {**alone.header["settings"], "smaller_eps": None}
    for part in ("budget", "model", "data", "attacks", "schema_version"):
        assert finished.header[part] == alone.header[part]
    lines = [line for line in logged(finished) if not line["attack"].startswith("eps=")]
    assert timeless(lines) == timeless(logged(alone))
    results = read_report(finished.folder)["results"]
    assert timeless(results) == timeless(read_report(alone.folder)["results"])


def test_each_radius_has_a_curve_on_every_page(finished: RunLog) -> None:
    report = read_report(finished.folder)
    assert report["complete"] and [one["name"] for one in report["smaller"]] == ["2/255", "6/255"]
    assert [one["attacks"] for one in report["smaller"]] == [["pgd", "independent", "noise"]] * 2
    assert set(report["curves"]) == {"pgd", "independent", "noise", "image", "multimodal"}
    points = report["curves"]["pgd"]["points"]
    assert [one["radius"] for one in points] == ["0", "2/255", "6/255", "12/255"]
    assert points[0]["accuracy"] == report["results"]["clean"]["accuracy"]
    assert points[-1]["accuracy"] == report["results"]["pgd"]["accuracy"] < points[0]["accuracy"]
    markdown, html = ((finished.folder / name).read_text() for name in ("report.md", "report.html"))
    table = markdown.partition("## Accuracy over the radius")[2].partition("<details>")[0]
    assert len([line for line in table.splitlines() if line.startswith("| ")]) == 1 + len(report["curves"])
    svg = re.search(r'<svg class="curves".*?</svg>', html)
    assert svg and svg[0].count("<polyline") == 3 and 'viewBox="0 0 360' in svg[0]
    assert all(f">{name}</text>" in svg[0] for name in ("0", "6/255", "12/255"))


def test_a_run_with_several_radii_goes_on_wherever_it_was_killed(finished: RunLog, tmp_path: Path) -> None:
    ends = ends_of_lines(finished)
    check_resumes_after(finished, SETTINGS, (ends[2] - 7, ends[6], ends[-3] + 11), tmp_path)


def test_behind_defences_each_radius_is_attacked_twice(tmp_path: Path) -> None:
    settings = replace(SETTINGS, attacks="pgd", defences=("spatial_smoothing",), eps=16 / 255, smaller_eps=(8 / 255,))
    log = run_audit(settings, tmp_path / "out")
    passes = ["clean", "pgd", "naive:pgd", "eps=8/255:pgd", "eps=8/255:naive:pgd"]
    assert [line["attack"] for line in logged(log)] == 2 * passes
    points = read_report(log.folder)["curves"]["image"]["points"]
    for name, point in (("eps=8/255:", points[1]), ("", points[2])):
        right: dict[int, bool] = {}
        for line in logged(log):
            if line["attack"] in (f"{name}pgd", f"{name}naive:pgd", "clean"):
                for one in line["samples"]:
                    right[one["index"]] = right.get(one["index"], True) and one["predicted"] == one["label"]
        assert point["accuracy"] == pytest.approx(sum(right.values()) / len(right))
    ends = ends_of_lines(log)
    check_resumes_after(log, settings, (ends[3] + 5,), tmp_path / "again")


def test_other_radii_are_another_run(finished: RunLog) -> None:
    for other in (replace(SETTINGS, smaller_eps=(6 / 255,)), replace(SETTINGS, smaller_eps=())):
        with pytest.raises(InputError, match="smaller_eps: "):
            Audit(other, finished.folder, device="cpu").evaluate(resume=True)


@pytest.mark.parametrize(
    ("radius", "message"),
    [
        ({"name": "1/255", "eps": 0.1, "attacks": ["nobody"]}, "of the radius 1/255 attacks are named"),
        ({"name": 3, "eps": 0.1, "attacks": []}, "name of a radius must be a string"),
        ({"name": "1/255", "attacks": []}, "a radius has no eps"),
        ([], "a radius is not an object"),
    ],
)
def test_a_damaged_list_of_radii_is_refused(finished: RunLog, radius: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunLog.check_header({**finished.header, "smaller": [radius]})
