"""Every fusion, trained in every way, under noise, without a modality, and under attack: one table for each data set.

    python -m benchmarks.fusions --problems views rosmap
    python -m benchmarks.fusions.tables

Each cell, a model with a training seed on a data set, is saved as it is done; what is there is not computed again, and
several processes share what is left.
"""
