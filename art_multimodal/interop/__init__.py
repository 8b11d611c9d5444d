"""Other platforms' ways of naming models, data, attacks and metrics, spoken by ours."""
