"""The small audits, each run once."""

from __future__ import annotations

import pytest
from audits import PAIRS, RETRIEVAL, SETTINGS

from art_multimodal.evaluations.audit import Audit, RunLog, write_reports


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunLog:
    log = Audit(SETTINGS, tmp_path_factory.mktemp("audit") / "out", device="cpu").evaluate()
    write_reports(log)
    return log


@pytest.fixture(scope="session")
def finished_pairs(tmp_path_factory: pytest.TempPathFactory) -> RunLog:
    log = Audit(PAIRS, tmp_path_factory.mktemp("audit") / "pairs", device="cpu").evaluate()
    write_reports(log)
    return log


@pytest.fixture(scope="session")
def finished_retrieval(tmp_path_factory: pytest.TempPathFactory) -> RunLog:
    log = Audit(RETRIEVAL, tmp_path_factory.mktemp("audit") / "retrieval", device="cpu").evaluate()
    write_reports(log)
    return log
