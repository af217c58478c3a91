"""Floor 3: how good a model is."""
