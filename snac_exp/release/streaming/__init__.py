"""Decoding piece by piece, and as codes arrive."""
