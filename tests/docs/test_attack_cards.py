"""Cards of attacks: one for each of the registry, nothing of what is gone, and a chart that fits a telephone."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from art_multimodal.evaluations.suite import ATTACKS

from .pages import DOCS  # docs/ is found from here on

import attack_cards  # isort: skip
import attack_texts  # isort: skip
import generate  # isort: skip

OWN = [*ATTACKS]


def test_every_attack_has_a_card_and_no_card_is_of_nothing() -> None:
    assert {attack_cards.stem_of(name) for name in OWN} == set(attack_texts.CARDS)
    page = attack_cards.cards()
    assert re.findall(r"^### `(.*)`$", page, re.MULTILINE) == sorted(
        ATTACKS, key=lambda name: ATTACKS[name].modality == "@MODALITY"
    )
    for name, (shows, papers) in attack_texts.CARDS.items():
        assert shows.endswith(".") and len(shows) < 110, name
        assert all(url.startswith("https://") and said for said, url in papers), name


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("square", ("`--max-queries`", "at most 500 passes", "`MaiteAttack` and `SamplesAttack`", "no weights")),
        ("pgd", ("`--steps`", "10 of them with a gradient", "- **In MAITE:** `MaiteAttack`\n", "1706.06083")),
        ("bert_attack", ("`--max-words`, `--top-k`", "- **In MAITE:** `SamplesAttack`\n")),
        ("similarity_pgd", ("none: it has no retrieval",)),
        ("hop_skip_jump", ("the label of each answer", "`--max-queries`")),
        ("typographic", ("`--max-share`", "edit the photo")),
        ("modality_missing@MODALITY", ("- **Paper:** none", "Nobody: a source fails")),
    ],
)
def test_what_a_card_says_is_what_the_registry_says(name: str, lines: tuple[str, ...]) -> None:
    card = attack_cards.card(ATTACKS[name])
    assert ATTACKS[name].summary in card
    for line in lines:
        assert line in card


def test_the_chart_names_attacks_and_fits_a_telephone() -> None:
    for said, _, names in attack_texts.QUESTIONS:
        assert said.endswith("?")
        for name in names:
            assert name in ATTACKS, name
    root = ET.fromstring(attack_cards.drawing())
    space = "{http://www.w3.org/2000/svg}"
    assert float(root.attrib["width"]) <= 343 and root.find(f"{space}title") is not None
    boxes = [float(one.attrib["y"]) + float(one.attrib["height"]) for one in root.iter(f"{space}rect")]
    assert len(boxes) == len(attack_texts.QUESTIONS) and boxes == sorted(boxes)
    for one in root.iter(f"{space}text"):
        letter = attack_cards.NAMES if one.attrib["class"] == "name" else attack_cards.PROSE
        wide = letter * len(one.text or "")
        assert float(one.attrib["x"]) + wide <= attack_cards.WIDTH - 4, one.text
        assert float(one.attrib["y"]) < float(root.attrib["viewBox"].split()[3])
    # In Markdown a block of HTML ends with the first empty line.
    page = attack_cards.chart(generate.table)
    assert page.index("</div>") < page.index("\n\n")
    assert (DOCS / "which_attack.md").read_text(encoding="utf-8").count("generated/attack_chart.md") == 1
