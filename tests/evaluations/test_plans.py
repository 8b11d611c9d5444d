"""Plans as text: what is understood, what is refused and how, and nothing that runs, grows or hangs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from art_multimodal import InputError
from art_multimodal.evaluations.budget_settings import settings
from art_multimodal.evaluations.plans import parse_plan, read_plan
from art_multimodal.evaluations.plans.attacks import selection

BASE: dict[str, Any] = {
    "plan": 1,
    "models": ["demo:digits"],
    "data": "demo:digits",
    "attacks": {"image": ["pgd", "square"], "text": "all"},
    "budgets": {"eps": ["1/255", 4 / 255], "steps": 3},
}


def plan(**changes: Any) -> str:
    return yaml.safe_dump({**BASE, **changes}, sort_keys=False)


def test_limits_may_follow_the_curve_and_no_ceiling_is_sent_to_clean() -> None:
    floors = {"image": {"1/255": 0.6, "4/255": 0.3}, "pgd": {"1/255": 0.5, "4/255": 0.5}}
    ceilings = {"image": {"1/255": 0.3, "4/255": 0.6}}
    limits = parse_plan(plan(floors=floors, ceilings=ceilings)).plan.limits()
    assert len(limits) == 6
    for row in (float("nan"), "clea"):
        with pytest.raises(InputError) as error:
            parse_plan(plan(ceilings={row: 0.5}))
        assert "clean" not in str(error.value).partition("'. ")[2]


def test_what_a_plan_says() -> None:
    declared = parse_plan(plan(floors={"image": {"1/255": 0.5, "4/255": 0.2}, "clean": 0.9}, ceilings={"text": 0.3}))
    assert declared.plan.radii() == ["1/255", "4/255"]
    assert {(one.kind, one.row, one.radius, one.share) for one in declared.plan.limits()} == {
        ("floor", "image", "1/255", 0.5), ("floor", "image", "", 0.2), ("floor", "clean", "", 0.9),
        ("ceiling", "text", "", 0.3),
    }  # fmt: skip
    settings = declared.plan.settings("demo:digits")
    assert settings.attacks == "pgd,square,text" and settings.attacks_on_samples == "pgd@image,square@image,text"
    assert (settings.eps, settings.smaller_eps, settings.steps) == (4 / 255, (1 / 255,), 3)
    content = declared.as_json()["content"]
    assert content["floors"]["image"] == {"1/255": 0.5, "": 0.2} and content["draws"] == 10
    assert len(declared.sha256) == 64 and declared.sha256 != parse_plan(plan()).sha256


@pytest.mark.parametrize(
    ("attacks", "plain", "on_samples"),
    [
        ({"image": ["pgd"]}, "pgd", "pgd@image"),
        ({"pix": ["pgd", "apgd@pix"]}, "pgd@pix,apgd@pix", "pgd@pix,apgd@pix"),
        ({"worst": ["worst_image", "worst@pix"]}, "worst_image,worst@pix", "worst_image,worst@pix"),
        ({"modality_swap": "all", "noise": ["noise"]}, "modality_swap,noise", "modality_swap,noise"),
        ({"text": ["bert_attack"]}, "bert_attack", "bert_attack@text"),
        ({"multimodal": ["pgd_multimodal"]}, "pgd_multimodal", "pgd_multimodal"),
    ],
)
def test_attacks_are_selected_by_family(attacks: dict[str, Any], plain: str, on_samples: str) -> None:
    assert selection(attacks) == (plain, on_samples)


REFUSED = [
    ({"attaks": {}}, "Unknown entry of a plan 'attaks'. Did you mean attacks"),
    ({"budgets": {"epss": 1}}, "Unknown entry of budgets 'epss'. Did you mean eps"),
    ({"samples": {"limits": 1}}, "Unknown entry of samples 'limits'. Did you mean limit?"),
    ({"samples": {"limit": "many"}}, "samples.limit cannot be 'many': input should be a valid integer"),
    ({"samples": {"limit": 0}}, "samples.limit cannot be 0: input should be greater than or equal to 1"),
    ({"samples": {"limit": True}}, "samples.limit cannot be True"),
    ({"plan": 2}, "plan cannot be 2: input should be 1"),
    ({"models": []}, "models cannot be []"),
    ({"models": ["demo:digits", "demo:digits"]}, "the model demo:digits is named twice"),
    ({"task": "retreival"}, "task cannot be 'retreival'"),
    ({"attacks": {}}, "attacks cannot be {}"),
    ({"attacks": {"image": []}}, "attacks.image names no attack"),
    ({"attacks": {"image": "some"}}, "attacks.image is a list of names, or all; not 'some'"),
    ({"attacks": {"image": ["pgdd"]}}, "Unknown attack on image 'pgdd'. Did you mean pgd"),
    ({"attacks": {"image": ["bert_attack"]}}, "attacks.image names bert_attack, an attack on text: put it there"),
    ({"attacks": {"pix": ["pgd@fou"]}}, "attacks.pix names pgd@fou, an attack on fou: put it there"),
    ({"budgets": {"eps": "small"}}, "budgets.eps: 'small' is no distance"),
    ({"budgets": {"eps": []}}, "budgets.eps names no radius"),
    ({"budgets": {"eps": {}}}, "budgets.eps: {} is no distance"),
    ({"budgets": {"eps": 10**400}}, "is no distance"),
    ({"budgets": {"eps": [{"pix": [1]}]}}, "budgets.eps.pix: [1] is no distance"),
    ({"budgets": {"eps": float("nan")}}, "eps must be greater than 0"),
    ({"budgets": {"steps": 10**400}}, "steps must be at most"),
    ({"floors": {"image": 10**400}}, "the floor of image is a share in [0, 1], not 1000"),
    ({"budgets": {"eps": 0}}, "eps must be greater than 0"),
    ({"budgets": {"eps": 8}}, "Did you mean 8/255"),
    ({"budgets": {"eps": [".1", ".1"]}}, "is given twice"),
    ({"budgets": {"eps": [{"pix": 0.1}, {"fou": 0.2}]}}, "name different modalities"),
    ({"budgets": {"steps": 0}}, "steps must be at least 1"),
    ({"budgets": {"steps": 2.5}}, "budgets.steps cannot be 2.5"),
    ({"budgets": {"norm": "1"}}, "budgets.norm cannot be '1'"),
    ({"budgets": {"norm": 2}}, "with the norm 2 give budgets.eps"),
    ({"budgets": {"max_share": 3.0}}, "max share is a share of the image"),
    ({"draws": 0}, "draws cannot be 0"),
    ({"defences": ["jpgg"]}, "Unknown defence 'jpgg'"),
    ({"floors": {"image": 30}}, "the floor of image is a share in [0, 1], not 30. Did you mean 0.3?"),
    ({"ceilings": {"image": -0.1}}, "the ceiling of image is a share in [0, 1], not -0.1."),
    ({"ceilings": {"image": float("nan")}}, "the ceiling of image is a share in [0, 1], not nan"),
    ({"floors": {"image": "0.3"}}, "the floor of image is a share in [0, 1], not '0.3'"),
    ({"floors": [0.3]}, "floors are entries such as 'image: 0.3'"),
    ({"floors": {"imag": 0.3}}, "Unknown row for a floor 'imag'. Did you mean image"),
    ({"ceilings": {"clean": 0.3}}, "give clean a floor"),
    ({"floors": {"clean": {"1/255": 0.3}}}, "without an attack there is no radius"),
    ({"floors": {"image": {"2/255": 0.3}}}, "no radius of the plan. The radii of the plan are 1/255, 4/255"),
    ({"floors": {"image": {"4/255": 0.3, 0.0156862745: 0.4}}}, "image has two floors at the largest radius. Keep one"),
    (
        {"floors": {"image": 0.7}, "ceilings": {"image": 0.5}},
        "the floor and the ceiling of image contradict one another: an accuracy of at least 0.7 allows attacks to "
        "succeed on 0.3 at most, and the ceiling allows 0.5",
    ),
    (
        {"floors": {"image": {"1/255": 0.3, "4/255": 0.6}}},
        "the floor of image rises with the radius, from 0.3 at 1/255 to 0.6 at 4/255, and accuracy falls",
    ),
    (
        {"ceilings": {"pgd": {"4/255": 0.2, "1/255": 0.5}}},
        "the ceiling of pgd falls with the radius, from 0.5 at 1/255 to 0.2 at 4/255, and success rises",
    ),
    ({"ceilings": {float("nan"): 0.5}}, "Unknown row for a ceiling 'nan'. "),
    ({"warn_margin": 2}, "warn_margin is a share in [0, 1], not 2"),
    ({"detectors": {"false_positives": 5}}, "detectors.false_positives is a share in [0, 1], not 5"),
    ({"detectors": {}}, "detectors.false_positives is missing"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_what_does_not_fit_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_plan(plan(**changes), "plan.yaml")
    assert message in str(error.value) and str(error.value).startswith("plan.yaml: ")
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("name", ["plan", "models", "data", "attacks"])
def test_what_is_missing_is_named(name: str) -> None:
    text = yaml.safe_dump({key: value for key, value in BASE.items() if key != name})
    with pytest.raises(InputError, match=f"{name} is missing"):
        parse_plan(text)


BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a plan is entries such as"),
        ("[1, 2]", "a plan is entries such as"),
        ("just words", "a plan is entries such as"),
        ("a: [1", "this is no YAML in line"),
        ("a: b: c", "this is no YAML in line 1"),
        ("a: \x07", "this is no YAML"),
        (BOMB, "line 1 has an anchor or an alias"),
        ("a: *b", "line 1 has an anchor or an alias"),
        ("plan: 1\nplan: 1\n", "plan stands there twice, again in line 2"),
        ("<<: {plan: 1}", "line 1 merges a mapping"),
        ("? [a, b]\n: 1", "line 1 has a list or a mapping for a key"),
        ("a: !!python/object/apply:os.system ['true']", "line 1 has a tag"),
        ("a: !x 3", "line 1 has a tag"),
        ("a: " + "[" * 5000, "line 1 lies more than 10 lists and mappings deep"),
        ("- " * 3000 + "x", "line 1 lies more than 10 lists and mappings deep"),
        ("plan: " + "9" * 6000, "this is no YAML"),
        ("3: 4", "p: "),
        ("--- {}\n--- {}", "this is no YAML"),
    ],
    ids=range(18),
)
def test_hostile_texts_are_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_plan(text, "p")
    assert message in str(error.value)
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value) and len(str(error.value)) < 400


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_no_text_does_anything_but_be_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^[^\n\x1b]*$"):
        parse_plan(text)


#: Whatever YAML can hold, in the place of an entry.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.sampled_from(sorted({*BASE, "floors", "ceilings", "detectors", "samples", "defences", "warn_margin"})), VALUES
)
def test_no_value_does_anything_but_be_read_or_refused(name: str, value: Any) -> None:
    _read_or_refused({name: value})


@given(st.sampled_from(sorted(settings())), VALUES)
def test_nor_does_any_value_of_a_budget(name: str, value: Any) -> None:
    _read_or_refused({"budgets": {name: value}})


@given(st.sampled_from(["image", "pix", "noise", "worst"]), VALUES, VALUES)
def test_nor_do_attacks_and_limits(family: str, attacks: Any, limit: Any) -> None:
    _read_or_refused({"attacks": {family: attacks}})
    _read_or_refused({"floors": {family: limit}, "ceilings": {"text": {"1/255": limit}}})


def _read_or_refused(changes: dict[str, Any]) -> None:
    try:
        parse_plan(yaml.dump({**BASE, **changes}, Dumper=_NoAliases))
    except InputError as error:
        assert re.fullmatch(r"[^\n\x1b]*", str(error))


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_text("#" * 70_000)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (large, binary, tmp_path, tmp_path / "nothing.yaml", Path("/dev/zero")):
        with pytest.raises(InputError, match=r"^--plan: [^\n]* cannot be read as a UTF-8 text file"):
            read_plan(path)
