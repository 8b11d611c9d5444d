"""Pure functions on tensors and numbers: no state, no ART."""
