"""Trackers that show what metrics.jsonl says."""
