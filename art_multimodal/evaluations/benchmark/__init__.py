"""Benchmarks: audits of models on data sets within budgets, one table over all of them, and a leaderboard.

======================  ===============================================================================================
module                  what it is about
======================  ===============================================================================================
``config``              what is run: a YAML file, and the cells that it makes
``folder``              where cells are kept, and who works on which
``running``             runs what is missing, in any number of processes
``planning``            model calls and time, before anything is run
``measured``            what a finished cell has found, column by column
``table``               the numbers: accuracies, averages, intervals, what sets models apart
``writing``             the table as JSON, CSV, Markdown, HTML and LaTeX
``leaderboard``         who is right, in a file that keeps break-ins
``amending``            a break-in of somebody else lowers a number
======================  ===============================================================================================
"""

from art_multimodal.evaluations.benchmark.config import BenchmarkConfig, parse_config, read_config
from art_multimodal.evaluations.benchmark.running import Benchmark, Outcome, Share

__all__ = ["Benchmark", "BenchmarkConfig", "Outcome", "Share", "parse_config", "read_config"]
