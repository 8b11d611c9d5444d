"""What tests of several files look at."""

from __future__ import annotations

from typing import Any

import pytest

from .runs import start, written


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> dict[str, Any]:
    """What a run that nobody disturbs leaves."""
    out = tmp_path_factory.mktemp("whole") / "out"
    start(out).run()
    return written(out)
