"""Token files and their windows, for language models."""
