"""Keeps what the rows of the matrix measured, and writes it where ``--interop-results`` says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import art
import numpy as np
import pytest
import torch

RESULTS: dict[str, dict[str, dict[str, object]]] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--interop-results", metavar="FILE", help="write the matrix of interoperability to a JSON file")


@pytest.fixture
def results() -> dict:
    """What was measured, by row and subject."""
    return RESULTS


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("--interop-results", default=None)
    if path:
        Path(path).write_text(json.dumps(_found(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _found() -> dict:
    from interop.catalogue import NOT_APPLICABLE
    from interop.matrix import ROWS
    from interop.row import FAMILIES
    from interop.subjects import SUBJECTS

    rows = {
        row.name: {
            "family": row.family,
            "note": row.note,
            "not_for": dict(row.not_for),
            "broken": row.broken and {"where": row.broken.where, "instead": row.broken.instead},
            "on": RESULTS.get(row.name, {}),
        }
        for row in ROWS
    }
    return {
        "versions": {
            "ART": art.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "Python": ".".join(map(str, sys.version_info[:2])),
        },
        "subjects": SUBJECTS,
        "families": FAMILIES,
        "rows": rows,
        "not_applicable": NOT_APPLICABLE,
    }
