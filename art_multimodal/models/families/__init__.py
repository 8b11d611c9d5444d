"""A folder for each family of models: how it is adapted to a contract, loaded and saved."""
