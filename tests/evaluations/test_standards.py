"""Which ids the attacks of the suite have, from what they change and who could make them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from audits import RETRIEVAL as RETRIEVAL_SETTINGS
from audits import read_report

from art_multimodal.evaluations.audit.cited import standards_of_rows
from art_multimodal.evaluations.standards import OUTAGE, RULES, STANDARDS, family_of, in_words, standards_of
from art_multimodal.evaluations.suite import ATTACKS, RETRIEVAL, entry_of

#: Of each document, the form of its ids.
FORMS = {
    "mitre_atlas": r"AML\.[TM]\d{4}(\.\d{3})?",
    "nist_ai_100_2": r"NISTAML\.\d{3}",
    "owasp_aisvs": r"\d+\.\d+\.\d+",
    "owasp_ai_testing_guide": r"AITG-(APP|MOD|INF|DAT)-\d{2}",
    "owasp_ml_top_10": r"ML\d{2}:2023",
    "owasp_llm_top_10": r"LLM\d{2}:2025",
    "eu_ai_act": r"Art\. \d+\(\d\)",
}


@pytest.mark.parametrize("name", list(ATTACKS))
def test_every_attack_of_the_registry_has_ids(name: str) -> None:
    entry = ATTACKS[name]
    ids = standards_of([entry])
    assert ids["eu_ai_act"] and ids["owasp_ai_testing_guide"]
    if entry.knowledge == OUTAGE:
        # Nobody attacks: no technique of an attacker, and no evasion.
        assert not [one for one in ids.get("mitre_atlas", []) if one.startswith("AML.T")]
        assert "nist_ai_100_2" not in ids
    else:
        assert (ids["owasp_aisvs"] and "Art. 15(5)" in ids["eu_ai_act"]) or entry.modality == "noise"


def test_who_knows_the_weights_and_who_does_not_have_other_ids() -> None:
    white, black = (standards_of([entry_of(name)]) for name in ("pgd", "square"))
    assert white["mitre_atlas"] == ["AML.T0015", "AML.T0043.000"]
    assert black["mitre_atlas"] == ["AML.T0015", "AML.T0043.001"]
    assert white["nist_ai_100_2"] == ["NISTAML.022"] and black["nist_ai_100_2"] == ["NISTAML.022", "NISTAML.025"]
    label = standards_of([entry_of("typographic")])["mitre_atlas"]
    assert "AML.T0041" in label and "AML.T0043.003" in label and "AML.T0043.001" not in label


def test_one_source_of_several_puts_the_others_to_the_test_whatever_it_is_called() -> None:
    for name in ("image", "depth", "mrna"):
        entry = entry_of(f"pgd@{name}")
        assert family_of(entry) == "single_source" == family_of(ATTACKS["pgd@MODALITY"])
        assert "AML.M0009" in standards_of([entry])["mitre_atlas"]
    assert family_of(entry_of("pgd")) == "image" and family_of(entry_of("modality_swap@depth")) == "modality_swap"
    assert "AML.M0009" not in standards_of([entry_of("pgd")])["mitre_atlas"]


def test_an_attack_of_another_package_has_the_ids_of_what_it_changes() -> None:
    stranger = replace(entry_of("pgd"), name="theirs", modality="smell", knowledge="black box")
    assert standards_of([stranger])["mitre_atlas"] == ["AML.T0015", "AML.T0043.001"]


def test_only_retrieval_is_about_embeddings() -> None:
    assert "owasp_llm_top_10" not in standards_of([entry_of("pgd")])
    found = standards_of([entry_of("pgd")], RETRIEVAL)
    assert found["owasp_llm_top_10"] == ["LLM08:2025"] and "AITG-APP-08" in found["owasp_ai_testing_guide"]


def test_the_table_cites_what_it_names_in_the_form_of_its_document() -> None:
    assert list(FORMS) == list(STANDARDS)
    for name, standard in STANDARDS.items():
        assert all(re.fullmatch(FORMS[name], one) for one in standard.titles), name
        used = {one for rule in RULES if rule.standard == name for one in rule.ids}
        assert used == set(standard.titles), name


def test_rows_of_several_attacks_have_the_ids_of_all() -> None:
    report = {"task": "zero-shot", "attacks": ["pgd", "square"], "results": {"clean": {}, "pgd": {}, "image": {}}}
    found = standards_of_rows(report)
    assert found["clean"] == {"eu_ai_act": ["Art. 15(3)"]}
    assert found["image"]["mitre_atlas"] == ["AML.T0015", "AML.T0043.000", "AML.T0043.001"]
    assert in_words(found["clean"]) == "Regulation (EU) 2024/1689 (AI Act): Art. 15(3)"


def test_what_is_certified_is_about_attackers_and_the_smoothed_model_before_them_is_not() -> None:
    rows = ("clean", "smoothed", "vote_flipping", "certified")
    found = standards_of_rows({"task": "pairs", "attacks": [], "results": {row: {} for row in rows}})
    assert found["smoothed"] == found["clean"]
    assert found["certified"] == found["vote_flipping"] and found["certified"]["eu_ai_act"] == ["Art. 15(5)"]


def test_a_report_says_them_for_each_row(finished_retrieval) -> None:
    report = read_report(finished_retrieval.folder)
    assert list(report["standards"]) == list(report["results"])
    for name in RETRIEVAL_SETTINGS.attacks.split(","):
        assert report["standards"][name] == standards_of([entry_of(name)], RETRIEVAL)
    for page in ("report.md", "report.html"):
        text = (finished_retrieval.folder / page).read_text()
        folded = text.partition("<details>")[2].partition("</details>")[0]
        # The same in both but for what Markdown escapes.
        for said in ("AML.T0043.001", "NISTAML.025", "LLM08:2025", "clean"):
            assert said in folded.replace("\\", ""), (page, said)
