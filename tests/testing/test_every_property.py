"""Every property of every contract has a planted fault that it finds, and the page says how many there are."""

from __future__ import annotations

import re
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest
from testing.planted import Fault

from art_multimodal.testing.contract import Contract

from .test_page import CONTRACTS, PAGE

#: Files of planted faults, whichever there are.
FILES = sorted(Path(__file__).parent.glob("test_faults_in_*.py"))
FAULTS: list[Fault] = [fault for file in FILES for fault in import_module(f"testing.{file.stem}").FAULTS]


@pytest.mark.parametrize("contract", CONTRACTS, ids=[contract.name for contract in CONTRACTS])
def test_a_fault_is_planted_for_each_property(contract: Contract) -> None:
    planted = Counter(fault.name for fault in FAULTS if fault.contract is contract)
    assert set(planted) == set(contract.properties)
    # Whatever a contract is about, it has more ways to go wrong than it has properties.
    assert sum(planted.values()) > len(contract.properties)


def test_no_fault_is_planted_twice_or_for_nobody() -> None:
    told = Counter((fault.contract.name, fault.name, fault.what) for fault in FAULTS)
    assert max(told.values()) == 1 and {fault.contract.name for fault in FAULTS} == {one.name for one in CONTRACTS}


def test_the_page_counts_them() -> None:
    properties = sum(len(contract.properties) for contract in CONTRACTS)
    said = (
        f"{len(FAULTS)} faults are planted in things that keep these {len(CONTRACTS)} contracts, "
        f"at least one for each of their {properties} properties; all are found, by the property that is meant"
    )
    assert said in re.sub(r"\s+", " ", PAGE.read_text(encoding="utf-8")), said
