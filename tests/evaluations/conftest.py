"""The small audits, each run once."""

from __future__ import annotations

from pathlib import Path

import pytest
from audits import PAIRS, RETRIEVAL, SETTINGS, little_effort, one_thread, run_audit
from once import made_once

from art_multimodal.evaluations.audit import AuditSettings, RunLog


def _audited(settings: AuditSettings, factory: pytest.TempPathFactory, name: str) -> RunLog:
    def make(out: Path) -> None:
        # Runs of other processes are compared with it.
        with one_thread(), little_effort():
            run_audit(settings, out)

    return RunLog.open(made_once(factory, f"audit-{name}", make))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunLog:
    return _audited(SETTINGS, tmp_path_factory, "images")


@pytest.fixture(scope="session")
def finished_pairs(tmp_path_factory: pytest.TempPathFactory) -> RunLog:
    return _audited(PAIRS, tmp_path_factory, "pairs")


@pytest.fixture(scope="session")
def finished_retrieval(tmp_path_factory: pytest.TempPathFactory) -> RunLog:
    return _audited(RETRIEVAL, tmp_path_factory, "retrieval")
