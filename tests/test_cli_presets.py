"""``--preset``: options that go together; what is given wins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from art_multimodal import cli
from art_multimodal.cli.presets import PRESETS, with_preset
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit import AuditSettings
from art_multimodal.evaluations.suite import PAIRS, RETRIEVAL, ZERO_SHOT, select_attacks

NOTHING = dict.fromkeys(("attacks", "steps", "max_queries", "limit"))


def test_without_a_preset_nothing_is_set() -> None:
    values, filled = with_preset(None, NOTHING)
    assert values == NOTHING and filled.as_options() == ""


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("task", [ZERO_SHOT, PAIRS, RETRIEVAL])
def test_presets_work_for_every_task(name: str, task: str) -> None:
    values, _ = with_preset(name.upper(), NOTHING)
    assert set(values) == set(NOTHING) and None not in values.values()
    AuditSettings("demo:digits", "demo:digits", **values)
    assert select_attacks(values["attacks"], 2, task)


def test_what_is_given_wins() -> None:
    values, said = with_preset("quick", {**NOTHING, "steps": 3, "limit": 7})
    quick = PRESETS["quick"].values
    assert values == {**quick, "steps": 3, "limit": 7}
    assert said.as_options() == f"--attacks {quick['attacks']} --max-queries {quick['max_queries']}"


def test_standard_is_what_is_run_without_a_preset_but_for_the_limit() -> None:
    plain = AuditSettings("demo:digits", "demo:digits")
    values = PRESETS["standard"].values
    assert (values["steps"], values["max_queries"]) == (plain.steps, plain.max_queries)


def test_an_unknown_one() -> None:
    with pytest.raises(InputError, match=r"^--preset: unknown preset 'quik'. Did you mean quick\?"):
        with_preset("quik", NOTHING)


def test_values_are_in_the_settings_of_the_run(tmp_path: Path, capsys) -> None:
    arguments = ["audit", "demo:shapes", "--data", "demo:shapes", "--preset", "Quick", "--limit", "3", "--steps", "1"]
    assert cli.main([*arguments, "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    settings = json.loads((tmp_path / "out" / "report.json").read_text())["settings"]
    quick = PRESETS["quick"].values
    assert (settings["attacks"], settings["max_queries"]) == (quick["attacks"], quick["max_queries"])
    assert (settings["limit"], settings["steps"]) == (3, 1)


def test_the_docs_have_the_same_numbers() -> None:
    page = (Path(__file__).parents[1] / "docs" / "audit.md").read_text(encoding="utf-8")
    for name, preset in PRESETS.items():
        assert f"| `{name}` | `{preset.as_options()}` |" in page
