"""The small embedded models: code, training scripts and weights."""
