"""Defences that compute at test time, on four models: naive, attacked through, transferred to, and the worst of all.

    python -m benchmarks.test_time --seeds 0
    python -m benchmarks.test_time --seeds 1 2
    python -m benchmarks.test_time.tables

Each cell, a model with a defence and a seed, is saved as it is done; what is there is not computed again, and several
processes share what is left. Models that have to be trained are kept in ``build/test_time``.
"""
