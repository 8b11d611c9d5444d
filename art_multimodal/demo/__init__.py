"""The small embedded models with their data and weights: the one package that knows models and data sets."""
