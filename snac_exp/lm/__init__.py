"""Floor 1: language models over codec tokens."""
