"""Experiments on the SNAC neural audio codec: from a folder of speech to a published model."""

__version__ = "0.1.0"
