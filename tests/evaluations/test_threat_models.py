"""Who could mount the attacks of the suite, and what the pages of the docs say of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from art_multimodal.evaluations.formats import FORMATS
from art_multimodal.evaluations.standards import STANDARDS, standards_of
from art_multimodal.evaluations.suite import ATTACKS
from art_multimodal.evaluations.threat_models import (
    ACCESS,
    NO_ATTACK,
    THREAT_MODELS,
    families,
    members_of_family,
    threat_model_of,
)

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def pages(monkeypatch):
    """The scripts that write pages of the docs."""
    monkeypatch.setattr(sys, "path", [str(DOCS), *sys.path])
    import format_examples
    import generate
    import threat_tables

    return generate, threat_tables, format_examples


def test_every_family_of_the_suite_is_described_and_no_other_but_what_is_certified() -> None:
    assert set(THREAT_MODELS) == {*families(), "vote_flipping", "certified"}
    assert sorted(one.name for family in families() for one in members_of_family(family)) == sorted(ATTACKS)
    assert {entry.knowledge for _, entry in ATTACKS.items()} <= set(ACCESS)
    for model in (*THREAT_MODELS.values(), NO_ATTACK):
        assert model.attacker.endswith(".") and model.ignore.endswith(".") and model.writes


def test_a_modality_of_samples_is_a_single_source_whatever_it_is_called() -> None:
    assert threat_model_of("depth", ("rgb", "depth")) is THREAT_MODELS["single_source"]
    # A modality that is called like a family of the other tasks.
    assert threat_model_of("image", ("image", "depth")) is THREAT_MODELS["single_source"]
    assert threat_model_of("image") is THREAT_MODELS["image"] and threat_model_of("clean") is NO_ATTACK
    assert threat_model_of("smell").attacker.startswith("Whoever controls")


def test_the_page_names_every_attack_with_its_ids(pages) -> None:
    generate, tables, _ = pages
    threats, ids = tables.threats(generate.table), tables.ids(generate.table)
    for name, entry in ATTACKS.items():
        assert f"`{name}`" in threats
        cells = [", ".join(standards_of([entry]).get(one, ())) or "–" for one in STANDARDS]
        assert " | ".join(cells) in ids, name
    assert "only the owner writes texts" in threats
    documents = tables.documents(generate.table)
    assert all(f"`{one}`" in documents for standard in STANDARDS.values() for one in standard.titles)


def test_the_page_of_formats_has_an_example_of_each(pages) -> None:
    generate, _, examples = pages
    assert list(generate.FORMAT_EXAMPLES) == list(FORMATS)
    page = (DOCS / "formats.md").read_text()
    for name in FORMATS:
        assert f"```{{include}} generated/format_{name}.md" in page
        assert examples.example(name).count("````") == 2
        assert f"`{FORMATS[name].file}`" in examples.overview(generate.table)
