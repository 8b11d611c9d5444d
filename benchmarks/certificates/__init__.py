"""Certificates by ablation: published bounds and ours on the same base classifiers, and attacks that must not pass.

    python -m benchmarks.certificates --problems views night
    python -m benchmarks.certificates.tables
    python -m benchmarks.certificates.cost

Each cell, a model with a training seed on a data set, is saved as it is done; what is there is not computed again, and
several processes share what is left.
"""
