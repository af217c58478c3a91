"""Codes as the ids of speech language models, and back: layouts, text, streams of others."""
