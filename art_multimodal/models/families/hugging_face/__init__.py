"""Dual encoders and fusion classifiers of transformers: the configuration of a checkpoint says which it is."""
