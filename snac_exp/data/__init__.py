"""Floor 2: from a folder of speech to batches."""
