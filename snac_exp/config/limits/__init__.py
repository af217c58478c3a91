"""Limits of other programs, checked when a recipe is composed."""
