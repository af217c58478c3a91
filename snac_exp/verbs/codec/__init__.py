"""Verbs that use a trained codec."""
