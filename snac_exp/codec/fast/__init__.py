"""Faster and smaller layers with upstream's names and numbers."""
