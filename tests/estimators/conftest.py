"""Fixtures of the estimators' tests."""

from __future__ import annotations

import numpy as np
import pytest
from estimators.fusion_pairs import make_pairs


@pytest.fixture
def pairs() -> np.ndarray:
    return make_pairs()
