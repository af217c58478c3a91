"""Rows of ids for speech language models: Parquet and jsonl files that other programs read."""
