"""The experiment: a small CLIP made robust by every method, on real images."""
