"""The rows of the matrix, by name."""

from __future__ import annotations

from interop import (
    defences,
    detector_rows,
    evasion_gradients,
    evasion_queries,
    guards,
    poisoning,
    trainers,
    transformations,
    wrapper_rows,
)
from interop.row import Row

MODULES = (
    evasion_gradients,
    evasion_queries,
    defences,
    transformations,
    trainers,
    detector_rows,
    poisoning,
    guards,
    wrapper_rows,
)
ROWS: list[Row] = [row for module in MODULES for row in module.ROWS]
