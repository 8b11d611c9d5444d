"""The small audits, each run once."""

from __future__ import annotations

import pytest
from audits import PAIRS, RETRIEVAL, SETTINGS, one_thread, run_audit

from art_multimodal.evaluations.audit import RunLog


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunLog:
    # A run of another process is compared with it.
    with one_thread():
        return run_audit(SETTINGS, tmp_path_factory.mktemp("audit") / "out")


@pytest.fixture(scope="session")
def finished_pairs(tmp_path_factory: pytest.TempPathFactory) -> RunLog:
    return run_audit(PAIRS, tmp_path_factory.mktemp("audit") / "pairs")


@pytest.fixture(scope="session")
def finished_retrieval(tmp_path_factory: pytest.TempPathFactory) -> RunLog:
    return run_audit(RETRIEVAL, tmp_path_factory.mktemp("audit") / "retrieval")
