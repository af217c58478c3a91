"""Verbs that show results."""
