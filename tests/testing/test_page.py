"""The page on testing names every property as the code does."""

from __future__ import annotations

import re
from pathlib import Path

from forked import Forked

import art_multimodal.testing
from art_multimodal.testing.at_test_time import TEST_TIME_DEFENCE
from art_multimodal.testing.attack import ATTACK
from art_multimodal.testing.contract import Contract
from art_multimodal.testing.data import DATA
from art_multimodal.testing.dual_encoder import DUAL_ENCODER
from art_multimodal.testing.fusion import FUSION
from art_multimodal.testing.multimodal import MULTIMODAL_MODEL
from art_multimodal.testing.objective import OBJECTIVE
from art_multimodal.testing.preprocessor import PREPROCESSOR

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
CONTRACTS = (DUAL_ENCODER, MULTIMODAL_MODEL, FUSION, ATTACK, OBJECTIVE, PREPROCESSOR, TEST_TIME_DEFENCE, DATA)


def rows(contract: Contract) -> list[str]:
    return [
        f"| {f'**{one.name}**' if one.gate else one.name} | {one.says} | {one.mend} |"
        for one in contract.properties.values()
    ]


def test_tables_are_those_of_the_code() -> None:
    text = PAGE.read_text(encoding="utf-8")
    tables = re.findall(r"\| property \| what holds \| what to mend \|\n\|---\|---\|---\|\n((?:\|.*\n)+)", text)
    assert [table.splitlines() for table in tables] == [rows(contract) for contract in CONTRACTS]


def test_a_property_is_said_in_one_line() -> None:
    for contract in CONTRACTS:
        for one in contract.properties.values():
            assert one.says and one.mend and "|" not in one.says + one.mend and "\n" not in one.says + one.mend


def test_checks_need_no_pytest(tmp_path: Path) -> None:
    code = "import sys; assert 'pytest' not in sys.modules; sys.modules['pytest'] = None; import art_multimodal.testing"
    done = Forked(tmp_path, "-c", code)
    assert done.wait() == 0, done.stderr
    assert all(callable(getattr(art_multimodal.testing, name)) for name in art_multimodal.testing.__all__)
