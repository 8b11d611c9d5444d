"""The rows of the matrix, by name."""

from __future__ import annotations

from interop import defences, evasion_gradients, evasion_queries, trainers
from interop.row import Row

ROWS: list[Row] = [row for module in (evasion_gradients, evasion_queries, defences, trainers) for row in module.ROWS]
