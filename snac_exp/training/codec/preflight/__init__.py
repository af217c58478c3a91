"""Promises are checked, not trusted: what is proved on the real data before the first step."""
