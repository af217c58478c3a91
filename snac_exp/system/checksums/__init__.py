"""Checksums of what is written, verified when it is opened."""
