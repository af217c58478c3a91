"""From a folder of speech, or of tokens, to batches."""
