"""Synthetic speech, made from numbers alone."""
